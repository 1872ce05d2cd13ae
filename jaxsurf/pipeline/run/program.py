"""Parts -> what the loop runs: a state, what advances it, what feeds it; one run, or several.

The parts' states are moved to where they are trained; several runs are stacked, members first.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from jaxsurf.errors import UserError
from jaxsurf.pipeline.run import assembly
from jaxsurf.pipeline.run.assembly import Parts
from jaxsurf.training import features, feed, pieces, sharding, step, sweep
from jaxsurf.training.feed import Feed
from jaxsurf.training.pieces import Pieces
from jaxsurf.training.plan import Plan
from jaxsurf.training.step import Advance, TrainState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Program:
    """What `loop.run` takes.

    Attributes:
        state: before the first update.
        plan: how far to go.
        advance: bound to the members.
        make_feed: computes features and puts examples on the device; a finished run needs none.
    """

    state: TrainState
    plan: Plan
    advance: Advance
    make_feed: Callable[[], Feed]


def make_advance(parts: Parts, *, num_devices: int | None = None) -> Advance:
    """Return what advances a run, and all whose program is the same (`step.Member`).

    Args:
        parts: of the run.
        num_devices: use at most so many; None means all there are.
    """
    batch_size, update = parts.config.training.batch_size, parts.make_update()
    shardings = sharding.make_shardings(batch_size, num_devices=num_devices)
    piece = pieces.suiting(
        batch_size,
        pixels=math.prod(parts.images.images.shape[1:3]),
        with_features="perceptual" in parts.config.objective.weights,
        shardings=shardings,
    )
    if piece < batch_size:
        return Pieces(update, batch_size=batch_size, piece=piece, shardings=shardings)
    _tell_of_loops(parts.plan)
    return step.make_advance(update, batch_size=batch_size, shardings=shardings)


def _tell_of_loops(plan: Plan) -> None:
    if plan.steps_per_call > 1 and jax.default_backend() == "cpu":
        _log.info(
            "training.steps_per_call=%d is for accelerators: on a CPU models made of convolutions, "
            "as smooth is, train many times slower with it; leave it out of new runs",
            plan.steps_per_call,
        )


def alone(
    parts: Parts, advance: Advance | None = None, *, num_devices: int | None = None
) -> Program:
    """Return the program of one run.

    Args:
        parts: of the run.
        advance: what `make_advance` returned for a run of the same program; None makes it.
        num_devices: use at most so many; None means all there are.
    """
    advance = advance or make_advance(parts, num_devices=num_devices)
    shardings = sharding.make_shardings(parts.config.training.batch_size, num_devices=num_devices)
    own_extract = features.make_extractor(parts.config.objective)
    state, member, extract = sharding.put(
        (parts.state, parts.make_member(), own_extract), shardings.replicated
    )

    def advance_member(state: TrainState, *portion: Any, num_steps: int) -> Any:  # noqa: ANN401
        given = advance(state, member, extract, *portion, num_steps=num_steps)
        return sharding.in_step(given, shardings.mesh)

    return Program(
        state=state,
        plan=parts.plan,
        advance=advance_member,
        make_feed=lambda: feed.make_feed(
            assembly.make_examples(parts.config, parts.images, own_extract),
            order_of=feed.make_orders(parts.streams.order, parts.plan),
            plan=parts.plan,
            shardings=shardings,
        ),
    )


def together(parts: Sequence[Parts]) -> Program:
    """Return the program of several runs that differ in nothing but `grid.NUMBERS`.

    Args:
        parts: of the runs; all or none of them have a perceptual term.
    """
    first, mesh = parts[0], sweep.make_mesh(len(parts))
    shardings = sharding.Shardings(mesh)
    extract = jax.device_put(features.make_extractor(first.config.objective), shardings.replicated)
    kinds = sorted({part.config.corruption.kind for part in parts})
    terms = sorted({term for part in parts for term in part.config.objective.weights})
    members = sweep.stack([part.make_member(kinds=kinds, terms=terms) for part in parts], mesh)
    keys = sweep.stack([part.streams.order for part in parts], mesh)
    _tell_of_loops(first.plan)
    jitted = sweep.make_advance(
        first.make_update(), batch_size=first.config.training.batch_size, mesh=mesh
    )

    def make_feed() -> Feed:
        examples = assembly.make_examples(first.config, first.images, extract)
        if examples.nbytes > feed.room_for(examples):
            raise UserError(
                f"{len(first.images)} images don't fit a device, where members trained together "
                "need them",
                cure="train in turn: --mode=in_turn",
            )
        order_of = feed.make_orders(keys, first.plan)
        return feed.make_feed(examples, order_of=order_of, plan=first.plan, shardings=shardings)

    def advance_members(states: TrainState, *portion: Any, num_steps: int) -> Any:  # noqa: ANN401
        given = jitted(states, members, extract, *portion, num_steps=num_steps)
        return sharding.in_step(given, mesh)

    return Program(
        state=sweep.stack([part.state for part in parts], mesh),
        plan=first.plan,
        advance=advance_members,
        make_feed=make_feed,
    )
