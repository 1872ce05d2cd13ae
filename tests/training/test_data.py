"""Portions that are made ahead, and what travels between host and device."""

import threading

import jax
import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.training import data, distributed, loop, step
from jaxsurf.training.data import Plan, TrainingConfig
from jaxsurf.training.step import Examples

IMAGES = np.arange(11 * 2 * 2 * 3, dtype=np.uint8).reshape(11, 2, 2, 3)
PLAN = Plan(num_images=11, batch_size=3, num_epochs=3, steps_per_call=3)


def make(room_bytes, plan=PLAN):
    return data.make_feed(
        Examples(IMAGES),
        order_of=data.make_orders(step.make_streams(3).order, plan),
        plan=plan,
        shardings=distributed.make_shardings(3, num_devices=1),
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
    assert isinstance(gathered, data.Prefetch)
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

    ahead = data.Prefetch(gather, PLAN)
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

    ahead = data.Prefetch(gather, PLAN)
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
        for _ in loop.calls(state, first_step=0, step_fn=bound, feed=fed, plan=plan):
            pass
    finally:
        jax.config.update("jax_transfer_guard", before)


def test_calls_cover_each_epoch_whatever_their_length():
    for steps_per_call in (1, 3, 4, 100):
        plan = Plan(num_images=10, batch_size=3, num_epochs=2, steps_per_call=steps_per_call)
        at, seen = 0, []
        while at < plan.num_steps:
            epoch, batch, num_steps = plan.call_at(at)
            seen += [(epoch, batch + i) for i in range(num_steps)]
            at += num_steps
        assert seen == [(epoch, batch) for epoch in range(2) for batch in range(4)]


def test_cpu_does_one_step_a_call_unless_told():
    assert data.make_plan(TrainingConfig(), num_images=10).steps_per_call == 1
    assert data.make_plan(TrainingConfig(steps_per_call=7), num_images=10).steps_per_call == 7


@pytest.mark.parametrize(
    "wrong",
    [{"num_epochs": 0}, {"batch_size": 0}, {"seed": -1}, {"keep_last": 0}, {"keep_best": -1}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UserError, match=rf"training\.{next(iter(wrong))}"):
        TrainingConfig(**wrong)
