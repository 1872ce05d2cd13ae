"""The compiled step: many at once, on several devices, in microbatches, at half precision."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.training import distributed, optimizer, step
from jaxsurf.training.corruption import CorruptionConfig, make_noise
from jaxsurf.training.optimizer import OptimizerConfig
from jaxsurf.training.step import Examples, Hyperparameters

BATCH, NUM_IMAGES = 12, 36
IMAGES = np.zeros((NUM_IMAGES, 16, 16, 3), np.uint8)
for number, image in enumerate(IMAGES):
    top, left = number // 9 * 4, number % 9
    image[top : top + 4, left : left + 7, number % 3] = 255
TARGETS = np.random.default_rng(2).normal(size=(NUM_IMAGES, 2)).astype(np.float32)
ORDER = np.random.default_rng(1).permutation(NUM_IMAGES)
# Calls of an epoch: first batch and number of steps.
EPOCH, ONE_AND_TWO = [(0, 1), (1, 1), (2, 1)], [(0, 1), (1, 2)]
CONFIG = OptimizerConfig(learning_rate=1e-3)
RATES = optimizer.make_rates(CONFIG, num_epochs=40, steps_per_epoch=3)
# Adam's first steps divide by tiny second moments, which magnifies rounding.
assert_close = functools.partial(
    jax.tree.map, functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
)


@functools.cache
def new(name):
    """Return a model's structure and a new state, on the host."""
    mean, key = IMAGES.mean(axis=0) / 255, step.make_streams(3).weights
    starting = optimizer.make_optimizer(CONFIG, RATES)

    def draw():
        model = make_autoencoder(ModelConfig(name=name, channels=8), mean_image=mean, key=key)
        return nnx.graphdef(model), step.init_state(model, starting)

    return jax.device_get(jax.jit(draw)())


def build(
    name="smooth", *, state=None, kind="normal", target_steps=20, precision="float32", **spread
):
    """Return a state, new if none is given, and the step bound to its settings."""
    graphdef, fresh = new(name)
    hyper = Hyperparameters(
        rates=RATES,
        noise=make_noise(CorruptionConfig(kind=kind, strength=0.3)),
        weights={"mse": jnp.float32(1)},
        noise_key=step.make_streams(3).noise,
        target_weight=jnp.float32(0.25),
        target_steps=jnp.float32(target_steps),
    )
    update = step.Update(graphdef=graphdef, optimizer=CONFIG, layers=(), precision=precision)
    shardings = distributed.make_shardings(BATCH, num_devices=spread.pop("num_devices", 1))
    advance = step.compile_step(update, batch_size=BATCH, shardings=shardings, **spread)
    state, hyper = jax.device_put((state or fresh, hyper), shardings.replicated)
    return state, lambda state, *fed, num_steps: advance(
        state, hyper, None, *fed, num_steps=num_steps
    )


def train(state, advance, calls, *, sent=False):
    """Return the last state, on the host, and the losses of each call; batches may be sent."""
    losses = []
    for first, num_steps in calls:
        given = Examples(IMAGES, targets=TARGETS), jnp.asarray(ORDER), jnp.int32(first)
        if sent:
            slots = ORDER.reshape(-1, BATCH)[first : first + num_steps]
            given = Examples(IMAGES[slots], targets=TARGETS[slots]), None, jnp.int32(0)
        state, found = advance(state, *given, num_steps=num_steps)
        losses.append({name: float(value) for name, value in found.items()})
    return jax.device_get(state), losses


@pytest.fixture(scope="module")
def single():
    """An epoch in steps one by one."""
    return train(*build(), EPOCH)


@pytest.mark.parametrize(
    ("options", "calls", "sent"),
    [
        pytest.param({}, ONE_AND_TWO, False, marks=pytest.mark.core, id="many steps in a call"),
        pytest.param({}, ONE_AND_TWO, True, id="images sent for each call"),
        pytest.param({"num_devices": 4}, EPOCH, False, id="four devices"),
        pytest.param({"microbatch": 4}, ONE_AND_TWO, False, id="microbatches"),
        pytest.param({"microbatch": 4}, EPOCH, True, marks=pytest.mark.slow, id="both"),
    ],
)
def test_an_epoch_is_the_same_however_it_is_computed(single, options, calls, sent):
    state, losses = train(*build(**options), calls, sent=sent)
    assert_close(state, single[0])
    for (first, num_steps), found in zip(calls, losses, strict=True):
        ones = single[1][first : first + num_steps]
        wanted = {name: np.mean([one[name] for one in ones]) for name in ones[0]}
        assert found == pytest.approx(wanted, rel=1e-5)


def test_as_many_devices_are_used_as_divide_the_batch():
    assert [distributed.make_shardings(size).mesh.size for size in (6, 7, 8)] == [3, 1, 4]
    state, _ = build(num_devices=4)
    assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == 4


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


@functools.cache
def trained(name):
    """Return a model's structure and a state after 6 steps, on the host.

    A new model answers with the mean image, whatever it is shown.
    """
    return new(name)[0], train(*build(name, kind="none"), EPOCH * 2)[0]


@pytest.mark.parametrize(
    ("name", "target_steps", "own"),
    [("smooth", 12, 0), ("smooth", 8, 0.5), ("smooth", 6, 1), ("reference", 8, 0.5)],
)
def test_the_decoder_sees_targets_at_first_and_the_encoder_learns_them(name, target_steps, own):
    graphdef, state = trained(name)
    model = nnx.merge(graphdef, *jax.device_put((state.params, state.constants)))
    slots = ORDER[BATCH : 2 * BATCH]
    clean, wanted = jnp.asarray(IMAGES[slots] / np.float32(255)), jnp.asarray(TARGETS[slots])
    codes = np.asarray(jax.jit(model.encode)(clean))
    shown = np.asarray(jax.jit(model.decode)((1 - own) * wanted + own * codes))
    mse, away = np.mean((shown - clean) ** 2), np.mean((codes - wanted) ** 2)
    built = build(name, state=state, kind="none", target_steps=target_steps)
    _, (losses,) = train(*built, [(1, 1)])
    expected = {"loss": mse + (1 - own) * 0.25 * away, "mse": mse, "target": away}
    expected = {name: float(value) for name, value in expected.items()}
    assert losses == pytest.approx(expected, rel=1e-4)


def test_noise_is_fresh_at_every_step():
    def loss_at(number, kind):
        _, state = trained("smooth")
        state = dataclasses.replace(state, step=np.int32(number))
        return train(*build(state=state, kind=kind), [(0, 1)])[1][0]["mse"]

    # The same weights and images: only the noise can make a difference.
    assert loss_at(40, "none") == loss_at(41, "none")
    assert loss_at(40, "normal") == loss_at(40, "normal")
    assert loss_at(41, "normal") != loss_at(40, "normal")


@pytest.mark.parametrize("name", ["reference", pytest.param("smooth", marks=pytest.mark.slow)])
def test_bfloat16_trains_like_float32_and_keeps_the_weights_float32(name):
    full, losses = train(*build(name), EPOCH * 4)
    low, low_losses = train(*build(name, precision="bfloat16"), EPOCH * 4)
    assert low_losses != losses
    for here, there in zip(low_losses, losses, strict=True):
        assert here == pytest.approx(there, rel=0.03)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(low)} == {"float32", "int32"}
    # Adam's first updates are some 1e-3 each: far less than bfloat16 can add to a weight of 1.
    for here, there in zip(*map(jax.tree.leaves, (full.params, low.params)), strict=True):
        assert np.abs(here - there).max() < 0.02
