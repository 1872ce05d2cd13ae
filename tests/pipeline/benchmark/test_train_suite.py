"""The suite `train`: PyTorch's loop does what ours does, and rows say what was measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.benchmark import measurement
from jaxsurf.pipeline.benchmark.rows import Case
from jaxsurf.pipeline.benchmark.stages import train
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.training import features
from jaxsurf.training.objective import ObjectiveConfig
from tests.optional import torch

torch_loop = pytest.importorskip("jaxsurf.pipeline.benchmark.torch_loop", reason="needs torch")
TorchTraining = torch_loop.TorchTraining
FeatureTwin, make_twin = torch_loop.FeatureTwin, torch_loop.make_twin

# 16 images, all in one batch, without noise: order and chance make no difference.
TINY = {
    "data.side": 32,
    "data.stride": 10,
    "model.channels": 8,
    "corruption.kind": "none",
    "training.batch_size": 16,
    "training.num_epochs": 6,
}


def channels_first(images):
    return torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("name", ["reference", "smooth"])
def test_twins_give_the_same_images(name):
    random = np.random.default_rng(0)
    model = make_autoencoder(
        ModelConfig(name=name, channels=8, latent_dim=3),
        mean_image=random.random((48, 48, 3)),
        key=jax.random.key(0),
    )
    if name == "smooth":  # it starts with zeros there, which would hide the rest
        kernel = model.decoder.conv2.kernel
        kernel[...] = jax.random.normal(jax.random.key(1), kernel.shape)
    images = random.random((5, 48, 48, 3), np.float32)
    theirs = make_twin(model)(channels_first(images)).detach().numpy().transpose(0, 2, 3, 1)
    ours = np.asarray(model(images))
    assert ours.std() > 0.01
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_twin_of_the_features_gives_the_same(random_images):
    extractor = features.make_extractor(ObjectiveConfig(perceptual=1.0))
    ours = extractor(random_images)["relu3_3"]
    twin = FeatureTwin(nnx.merge(extractor.graphdef, extractor.state))
    theirs = twin(channels_first(random_images))["relu3_3"].numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-5 * np.abs(ours).max())


@pytest.fixture
def random_images():
    return jnp.asarray(np.random.default_rng(2).random((2, 32, 32, 3), np.float32))


@pytest.mark.parametrize(
    "changes",
    [
        {"model.name": "smooth"},
        train.MODELS["reference"] | {"optimizer.step_epochs": 2, "optimizer.learning_rate": 1e-3},
        pytest.param({"objective.perceptual": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_loops_go_through_the_same_losses(changes):
    settings = {**changes, **TINY}
    config = configuration.from_dotted(settings)
    parts = make_setup(config, configuration.open_data(config.data))
    contest = train.make_contest(settings)
    contest.ours.parts[0].num_steps = 1
    theirs = TorchTraining(parts, num_steps=1)
    for _ in range(5):
        contest.ours.parts[0]()
        assert theirs() == pytest.approx(float(contest.ours.parts[0].losses["loss"]), rel=2e-4)


def test_a_compiled_loop_compiles_its_losses(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda work: asked.append(work) or work)
    config = configuration.from_dotted(TINY)
    parts = make_setup(config, configuration.open_data(config.data))
    assert TorchTraining(parts, num_steps=1, compiled=True)() > 0
    assert len(asked) == 1


def test_an_epoch_is_computed_from_some_steps(monkeypatch):
    settings = TINY | {"training.batch_size": 4}
    monkeypatch.setattr(train, "CPU_IMAGES", 8)
    contest = train.make_contest(settings, mode="eager")
    assert contest.ours.number == 2.0  # 8 of 16 images
    found = measurement.measure(contest)
    assert found.error == ""
    assert found.ours.whole > 0
    assert found.peer.whole > 0
    assert found.share is None
    assert int(contest.ours.parts[0].state.step) == 4 * 2


def test_whole_epochs_are_not_extrapolated():
    contest = train.make_contest(TINY, num_epochs=3)
    assert contest.ours.number == 1
    assert contest.make_peer is None
    assert contest.ours.parts[0].num_steps == 3


def test_share_of_the_peak_is_that_of_the_products(monkeypatch):
    monkeypatch.setitem(measurement.PEAKS, jax.devices()[0].device_kind, {"bfloat16": 1e12})
    contest = train.make_contest(TINY, num_epochs=1)
    flops = 1e12 * contest.least_s
    # The decoder's last convolution alone, forwards and back for weights and inputs.
    assert flops > 3 * 2 * 16 * (16 * 16 * 9 * 8 * 12)
    # All layers of so small a model.
    assert flops < 100 * 2 * 16 * (16 * 16 * 9 * 8 * 12)


@pytest.mark.parametrize(
    ("kind", "precision", "expected"),
    [
        ("NVIDIA H200", "bfloat16", 989e12),
        ("NVIDIA A100-SXM4-40GB", "float32", 156e12),
        ("TPU v5 lite", "float32", 197e12),
        ("Abacus", "float32", None),
    ],
)
def test_peaks_are_found_by_name(monkeypatch, kind, precision, expected):
    class Device:
        device_kind = kind

    monkeypatch.setattr(jax, "devices", lambda: [Device()])
    assert measurement.flops_per_s(precision) == expected
    if expected:
        assert measurement.flops_per_s(precision, num_devices=4) == 4 * expected


def test_devices_that_there_are_not_are_named():
    with pytest.raises(UserError, match="not measured: 4 of 5 devices"):
        train.make_contest(TINY, num_devices=5)
    assert train.make_contest(TINY, num_devices=4).ours.parts[0].made.plan.batch_size == 16


def test_rows_cover_models_batches_losses_and_peers():
    cases = [case for case in train.CASES if isinstance(case, Case)]
    assert len({case.size for case in cases}) == len(cases)
    on_cpu = [case.size for case in cases if case.where == "anywhere" and case.peer]
    for model in ("`reference`, C = 64", "`smooth`, C = 32"):
        for batch in (8, 64, 512):
            for loss in ("MSE,", "MSE and perceptual loss,"):
                for peer in ("PyTorch:", "torch.compile:"):
                    row = f"{model}, batch {batch}, {loss} beside {peer} an epoch of 1,600 images"
                    assert on_cpu.count(row) == 1
    assert [case.size for case in cases if "300 epochs" in case.size] == [
        "`reference`, C = 64, batch 16, MSE: 300 epochs of 1,600 images"
    ]
