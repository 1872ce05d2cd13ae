"""The training loop: calls in order, and what happens between them.

The loop only counts steps and hands every call's losses to its hooks.
"""

from collections.abc import Callable, Sequence

from jaxsurf.training.feed import Feed
from jaxsurf.training.plan import Plan
from jaxsurf.training.step import Losses, TrainState

Hook = Callable[[int, TrainState, Losses], None]


def run(
    state: TrainState,
    *,
    first_step: int,
    advance: Callable[..., tuple[TrainState, Losses]],
    feed: Feed,
    plan: Plan,
    hooks: Sequence[Hook],
) -> TrainState:
    """Train from a step to the end of the plan.

    Args:
        state: where to begin; its arrays are donated.
        first_step: the number of updates that the state has seen.
        advance: takes a state, what the feed gives, and `num_steps`; returns the next state and the
            losses averaged over those steps (a `step.Advance`, bound to a member).
        feed: gives what a call trains on (`feed.make_feed`).
        plan: how far to go.
        hooks: called in order after every call, with the step reached, the state and the losses
            (on the device); one that raises ends the run.

    Returns:
        The last state.
    """
    step = first_step
    while step < plan.num_steps:
        epoch, batch, num_steps = plan.call_at(step)
        state, losses = advance(state, *feed(epoch, batch, num_steps), num_steps=num_steps)
        step += num_steps
        for hook in hooks:
            hook(step, state, losses)
    return state
