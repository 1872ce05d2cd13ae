"""Image sets larger than memory go through the same pipeline as others, to the same results."""

import numpy as np
import pytest

from jaxsurf.evaluation import reconstruction
from jaxsurf.images import storage
from jaxsurf.pipeline import configuration, evaluate, surf
from jaxsurf.pipeline.run import connect, encode_all, open_run
from jaxsurf.pipeline.train import train_on
from tests.leavings import lines, weights


@pytest.fixture(scope="module")
def config(config_of, tmp_path_factory):
    """Settings with the arm's 40 images of 32 x 32 as a file of one's own."""
    path = tmp_path_factory.mktemp("array") / "arm.npy"
    np.save(path, configuration.open_data(config_of().data).images)
    whole = {"data__source": str(path), "data__fixed": "", "data__free": ""}
    return config_of(**whole, training__num_epochs=1, graph__weight="image")


def go_on(config, root, monkeypatch, *, large_bytes):
    monkeypatch.setattr(storage, "LARGE_BYTES", large_bytes)
    return train_on(configuration.open_data(config.data), config, root, shown=False)


def test_training_on_a_map_is_bitwise_that_on_loaded_images(config, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "READ_AT_ONCE", 3)
    loaded = go_on(config, tmp_path / "loaded", monkeypatch, large_bytes=1 << 30)
    from_map = go_on(config, tmp_path / "mapped", monkeypatch, large_bytes=1000)
    assert not storage.is_mapped(loaded.images.images)
    assert storage.is_mapped(from_map.images.images)
    assert from_map.images.fingerprint == loaded.images.fingerprint
    both = (tmp_path / "loaded", tmp_path / "mapped")
    for here, there in zip(*map(weights, both), strict=True):
        np.testing.assert_array_equal(here, there)
    assert lines(both[0]) == lines(both[1])
    # Codes and graph (whose edges weigh by the images) too; opened once mapped, once loaded.
    built = []
    for run in (loaded, open_run(tmp_path / "mapped")):
        latents = encode_all(run)
        graph = connect(run, latents, run.config.graph)
        built.append((latents.codes, graph.indices, graph.weights))
    for here, there in zip(*built, strict=True):
        np.testing.assert_array_equal(here, there)


def test_errors_of_very_many_images_are_those_of_a_sample_and_say_so(config, tmp_path, monkeypatch):
    run = go_on(config, tmp_path / "run", monkeypatch, large_bytes=1000)
    asked = evaluate.EvaluateConfig(num_pairs=3)
    whole = evaluate.evaluate(run, asked)
    assert " images)" not in str(whole)
    assert whole.content["reconstruction"]["num_images"] == 40
    monkeypatch.setattr(reconstruction, "SAMPLE", 11)
    sampled = evaluate.evaluate(run, asked)
    assert "dB (11 of 40 images); " in str(sampled)
    chosen = reconstruction.sample(run.images.images)
    assert len(np.unique(chosen, axis=0)) == 11
    errors = reconstruction.mse(run.model, chosen)
    assert sampled.content["reconstruction"]["mse"] == pytest.approx(errors.mean(), rel=1e-6)
    # What is asked of every image stays exact.
    assert sampled.content["methods"] == whole.content["methods"]
    asked = surf.SurfConfig(source="0", target="25", methods=("surfing",))
    figures = surf.make(run, asked).description["methods"]["surfing"]
    assert figures["interpolation_mse_wrapped"] is None  # the report had no set as large
