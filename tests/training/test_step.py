import dataclasses

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

BATCH, NUM_IMAGES = 8, 24
IMAGES = np.zeros((NUM_IMAGES, 32, 32, 3), np.uint8)
for number, image in enumerate(IMAGES):
    top, left = number // 6 * 8, number % 6 * 5
    image[top : top + 8, left : left + 7, number % 3] = 255


def build(num_devices=1, name="smooth", corruption=None, precision="float32"):
    streams = step.make_streams(3)
    mean = IMAGES.mean(axis=0) / 255
    model = make_autoencoder(
        ModelConfig(name=name, channels=8), mean_image=mean, key=streams.weights
    )
    config = OptimizerConfig(learning_rate=1e-3)
    schedule = optimizer.make_schedule(config, num_epochs=40, steps_per_epoch=3)

    def make_optimizer(rates):
        return optimizer.make_optimizer(config, schedule, rates)

    hyper = Hyperparameters(
        rates=optimizer.make_rates(config),
        noise=make_noise(corruption or CorruptionConfig()),
        weights={"mse": jnp.float32(1)},
        noise_key=streams.noise,
    )
    shardings = distributed.make_shardings(BATCH, num_devices=num_devices)
    graphdef = step.split_model(model)[0]
    update = step.Update(
        graphdef=graphdef, make_optimizer=make_optimizer, layers={}, precision=precision
    )
    state = step.init_state(model, make_optimizer(hyper.rates))
    advance = step.compile_step(update, batch_size=BATCH, shardings=shardings)
    state, hyper, examples = jax.device_put((state, hyper, Examples(IMAGES)), shardings.replicated)

    def bound(state, *portion, num_steps):
        return advance(state, hyper, None, *portion, num_steps=num_steps)

    return state, examples, bound


def order(epoch=0, num_slots=NUM_IMAGES):
    return data.epoch_order(
        step.make_streams(3).order, jnp.int32(epoch), num_images=NUM_IMAGES, num_slots=num_slots
    )


def train(state, examples, advance, *, calls):
    losses = []
    for first, num_steps in calls:
        state, loss = advance(state, examples, order(), jnp.int32(first), num_steps=num_steps)
        losses.append(float(loss["loss"]))
    return state, losses


