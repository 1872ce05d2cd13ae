"""Plans, data order, and what each call to the device is fed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.training import data, distributed, step
from jaxsurf.training.data import Plan
from jaxsurf.training.step import Examples

IMAGES = np.arange(11 * 2 * 2 * 3, dtype=np.uint8).reshape(11, 2, 2, 3)
PLAN = Plan(num_images=11, batch_size=3, num_epochs=3, steps_per_call=3)


def calls(plan=PLAN, first_step=0):
    at = first_step
    while at < plan.num_steps:
        yield (call := plan.call_at(at))
        at += call[2]


@pytest.mark.parametrize("steps_per_call", [1, 3, 4, 100])
def test_calls_cover_each_epoch_whatever_their_length(steps_per_call):
    plan = Plan(num_images=10, batch_size=3, num_epochs=2, steps_per_call=steps_per_call)
    seen = [(epoch, first + i) for epoch, first, steps in calls(plan) for i in range(steps)]
    assert seen == [(epoch, batch) for epoch in range(2) for batch in range(4)]


def test_no_call_goes_on_past_the_last_step_by_targets_and_later_ones_have_none():
    plan = dataclasses.replace(PLAN, steps_per_call=4, target_share=0.5)
    assert plan.target_steps == 6
    assert list(calls(plan)) == [(0, 0, 4), (1, 0, 2), (1, 2, 2), (2, 0, 4)]
    targets = np.zeros((11, 2), np.float32)
    for room_bytes in (float("inf"), 0.0):
        feed = make(room_bytes, plan, targets)
        has = [feed(*call)[0].targets is not None for call in calls(plan)]
        assert has == [True, True, False, False]


def order(epoch=0, seed=3, num_slots=24):
    key = step.make_streams(seed).order
    return np.asarray(data.epoch_order(key, jnp.int32(epoch), num_images=24, num_slots=num_slots))


def test_order_holds_every_image_once_and_depends_on_epoch_and_seed_alone():
    slots = order(num_slots=30)  # the last batch is filled up
    assert sorted(slots[:24]) == list(range(24))
    np.testing.assert_array_equal(slots[24:], slots[:6])
    np.testing.assert_array_equal(order(5), order(5))
    assert (order(5) != order(6)).any()
    assert (order(5) != order(5, seed=4)).any()


def make(room_bytes, plan=PLAN, targets=None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "device_room_bytes", lambda: room_bytes)
        return data.make_feed(
            Examples(IMAGES, targets=targets),
            order_key=step.make_streams(3).order,
            plan=plan,
            shardings=distributed.make_shardings(3, num_devices=1),
        )


def shown(fed, num_steps):
    """Return the images that a call sees, in its order."""
    examples, order, first = fed
    if order is None:
        assert int(first) == 0
        return np.concatenate(examples.images)
    start = 3 * int(first)
    return np.asarray(examples.images)[np.asarray(order)[start : start + 3 * num_steps]]


def test_a_set_larger_than_the_device_is_fed_the_same_images_in_any_turn():
    whole, gathered = make(float(IMAGES.nbytes)), make(IMAGES.nbytes - 1.0)
    for call in [*calls(), *calls(first_step=3), (1, 2, 1)]:
        (_, order, _), fed = whole(*call), gathered(*call)
        assert order is not None
        assert fed[1] is None
        np.testing.assert_array_equal(shown(fed, call[2]), shown(whole(*call), call[2]))


@pytest.mark.parametrize("room_bytes", [float("inf"), 0.0])
def test_nothing_travels_in_the_loop_that_is_not_sent_on_purpose(room_bytes):
    advance = jax.jit(lambda state, examples, order, first: state + examples.images.sum() + first)
    state, feed = jax.device_put(np.float32(0)), make(room_bytes)
    before = jax.config.jax_transfer_guard
    jax.config.update("jax_transfer_guard", "disallow")  # in the feed's thread too
    try:
        for call in calls():
            state = advance(state, *feed(*call))
    finally:
        jax.config.update("jax_transfer_guard", before)
