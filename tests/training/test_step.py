"""The compiled step: many at once, on several devices, in microbatches, at half precision."""

import dataclasses
import functools

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
IMAGES = np.zeros((NUM_IMAGES, 16, 16, 3), np.uint8)
for number, image in enumerate(IMAGES):
    top, left = number // 9 * 4, number % 9
    image[top : top + 4, left : left + 7, number % 3] = 255
SLOW_SMOOTH = pytest.mark.parametrize(
    "name", ["reference", pytest.param("smooth", marks=pytest.mark.slow)]
)
EPOCH = [(0, 1), (1, 1), (2, 1)]
# Adam's first steps divide by tiny second moments, which magnifies rounding.
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


@functools.cache
def compiled(
    name="smooth",
    *,
    num_devices=1,
    microbatch=0,
    kind="normal",
    precision="float32",
    target_weight=0.1,
    target_steps=20,
):
    """Return a state of NumPy arrays, where it is put, and the step bound to its settings."""
    streams = step.make_streams(3)
    model = make_autoencoder(
        ModelConfig(name=name, channels=8),
        mean_image=IMAGES.mean(axis=0) / 255,
        key=streams.weights,
    )
    config = OptimizerConfig(learning_rate=1e-3)
    hyper = Hyperparameters(
        rates=optimizer.make_rates(config, num_epochs=40, steps_per_epoch=3),
        noise=make_noise(CorruptionConfig(kind=kind, strength=0.3)),
        weights={"mse": jnp.float32(1)},
        noise_key=streams.noise,
        target_weight=jnp.float32(target_weight),
        target_steps=jnp.float32(target_steps),
    )
    update = step.Update(
        graphdef=nnx.graphdef(model),
        optimizer=config,
        layers=(),
        precision=precision,
    )
    shardings = distributed.make_shardings(BATCH, num_devices=num_devices)
    advance = step.compile_step(
        update, batch_size=BATCH, shardings=shardings, microbatch=microbatch
    )
    state = step.init_state(model, optimizer.make_optimizer(config, hyper.rates))
    hyper = jax.device_put(hyper, shardings.replicated)

    def bound(state, *fed, num_steps):
        return advance(state, hyper, None, *fed, num_steps=num_steps)

    return jax.tree.map(np.asarray, state), shardings.replicated, bound


def build(name="smooth", **options):
    """Return a new state, which a step takes for its own, and a step that is compiled once."""
    state, replicated, bound = compiled(name, **options)
    return jax.device_put(state, replicated), bound


TARGETS = np.random.default_rng(2).normal(size=(NUM_IMAGES, 2)).astype(np.float32)
ORDER = np.random.default_rng(1).permutation(NUM_IMAGES)


def train(state, advance, calls, targets=None):
    """Return the last state, and the losses of each call."""
    losses = []
    for first, num_steps in calls:
        given = (Examples(IMAGES, targets=targets), jnp.asarray(ORDER), jnp.int32(first))
        state, found = advance(state, *given, num_steps=num_steps)
        losses.append({name: float(value) for name, value in found.items()})
    return state, losses


def assert_alike(one, other):
    for here, there in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(here, there, **TOLERANCE)


@pytest.mark.core
def test_many_steps_in_a_call_equal_single_steps():
    single, ones = train(*build(), EPOCH, TARGETS)
    scanned, threes = train(*build(), [(0, 3)], TARGETS)
    assert threes[0]["loss"] == pytest.approx(np.mean([one["loss"] for one in ones]), rel=1e-5)
    assert_alike(single.params, scanned.params)


def test_four_devices_equal_one_and_as_many_are_used_as_divide_the_batch():
    assert [distributed.make_shardings(size).mesh.size for size in (6, 7, 8)] == [3, 1, 4]
    one, losses_of_one = train(*build(), EPOCH, TARGETS)
    four, losses_of_four = train(*build(num_devices=4), EPOCH, TARGETS)
    assert len(jax.tree.leaves(four.params)[0].sharding.device_set) == 4
    for here, there in zip(losses_of_four, losses_of_one, strict=True):
        assert here == pytest.approx(there, rel=1e-5)
    assert_alike(one.params, four.params)


