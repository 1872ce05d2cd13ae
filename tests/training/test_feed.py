"""Portions that are made ahead, and what travels between host and device."""

import threading

import jax
import numpy as np
import pytest

from jaxsurf.training import feed, loop, seeding, sharding
from jaxsurf.training.examples import Examples
from jaxsurf.training.plan import Plan

IMAGES = np.arange(11 * 2 * 2 * 3, dtype=np.uint8).reshape(11, 2, 2, 3)
PLAN = Plan(num_images=11, batch_size=3, num_epochs=3, steps_per_call=3)


def make(room_bytes, plan=PLAN):
    return feed.make_feed(
        Examples(IMAGES),
        order_of=feed.make_orders(seeding.make_streams(3).order, plan),
        plan=plan,
        shardings=sharding.make_shardings(3, num_devices=1),
        room_bytes=room_bytes,
    )


def shown(portion, num_steps):
    """Return the images that a call sees, in its order."""
    examples, order, first = portion
    if order is None:
        assert int(first) == 0
        return np.concatenate(examples.images)
    start = 3 * int(first)
    return np.asarray(examples.images)[np.asarray(order)[start : start + 3 * num_steps]]


def calls(first_step=0):
    at = first_step
    while at < PLAN.num_steps:
        yield (call := PLAN.call_at(at))
        at += call[2]


def test_a_set_larger_than_the_device_is_fed_the_same_images():
    whole, gathered = make(IMAGES.nbytes), make(IMAGES.nbytes - 1)
    assert isinstance(gathered, feed.Ahead)
    for call in calls():
        np.testing.assert_array_equal(shown(gathered(*call), call[2]), shown(whole(*call), call[2]))


def test_a_portion_out_of_turn_is_right_too():
    whole, gathered = make(IMAGES.nbytes), make(0)
    for call in [*calls(6), *calls(3), (1, 2, 1)]:
        np.testing.assert_array_equal(shown(gathered(*call), call[2]), shown(whole(*call), call[2]))


def test_the_next_portion_is_made_while_the_present_one_is_used():
    made, begun = [], threading.Event()

    def gather(*call):
        made.append(call)
        if len(made) == 2:
            begun.set()
        return call

    ahead = feed.Ahead(gather, PLAN)
    assert ahead(*PLAN.call_at(0)) == (0, 0, 3)
    assert begun.wait(10)  # nobody has asked for it yet
    assert made == [(0, 0, 3), (0, 3, 1)]
    rest = [ahead(*call) for call in calls(3)]
    assert made == [(0, 0, 3), *rest]  # each once, and none after the last


def test_what_fails_ahead_is_raised_where_it_is_asked_for():
    def gather(epoch, batch, num_steps):
        if batch:
            raise OSError("disk is gone")
        return epoch

    ahead = feed.Ahead(gather, PLAN)
    assert ahead(0, 0, 3) == 0
    with pytest.raises(OSError, match="disk is gone"):
        ahead(0, 3, 1)


@pytest.mark.parametrize("room_bytes", [float("inf"), 0])
def test_nothing_travels_in_the_loop_that_is_not_sent_on_purpose(room_bytes):
    plan = Plan(num_images=11, batch_size=3, num_epochs=3, steps_per_call=2)
    advance = jax.jit(lambda state, examples, order, first: state + examples.images.sum() + first)
    state = jax.device_put(np.float32(0))

    def bound(state, *portion, num_steps):
        del num_steps
        return advance(state, *portion), {}

    fed = make(room_bytes, plan)
    before = jax.config.jax_transfer_guard
    jax.config.update("jax_transfer_guard", "disallow")  # in the feed's thread too
    try:
        loop.run(state, first_step=0, advance=bound, feed=fed, plan=plan, hooks=[])
    finally:
        jax.config.update("jax_transfer_guard", before)
