"""The compiled step: many at once, on several devices, in microbatches, at half precision."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.training import data, distributed, loop, optimizer, step
from jaxsurf.training.corruption import CorruptionConfig, make_noise
from jaxsurf.training.data import Plan
from jaxsurf.training.optimizer import OptimizerConfig
from jaxsurf.training.step import Examples, Hyperparameters

BATCH, NUM_IMAGES = 12, 36
IMAGES = np.zeros((NUM_IMAGES, 32, 32, 3), np.uint8)
for number, image in enumerate(IMAGES):
    top, left = number // 9 * 8, number % 9 * 3
    image[top : top + 8, left : left + 7, number % 3] = 255
MODELS = pytest.mark.parametrize("name", ["smooth", "reference"])
SLOW_SMOOTH = pytest.mark.parametrize(
    "name", ["reference", pytest.param("smooth", marks=pytest.mark.slow)]
)
EPOCH = [(0, 1), (1, 1), (2, 1)]
# Adam's first steps divide by tiny second moments, which magnifies rounding.
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Edges:
    """Stands in for VGG16: features of an image by one number of its own."""

    strength: jax.Array

    def __call__(self, images):
        return {"relu1_1": self.strength * jnp.diff(images, axis=1)}


def build(
    name="smooth", *, num_devices=1, microbatch=0, kind="normal", precision="float32", share=0.0
):
    """Return a new state, and the compiled step bound to its hyperparameters."""
    streams = step.make_streams(3)
    model = make_autoencoder(
        ModelConfig(name=name, channels=8),
        mean_image=IMAGES.mean(axis=0) / 255,
        key=streams.weights,
    )
    config = OptimizerConfig(learning_rate=1e-3)
    schedule = optimizer.make_schedule(config, num_epochs=40, steps_per_epoch=3)
    weights = {"mse": jnp.float32(1)} | ({"perceptual": jnp.float32(share)} if share else {})
    hyper = Hyperparameters(
        rates=optimizer.make_rates(config),
        noise=make_noise(CorruptionConfig(kind=kind, strength=0.3)),
        weights=weights,
        noise_key=streams.noise,
    )
    update = step.Update(
        graphdef=step.split_model(model)[0],
        make_optimizer=lambda rates: optimizer.make_optimizer(config, schedule, rates),
        layers={"relu1_1": 0.5},
        precision=precision,
    )
    shardings = distributed.make_shardings(BATCH, num_devices=num_devices)
    advance = step.compile_step(
        update, batch_size=BATCH, shardings=shardings, microbatch=microbatch
    )
    state = step.init_state(model, update.make_optimizer(hyper.rates))
    given = (state, hyper, Edges(jnp.float32(2)) if share else None)
    state, hyper, extract = jax.device_put(given, shardings.replicated)

    def bound(state, *fed, num_steps):
        return advance(state, hyper, extract, *fed, num_steps=num_steps)

    return state, bound


ORDER = np.random.default_rng(1).permutation(NUM_IMAGES)


def train(state, advance, calls, examples=None, *, sent=False):
    """Return the last state, and the losses of each call."""
    examples, order = examples or Examples(IMAGES), None if sent else jnp.asarray(ORDER)
    losses = []
    for first, num_steps in calls:
        given = (examples, order, jnp.int32(first))
        state, found = advance(state, *given, num_steps=num_steps)
        losses.append({name: float(value) for name, value in found.items()})
    return state, losses


def assert_alike(one, other):
    for here, there in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(here, there, **TOLERANCE)


@pytest.mark.core
def test_updates_lower_the_loss_are_counted_and_leave_constants():
    state, advance = build("reference")
    before = jax.tree.map(np.asarray, state.constants)
    state, losses = train(state, advance, EPOCH * 8)
    values = [loss["loss"] for loss in losses]
    assert np.mean(values[-3:]) < 0.8 * np.mean(values[:3])
    assert int(state.step) == 24
    assert_alike(state.constants, before)


@SLOW_SMOOTH
def test_many_steps_in_a_call_equal_single_steps(name):
    single, ones = train(*build(name), EPOCH)
    scanned, threes = train(*build(name), [(0, 3)])
    assert threes[0]["loss"] == pytest.approx(np.mean([one["loss"] for one in ones]), rel=1e-5)
    assert_alike(single.params, scanned.params)


def test_four_devices_equal_one_and_as_many_are_used_as_divide_the_batch():
    assert [distributed.make_shardings(size).mesh.size for size in (6, 7, 8)] == [3, 1, 4]
    one, losses_of_one = train(*build(), EPOCH)
    four, losses_of_four = train(*build(num_devices=4), EPOCH)
    assert len(jax.tree.leaves(four.params)[0].sharding.device_set) == 4
    for here, there in zip(losses_of_four, losses_of_one, strict=True):
        assert here == pytest.approx(there, rel=1e-5)
    assert_alike(one.params, four.params)


def test_images_sent_for_each_call_train_as_those_on_the_device_do():
    plan = Plan(num_images=NUM_IMAGES, batch_size=BATCH, num_epochs=2, steps_per_call=2)
    results = []
    for room_bytes in (IMAGES.nbytes, IMAGES.nbytes - 1):
        state, advance = build()
        feed = data.make_feed(
            Examples(IMAGES),
            order_of=data.make_orders(step.make_streams(3).order, plan),
            plan=plan,
            shardings=distributed.make_shardings(BATCH, num_devices=1),
            room_bytes=room_bytes,
        )
        calls = loop.calls(state, first_step=0, step_fn=advance, feed=feed, plan=plan)
        results.append([state for _, state, _ in calls][-1])
    assert_alike(*results)


# Microbatches


@pytest.mark.parametrize(("kind", "microbatch"), [("normal", 3), ("none", 4)])
def test_microbatches_train_as_whole_batches_do(kind, microbatch):
    # Wrong ones, so that a microbatch that computes its own, or takes another's, is found out.
    wrong = np.random.default_rng(2).random((NUM_IMAGES, 31, 32, 3), dtype=np.float32)
    examples = Examples(IMAGES, {"relu1_1": wrong}) if kind == "none" else Examples(IMAGES)
    calls = [(1, 1), (0, 2)]
    state, losses = train(*build(kind=kind, microbatch=microbatch, share=0.3), calls, examples)
    whole, expected = train(*build(kind=kind, share=0.3), calls, examples)
    assert_alike((state, losses), (whole, expected))
    if kind == "none":
        own, _ = train(*build(kind=kind, microbatch=microbatch, share=0.3), calls)[1]
        assert own["perceptual"] != pytest.approx(losses[0]["perceptual"], rel=0.01)


def test_batches_that_were_sent_are_taken_in_microbatches_too():
    sent = Examples(IMAGES[ORDER.reshape(3, BATCH)])
    found = train(*build(microbatch=6), [(0, 2)], sent, sent=True)
    assert_alike(found, train(*build(), [(0, 2)]))


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


# Noise


def test_streams_keys_and_noise_differ_by_seed_purpose_step_and_slot():
    streams = [key for seed in (3, 4) for key in vars(step.make_streams(seed)).values()]
    key, slots = jax.random.key(5), np.arange(4)
    drawn = [
        step.noise_keys(jax.random.clone(key), jnp.int32(number), jnp.asarray(slots))
        for number in (0, 1)
    ]
    words = [tuple(row.tolist()) for row in jax.random.key_data(jnp.stack(streams))]
    words += [tuple(row) for keys in drawn for row in jax.random.key_data(keys).tolist()]
    assert len(set(words)) == len(words) == 6 + 8
    later = step.noise_keys(jax.random.clone(key), jnp.int32(1), jnp.asarray(slots[2:]))
    np.testing.assert_array_equal(
        jax.random.key_data(later), jax.random.key_data(jax.random.clone(drawn[1]))[2:]
    )


def test_noise_is_fresh_at_every_step():
    def loss_at(number, kind):
        # A new model answers with the mean image, whatever it is shown.
        state, advance = build(kind=kind)
        state, _ = train(state, advance, EPOCH * 3)
        state = dataclasses.replace(state, step=jnp.asarray(number, jnp.int32))
        return train(state, advance, [(0, 1)])[1][0]["loss"]

    # The same weights and images: only the noise can make a difference.
    assert loss_at(40, "none") == loss_at(41, "none")
    assert loss_at(40, "normal") == loss_at(40, "normal")
    assert loss_at(41, "normal") != loss_at(40, "normal")


# Half precision


@SLOW_SMOOTH
def test_bfloat16_trains_like_float32_and_keeps_the_weights_float32(name):
    full, losses = train(*build(name), EPOCH * 4)
    low, low_losses = train(*build(name, precision="bfloat16"), EPOCH * 4)
    assert low_losses != losses
    for here, there in zip(low_losses, losses, strict=True):
        assert here == pytest.approx(there, rel=0.03)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(low)} == {"float32", "int32"}
    # Adam's first updates are some 1e-3 each: far less than bfloat16 can add to a weight of 1.
    for here, there in zip(*map(jax.tree.leaves, (full.params, low.params)), strict=True):
        assert np.abs(np.asarray(here) - np.asarray(there)).max() < 0.02


@MODELS
def test_all_but_the_codes_is_computed_in_the_precision_of_the_weights(name):
    model = make_autoencoder(
        ModelConfig(name=name, channels=8),
        mean_image=np.zeros((32, 32, 3)),
        key=jax.random.key(0),
    )
    graphdef, params, constants = step.split_model(model)
    low = jax.tree.map(lambda values: values.astype(jnp.bfloat16), params)
    images = jnp.zeros((5, 32, 32, 3))
    program = jax.jit(lambda low: nnx.merge(graphdef, low, constants)(images)).lower(low).as_text()
    heavy = [
        line.rsplit("->", 1)[1]
        for line in program.splitlines()
        if "stablehlo.dot_general" in line or "stablehlo.convolution" in line
    ]
    assert len(heavy) >= 8
    # To the code, and from it or to its Fourier features.
    assert ["xf32>" in each for each in heavy].count(True) == 2