def test_update_lowers_the_loss():
    _, losses = train(*build(name="reference"), calls=[(0, 1), (1, 1), (2, 1)] * 8)
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_state_counts_its_updates_and_constants_stay():
    state, examples, advance = build()
    before = [np.asarray(value) for value in jax.tree.leaves(state.constants)]
    state, _ = train(state, examples, advance, calls=[(0, 1), (1, 2)])
    assert int(state.step) == 3
    for old, new in zip(before, jax.tree.leaves(state.constants), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_many_steps_in_a_call_equal_single_steps(name):
    single, ones = train(*build(name=name), calls=[(0, 1), (1, 1), (2, 1)])
    scanned, threes = train(*build(name=name), calls=[(0, 3)])
    assert threes[0] == pytest.approx(np.mean(ones), rel=1e-5)
    for a, b in zip(jax.tree.leaves(single.params), jax.tree.leaves(scanned.params), strict=True):
        # Adam's first steps divide by tiny second moments, which magnifies rounding.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_four_devices_equal_one():
    one, losses_of_one = train(*build(1), calls=[(0, 1), (1, 1), (2, 1)])
    four, losses_of_four = train(*build(4), calls=[(0, 1), (1, 1), (2, 1)])
    assert len(jax.tree.leaves(four.params)[0].sharding.device_set) == 4
    np.testing.assert_allclose(losses_of_four, losses_of_one, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(four.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_noise_is_fresh_at_every_step():
    def loss_at(number, kind):
        state, examples, advance = build(corruption=CorruptionConfig(kind=kind, strength=0.5))
        # A new model answers with the mean image, whatever it is shown.
        state, _ = train(state, examples, advance, calls=[(0, 1), (1, 1), (2, 1)] * 3)
        state = dataclasses.replace(state, step=jnp.asarray(number, jnp.int32))
        return train(state, examples, advance, calls=[(0, 1)])[1][0]

    # The same weights and images: only the noise can make a difference.
    assert loss_at(40, "none") == loss_at(41, "none")
    assert loss_at(40, "normal") == loss_at(40, "normal")
    assert len({loss_at(number, "normal") for number in (40, 41, 42)}) == 3


def test_a_step_corrupts_each_image_by_the_key_of_its_slot(monkeypatch):
    class Asked(Exception):  # noqa: N818
        pass

    def corrupt(keys, images, noise):
        raise Asked(jax.random.key_data(keys))

    monkeypatch.setattr(step.corruption, "corrupt", corrupt)
    model = make_autoencoder(
        ModelConfig(channels=8), mean_image=IMAGES[0] / 255, key=jax.random.key(0)
    )
    update = step.Update(
        graphdef=step.split_model(model)[0], make_optimizer=lambda rates: rates, layers={}
    )
    hyper = Hyperparameters(
        rates=optimizer.make_rates(OptimizerConfig()),
        noise=make_noise(CorruptionConfig()),
        weights={"mse": jnp.float32(1)},
        noise_key=jax.random.key(5),
    )
    params, constants = step.split_model(model)[1:]
    state = step.TrainState(params, constants, (), jnp.int32(9))
    with pytest.raises(Asked) as asked:
        update.gradient(state, hyper, None, Examples(IMAGES[:3]), jnp.int32(2))
    expected = step.noise_keys(jax.random.key(5), jnp.int32(9), jnp.array([2, 3, 4]))
    np.testing.assert_array_equal(asked.value.args[0], jax.random.key_data(expected))


def test_batch_must_not_be_split_unevenly():
    assert distributed.make_shardings(6).mesh.size == 3
    assert distributed.make_shardings(7).mesh.size == 1
    assert distributed.make_shardings(8).mesh.size == 4


def test_images_sent_for_each_call_train_as_those_on_the_device_do():
    plan = Plan(num_images=NUM_IMAGES, batch_size=BATCH, num_epochs=2, steps_per_call=2)
    results = []
    for room_bytes in (IMAGES.nbytes, IMAGES.nbytes - 1):
        state, _, advance = build()
        fed = data.make_feed(
            Examples(IMAGES),
            order_of=data.make_orders(step.make_streams(3).order, plan),
            plan=plan,
            shardings=distributed.make_shardings(BATCH, num_devices=1),
            room_bytes=room_bytes,
        )
        calls = loop.calls(state, first_step=0, step_fn=advance, feed=fed, plan=plan)
        results.append([state for _, state, _ in calls][-1])
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_bfloat16_trains_like_float32_and_keeps_the_weights_float32(name):
    full, losses = train(*build(name=name), calls=[(0, 1), (1, 1), (2, 1)] * 4)
    low, low_losses = train(
        *build(name=name, precision="bfloat16"), calls=[(0, 1), (1, 1), (2, 1)] * 4
    )
    np.testing.assert_allclose(low_losses, losses, rtol=0.03)
    assert low_losses != losses
    for a, b in zip(jax.tree.leaves(full), jax.tree.leaves(low), strict=True):
        assert a.dtype == b.dtype
        assert b.dtype in (jnp.float32, jnp.int32)
    # Adam's first updates are some 1e-3 each: far less than bfloat16 can add to a weight of 1.
    moved = [
        np.abs(np.asarray(a) - np.asarray(b)).max()
        for a, b in zip(jax.tree.leaves(full.params), jax.tree.leaves(low.params), strict=True)
    ]
    assert max(moved) < 0.02


@pytest.mark.parametrize("name", ["smooth", "reference"])
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
    assert nnx.merge(graphdef, low, constants).encode(images).dtype == jnp.float32
