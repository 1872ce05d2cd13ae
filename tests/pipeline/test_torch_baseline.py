"""The models and loops in PyTorch that benchmarks compare with do what ours do."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxsurf.models.smooth import SmoothAutoencoder
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.benchmark import model_rows
from jaxsurf.pipeline.setup import compile_run, make_setup

torch = pytest.importorskip("torch")
baseline = pytest.importorskip("jaxsurf.pipeline.benchmark.torch_baseline", reason="needs torch")

# 16 images, all in one batch, without noise: order and chance make no difference.
TINY = {
    "targets.kind": "off",  # which torch knows nothing of
    **{"data.side": 32, "data.stride": 10, "model.channels": 8, "model.latent_dim": 3},
    "corruption.kind": "none",
    **{"training.batch_size": 16, "training.num_epochs": 6},
}


def square(side, channels):
    """Return which of our numbers each of torch's is, where a square of channels is one row."""
    return np.arange(side**2 * channels).reshape(side**2, channels).T.reshape(-1)


def carry_over(model, twin):
    """Give a model in PyTorch the weights of ours; `smooth` has channels in another order."""
    inputs, outputs = {}, {}
    parts = [(model, "conv1 conv2 conv3 to_code from_code up1 up2 up3")]
    if isinstance(model, SmoothAutoencoder):
        side, _, depth = model.mean_image.shape
        parts = [(model.encoder, "conv1 conv2 conv3 dense to_code")]
        parts += [(model.decoder, "dense1 dense2 to_map conv1 conv2")]
        inputs[0] = np.append(square(4, depth), 16 * depth + np.arange(2))
        inputs[3] = square(side // 16, model.encoder.conv3.out_features)
        outputs[7] = square(side // 4, model.decoder.conv1.in_features)
        outputs[8] = square(2, model.decoder.conv2.in_features)
        outputs[9] = square(2, depth)
        twin.frequencies.data = torch.tensor(np.asarray(model.decoder.frequencies[...]))
    ours = [getattr(part, name) for part, names in parts for name in names.split()]
    theirs = [it for it in twin.modules() if hasattr(it, "weight")]
    for place, (mine, layer) in enumerate(zip(ours, theirs, strict=True)):
        kernel, bias = np.asarray(mine.kernel[...]), np.asarray(mine.bias[...])
        if place in inputs:
            kernel = kernel[..., inputs[place], :]
        if place in outputs:
            kernel, bias = kernel[..., outputs[place]], bias[outputs[place]]
        kernel = kernel.transpose((1, 0) if kernel.ndim == 2 else (3, 2, 0, 1))
        layer.load_state_dict({"weight": torch.tensor(kernel), "bias": torch.tensor(bias)})


REFERENCE = {**experiments.REFERENCE, "optimizer.step_epochs": 2, "optimizer.learning_rate": 1e-3}
PERCEPTUAL = {"objective.perceptual": 0.5, "objective.layers": {"relu2_1": 1.0}}


@pytest.mark.parametrize("changes", [REFERENCE, PERCEPTUAL], ids=["reference", "smooth"])
def test_models_and_loops_in_torch_go_through_the_same_losses(changes):
    config = configuration.from_dotted({**changes, **TINY})
    setup = make_setup(config, configuration.open_data(config.data)).on_host()
    # Where `smooth` begins with zeros, these would hide the rest.
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: leaf + 0.05 * rng.normal(size=leaf.shape).astype(np.float32),
        setup.state.params,
    )
    setup = replace(setup, state=replace(setup.state, params=params))
    ours = model_rows.Training(compile_run(setup), 1)
    theirs = baseline.TorchTraining(setup, num_steps=1)
    model = setup.with_weights(jax.device_put(setup.state))
    carry_over(model, theirs.model)
    images = rng.random((5, 32, 32, 3), np.float32)
    twins = theirs.model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).detach().numpy()
    outputs = np.asarray(jax.jit(model)(images))
    assert outputs.std() > 0.01
    np.testing.assert_allclose(twins.transpose(0, 2, 3, 1), outputs, rtol=1e-4, atol=1e-5)
    for _ in range(5):
        ours()
        assert theirs() == pytest.approx(float(ours.losses["loss"]), rel=2e-4)