@pytest.mark.parametrize("microbatch", [0, pytest.param(6, marks=pytest.mark.slow)])
def test_images_sent_for_each_call_train_as_those_on_the_device_do(monkeypatch, microbatch):
    plan = Plan(
        num_images=NUM_IMAGES, batch_size=BATCH, num_epochs=2, steps_per_call=2, target_share=0.6
    )
    examples, results = Examples(IMAGES, targets=TARGETS), []
    for room_bytes in (float(examples.nbytes), examples.nbytes - 1.0):
        monkeypatch.setattr(data, "device_room_bytes", lambda room=room_bytes: room)
        state, advance = build(microbatch=microbatch)
        feed = data.make_feed(
            examples,
            order_key=step.make_streams(3).order,
            plan=plan,
            shardings=distributed.make_shardings(BATCH, num_devices=1),
        )
        calls = loop.calls(state, first_step=0, bound_step=advance, feed=feed, plan=plan)
        results.append([state for _, state, _ in calls][-1])
    assert_alike(*results)


@pytest.mark.parametrize("microbatch", [3, 4])
def test_microbatches_train_as_whole_batches_do(microbatch):
    parts = train(*build(microbatch=microbatch), [(1, 1), (0, 3)], TARGETS)
    assert_alike(parts, train(*build(), [(1, 1), (0, 3)], TARGETS))


def test_only_one_cpu_device_wants_microbatches_and_only_of_large_batches():
    def chosen(batch_size, *, side=64, num_devices=1, with_features=False):
        shardings = distributed.make_shardings(batch_size, num_devices=num_devices)
        return step.choose_microbatch(
            batch_size, image_pixels=side**2, with_features=with_features, shardings=shardings
        )

    assert [chosen(size) for size in (64, 129, 512, 500)] == [64, 43, 64, 50]
    assert chosen(2 * 131) == 2 * 131  # no part of it is of a useful size
    assert [chosen(size, with_features=True) for size in (16, 33)] == [16, 11]
    assert [chosen(512, side=side) for side in (16, 32, 1024)] == [512, 256, 1]
    assert chosen(512, num_devices=4) == 512


@pytest.mark.parametrize("name", ["reference", "smooth"])
@pytest.mark.parametrize(
    ("target_steps", "own"), [(12, 0), (8, 0.5), (6, 1)], ids=["at first", "between", "at last"]
)
def test_the_decoder_sees_targets_at_first_and_the_encoder_learns_them(name, target_steps, own):
    state, advance = build(name, kind="none", target_weight=0.25, target_steps=target_steps)
    # Some steps on, since at first a model answers with the mean image whatever it is shown.
    state, _ = train(state, advance, EPOCH * 2, TARGETS)
    slots = ORDER[BATCH : 2 * BATCH]
    model = make_autoencoder(
        ModelConfig(name=name, channels=8),
        mean_image=IMAGES.mean(axis=0) / 255,
        key=jax.random.key(0),
    )
    nnx.update(model, state.params)
    clean, wanted = jnp.asarray(IMAGES[slots] / np.float32(255)), jnp.asarray(TARGETS[slots])
    codes = np.asarray(jax.jit(model.encode)(clean))
    shown = np.asarray(jax.jit(model.decode)((1 - own) * wanted + own * codes))
    mse, away = np.mean((shown - clean) ** 2), np.mean((codes - wanted) ** 2)
    _, (losses,) = train(state, advance, [(1, 1)], TARGETS)
    expected = {"loss": mse + (1 - own) * 0.25 * away, "mse": mse, "target": away}
    expected = {name: float(value) for name, value in expected.items()}
    assert losses == pytest.approx(expected, rel=1e-4)


def test_noise_is_fresh_at_every_step():
    def loss_at(number, kind):
        # A new model answers with the mean image, whatever it is shown.
        state, advance = build(kind=kind)
        state, _ = train(state, advance, EPOCH * 3)
        state = dataclasses.replace(state, step=0 * state.step + number)
        return train(state, advance, [(0, 1)])[1][0]["loss"]

    # The same weights and images: only the noise can make a difference.
    assert loss_at(40, "none") == loss_at(41, "none")
    assert loss_at(40, "normal") == loss_at(40, "normal")
    assert loss_at(41, "normal") != loss_at(40, "normal")


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
