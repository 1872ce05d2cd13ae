"""What an accelerator computes, beside the host's CPU.

`pytest -m "gpu and not slow"` takes a minute or two, `pytest -m gpu` some minutes more.
"""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.frames.decode import decode_points
from jaxsurf.images import pixels
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import latent_graph, neighbors, shortest_path
from jaxsurf.manifold.encode import encode_images
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.setup import compile_run, compile_together, make_setup
from jaxsurf.training import loop
from jaxsurf.training.objective import make_extractor
from jaxsurf.training.step import Examples, unstack
from tests.leavings import lines, newest, state

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[1]
IMAGES = np.random.default_rng(3).integers(0, 256, (24, 32, 32, 3), np.uint8)
BATCH = 6
MODELS = pytest.mark.parametrize("name", ["smooth", "reference"])


def on_the_host(compute):
    with jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("highest"):
        return jax.tree.map(np.asarray, compute())


def moved(params):
    """Return weights away from where they begin: a new `smooth` answers with the mean image."""
    rng = np.random.default_rng(4)
    return jax.tree.map(
        lambda leaf: leaf + 0.05 * jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), params
    )


@MODELS
def test_codes_and_frames_are_the_hosts(name):
    def make():
        mean = IMAGES.mean(axis=0) / 255
        model = make_autoencoder(ModelConfig(name=name), mean_image=mean, key=jax.random.key(0))
        graphdef, params, constants = nnx.split(model, nnx.Param, ...)
        return nnx.merge(graphdef, moved(params), constants)

    codes = encode_images(make(), IMAGES, batch_size=24).codes
    expected = on_the_host(lambda: make().encode(pixels.to_float(IMAGES)))
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    far = 3 * np.random.default_rng(5).normal(size=codes.shape).astype(np.float32)
    frames = decode_points(make(), far).astype(int)
    expected = on_the_host(lambda: pixels.to_uint8(make().decode(jnp.asarray(far))))
    assert np.abs(frames - expected).max() <= 1  # of 255: rounding
    assert np.ptp(expected.astype(int), axis=0).max() > 9


def parts_of(seed=0, **sections):
    """Return a run's parts, its weights moved."""
    given = {"training": {"batch_size": BATCH, "num_epochs": 1, "seed": seed}, **sections}
    parts = make_setup(configuration.from_dict(given), ImageSet(IMAGES, "noise"))
    state = dataclasses.replace(parts.state, params=moved(parts.state.params))
    return dataclasses.replace(parts, state=state)


# Features of clean images are computed in the step, where the rest is.
FEATURES = {"perceptual": 1.0, "precision": "float32", "feature_cache_mib": 0}


@pytest.mark.parametrize("terms", [{}, FEATURES], ids=["mse", "perceptual"])
@MODELS
def test_gradients_of_a_step_are_the_hosts(name, terms):
    def gradient():
        parts = parts_of(model={"name": name}, objective=terms)
        extract = make_extractor(parts.config.objective)
        given = (parts.state, parts.make_hyperparameters(), extract, Examples(IMAGES), jnp.int32(0))
        return jax.jit(parts.make_update().gradient)(*given)

    with jax.default_matmul_precision("highest"):
        found, losses = jax.tree.map(np.asarray, gradient())
    expected, expected_losses = on_the_host(gradient)
    for term, value in expected_losses.items():
        np.testing.assert_allclose(losses[term], value, rtol=1e-5)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.abs(theirs).max() > 0
        # Rounding decides here and there which of two values is the larger: not value by value.
        assert np.sqrt(np.mean((mine - theirs) ** 2)) < 5e-3 * np.sqrt(np.mean(theirs**2))


@MODELS
def test_members_of_a_sweep_train_as_they_do_alone(name):
    def members():  # anew: their keys are used up, their states donated
        return [parts_of(seed, model={"name": name, "channels": 8}) for seed in (0, 1, 2)]

    def trained(made):
        given = {"bound_step": made.bound_step, "feed": made.make_feed(0), "plan": made.plan}
        calls = loop.calls(made.state, first_step=0, **given)
        return [(jax.device_get(state.params), losses["loss"]) for _, state, losses in calls][-1]

    with jax.default_matmul_precision("highest"):
        states, losses = trained(compile_together(members()))
        found = zip(unstack(states, 3), losses[:3], members(), strict=True)
        for mine, loss, part in found:
            start = jax.device_get(part.state.params)
            alone, expected = trained(compile_run(part, num_devices=1))
            np.testing.assert_allclose(loss, expected, rtol=1e-4)
            for before, here, there in zip(
                *map(jax.tree.leaves, (start, mine, alone)), strict=True
            ):
                # Adam makes whole steps of tiny gradients: not value by value.
                error, change = (np.sqrt(np.mean((there - it) ** 2)) for it in (here, before))
                assert error < 0.05 * change
    assert len(set(np.asarray(losses[:3]).tolist())) == 3


@pytest.mark.slow
@MODELS
def test_a_run_killed_and_compiled_anew_equals_a_straight_one(name, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    flags = [f"--config={ROOT / 'configs/tiny.py'}", f"--config.model.name={name}"]
    flags += ["--config.training.num_epochs=20", "--config.optimizer.learning_rate=0.0005"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"

    def train(root, cache, *more):
        command = [sys.executable, ROOT / "launch/train.py", f"--workdir={root}", *flags, *more]
        return subprocess.Popen(command, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / cache)})

    assert train(straight, "cache").wait(240) == 0
    with train(broken, "cache", "--config.training.save_every_s=0.02") as process:
        while process.poll() is None and not newest(broken):
            time.sleep(0.002)
        process.kill()
    assert 0 < newest(broken) < 1000
    assert train(broken, "another cache").wait(240) == 0
    jax.tree.map(np.testing.assert_array_equal, state(broken), state(straight))
    assert lines(broken) == lines(straight)
    assert lines(straight)[-1]["step"] == 1000


def test_neighbours_in_many_dimensions_are_exact():
    codes = np.random.default_rng(4).normal(size=(30_000, 24)).astype(np.float32)
    found = neighbors.Index(codes).nearest(k=10)
    some = np.arange(0, len(codes), 997)
    squares = np.square(codes[some, None].astype(float) - codes[None].astype(float)).sum(axis=-1)
    squares[np.arange(len(some)), some] = np.inf
    np.testing.assert_array_equal(found.indices[some], np.argsort(squares, axis=1)[:, :10])


def test_lengths_of_shortest_paths_are_the_hosts():
    codes = np.random.default_rng(5).random((20_000, 3)).astype(np.float32)
    neighbours = neighbors.Index(codes).nearest(k=8)
    ends = np.stack([np.repeat(np.arange(len(codes)), 8), neighbours.indices.ravel()], axis=1)
    graph = latent_graph.from_edges(ends, neighbours.distances.ravel(), num_nodes=len(codes))
    sources = [0, 77, 19_999]
    relaxed = shortest_path.distances(graph, sources, method="relaxation")
    expected = shortest_path.distances(graph, sources, method="dijkstra")
    np.testing.assert_allclose(relaxed, expected, rtol=1e-12)
