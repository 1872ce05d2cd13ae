"""Batches in microbatches: the same training as in one, up to rounding."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.training import distributed, optimizer, step
from jaxsurf.training.corruption import CorruptionConfig, make_noise
from jaxsurf.training.optimizer import OptimizerConfig
from jaxsurf.training.step import Examples, Hyperparameters

BATCH, NUM_IMAGES = 12, 24
IMAGES = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
LAYERS = {"relu1_1": 0.5}
ORDER = jnp.asarray(np.random.default_rng(1).permutation(NUM_IMAGES))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Edges:
    """Stands in for VGG16: features of an image by one number of its own."""

    strength: jax.Array

    def __call__(self, images):
        return {"relu1_1": self.strength * jnp.diff(images, axis=1)}


def make(kind, microbatch):
    """Return a new state, and what advances it."""
    streams = step.make_streams(3)
    model = make_autoencoder(
        ModelConfig(name="smooth", channels=8),
        mean_image=IMAGES.mean(axis=0) / 255,
        key=streams.weights,
    )
    config = OptimizerConfig(learning_rate=1e-3)
    schedule = optimizer.make_schedule(config, num_epochs=40, steps_per_epoch=2)
    hyper = Hyperparameters(
        rates=optimizer.make_rates(config),
        noise=make_noise(CorruptionConfig(kind=kind, strength=0.3)),
        weights={"mse": jnp.float32(1), "perceptual": jnp.float32(0.3)},
        noise_key=streams.noise,
    )

    def make_optimizer(rates):
        return optimizer.make_optimizer(config, schedule, rates)

    update = step.Update(
        graphdef=step.split_model(model)[0], make_optimizer=make_optimizer, layers=LAYERS
    )
    shardings = distributed.make_shardings(BATCH, num_devices=1)
    advance = step.compile_step(
        update, batch_size=BATCH, shardings=shardings, microbatch=microbatch
    )
    extract = Edges(jnp.float32(2))
    state = step.init_state(model, make_optimizer(hyper.rates))
    state, hyper = jax.device_put((state, hyper), shardings.replicated)
    return state, lambda state, *fed, num_steps: advance(
        state, hyper, extract, *fed, num_steps=num_steps
    )


def train(kind, microbatch, examples, calls):
    state, advance = make(kind, microbatch)
    told = []
    for order, first, num_steps in calls:
        state, losses = advance(state, examples, order, jnp.int32(first), num_steps=num_steps)
        told.append(losses)
    return state, told


def assert_alike(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("kind", ["none", "normal", "white"])
@pytest.mark.parametrize("microbatch", [3, 6])
def test_microbatches_train_as_whole_batches_do(kind, microbatch):
    examples = Examples(IMAGES)
    calls = [(ORDER, 0, 1), (ORDER, 1, 1), (ORDER, 0, 2)]
    assert_alike(train(kind, microbatch, examples, calls), train(kind, BATCH, examples, calls))


def test_known_features_are_taken_with_their_images():
    # Wrong ones, so that a microbatch that computes its own, or takes another's, is found out.
    features = np.random.default_rng(2).random((NUM_IMAGES, 31, 32, 3), dtype=np.float32)
    examples = Examples(IMAGES, {"relu1_1": features})
    calls = [(ORDER, 1, 1), (ORDER, 0, 1)]
    known = train("none", 4, examples, calls)
    assert_alike(known, train("none", BATCH, examples, calls))
    (own, *_), (given, *_) = train("none", 4, Examples(IMAGES), calls)[1], known[1]
    assert own["perceptual"] != pytest.approx(float(given["perceptual"]), rel=0.01)


def test_batches_that_were_sent_are_taken_in_turn():
    numbers = np.asarray(ORDER).reshape(2, BATCH)
    sent = Examples(IMAGES[numbers])
    found = train("normal", 6, sent, [(None, 0, 2)])
    assert_alike(found, train("normal", BATCH, sent, [(None, 0, 2)]))


def test_only_one_cpu_device_wants_microbatches_and_only_of_large_batches():
    def chosen(batch_size, *, side=64, num_devices=1, with_features=False):
        shardings = distributed.make_shardings(batch_size, num_devices=num_devices)
        return step.choose_microbatch(
            batch_size, image_pixels=side**2, with_features=with_features, shardings=shardings
        )

    assert [chosen(size) for size in (8, 64, 129, 512, 500, 1024)] == [8, 64, 43, 64, 50, 64]
    assert chosen(2 * 131) == 2 * 131  # no part of it is of a useful size
    assert [chosen(size, with_features=True) for size in (8, 16, 33, 64)] == [8, 16, 11, 16]
    assert [chosen(512, side=side) for side in (16, 32, 128, 1024)] == [512, 256, 16, 1]
    assert chosen(512, num_devices=4) == 512
