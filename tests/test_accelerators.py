"""What an accelerator computes, beside the host's CPU.

`pytest -m "gpu and not slow"` takes a minute or two, `pytest -m gpu` some minutes more.
"""

import dataclasses
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
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.training import distributed, features, step, vmapped
from jaxsurf.training.step import Examples
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
        graphdef, params, constants = step.split_model(model)
        return nnx.merge(graphdef, moved(params), constants)

    codes = encode_images(make(), IMAGES, batch_size=24).codes
    expected = on_the_host(lambda: make().encode(pixels.to_float(IMAGES)))
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    far = 3 * np.random.default_rng(5).normal(size=codes.shape).astype(np.float32)
    frames = decode_points(make(), far).astype(int)
    expected = on_the_host(lambda: pixels.to_uint8(make().decode(jnp.asarray(far))))
    assert np.abs(frames - expected).max() <= 1  # of 255: rounding
    assert np.ptp(expected.astype(int), axis=0).max() > 9


def test_features_and_their_gradients_are_the_hosts():
    def both():
        model = VGG16(weights.read(weights.SHIPPED), ["relu2_2", "relu3_3"], dtype=jnp.float32)

        def loss(images):
            return sum(jnp.mean(jnp.square(found)) for found in model(images).values())

        return jax.jit(jax.value_and_grad(loss))(jnp.asarray(IMAGES, jnp.float32) / 255)

    with jax.default_matmul_precision("highest"):
        value, gradient = jax.tree.map(np.asarray, both())
    expected, expected_gradient = on_the_host(both)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # Rounding decides here and there which of two values is the larger: not value by value.
    error = np.sqrt(np.mean((gradient - expected_gradient) ** 2))
    assert error < 5e-3 * expected_gradient.std()


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
        extract = features.make_extractor(parts.config.objective)
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

    group, number = members(), len(IMAGES) // BATCH
    fed = (Examples(IMAGES), jnp.arange(len(IMAGES)), jnp.int32(0))
    mesh = vmapped.make_mesh(len(group), num_devices=1)
    states = vmapped.stack([part.state for part in group], mesh)
    made = vmapped.stack([part.make_hyperparameters() for part in group], mesh)
    orders = vmapped.stack([fed[1]] * len(group), mesh)
    together = vmapped.compile_step(group[0].make_update(), batch_size=BATCH, mesh=mesh)
    shardings = distributed.make_shardings(BATCH, num_devices=1)
    with jax.default_matmul_precision("highest"):
        given = (states, made, None, fed[0], orders, fed[2])
        states, losses = together(*given, num_steps=number)
        found = zip(vmapped.unstack(states, len(group)), losses["loss"], members(), strict=True)
        for mine, loss, part in found:
            alone = step.compile_step(part.make_update(), batch_size=BATCH, shardings=shardings)
            start = jax.device_get(part.state.params)
            given = (part.state, part.make_hyperparameters(), None, *fed)
            state, expected = alone(*given, num_steps=number)
            np.testing.assert_allclose(loss, expected["loss"], rtol=1e-4)
            trees = (start, mine.params, state.params)
            for before, here, there in zip(*map(jax.tree.leaves, trees), strict=True):
                # Adam makes whole steps of tiny gradients: not value by value.
                error, change = (np.sqrt(np.mean((there - it) ** 2)) for it in (here, before))
                assert error < 0.05 * change
    assert len(set(np.asarray(losses["loss"]).tolist())) == len(group)


def train(root, *flags, until=lambda: False):
    """Train to the end, or kill the run as soon as something is so."""
    command = [sys.executable, ROOT / "launch/train.py", f"--workdir={root}", *flags]
    with Path(f"{root}.log").open("a") as log:
        process, end = subprocess.Popen(command, stderr=log), time.monotonic() + 240
    try:
        while process.poll() is None and not until():
            assert time.monotonic() < end, "it takes too long"
            time.sleep(0.002)
        assert process.returncode in (None, 0), Path(f"{root}.log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_a_run_killed_and_compiled_anew_equals_a_straight_one(name, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    flags = [f"--config={ROOT / 'configs/tiny.py'}", f"--config.model.name={name}"]
    flags += ["--config.training.num_epochs=20", "--config.optimizer.learning_rate=0.0005"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    train(straight, *flags)
    flags.append("--config.training.save_every_s=0.02")
    train(broken, *flags, until=lambda: newest(broken))
    assert 0 < newest(broken) < 1000
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    train(broken, *flags)
    for mine, theirs in zip(state(broken), state(straight), strict=True):
        np.testing.assert_array_equal(mine, theirs)
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
