"""Many trainings as one program, beside the same one after another.

Small grids have both sides; an epoch of every member is timed, without logs and checkpoints. In
turn, all members share one compiled program for each kind of noise, so neither side compiles while
it is timed. The report's grid, for accelerators, is timed together alone: some epochs of each group
on all images. Its last row multiplies them to the whole grid, compilation left out.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

import jax

from jaxsurf.pipeline import configuration, experiments, grid
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Total, Where, Work
from jaxsurf.pipeline.grid import Grid, Member
from jaxsurf.pipeline.setup import (
    CompiledRun,
    TrainSetup,
    compile_run,
    compile_step,
    compile_together,
    make_setup,
)
from jaxsurf.training import distributed, loop

# Three noise strengths, two kinds, three learning rates.
AXES: Mapping[str, Sequence[object]] = {
    "corruption.strength": (0.1, 0.2, 0.5),
    "corruption.kind": ("normal", "white"),
    "optimizer.learning_rate": (5e-4, 1e-3, 2e-3),
}
REFERENCE: Mapping[str, object] = {
    "model.name": "reference",
    "model.channels": 64,
    "training.batch_size": 8,
}
SMALL: Mapping[str, object] = {
    "model.name": "smooth",
    "model.channels": 8,
    "data.side": 32,
    "training.batch_size": 8,
}
# Of the report's grid.
MEASURED_EPOCHS = 10


def make_contest(base: Mapping[str, object], axes: Mapping[str, Sequence[object]]) -> Contest:
    """Return the contest of a grid that is one group: together and in turn, an epoch each.

    Args:
        base: as in `grid.make_grid`.
        axes: as in `grid.make_grid`.
    """
    (group,) = grid.make_grid(base, axes).groups
    parts = _assemble(group)
    return Contest(ours=_together(parts), make_peer=lambda: _in_turn(parts))


def make_group(number: int) -> Contest:
    """Return the training of a group of the report's grid, without peer.

    Args:
        number: of the group.
    """
    parts = _assemble(make_report_grid().groups[number])
    return Contest(ours=_together(parts), rounds=1, calls=MEASURED_EPOCHS)


def make_report_grid() -> Grid:
    """Return the report's grid."""
    return grid.make_grid(experiments.GRID_BASE, experiments.GRID_AXES)


def _assemble(group: Sequence[Member]) -> list[TrainSetup]:
    images = configuration.open_data(group[0].config.data)
    return [make_setup(member.config, images).on_host() for member in group]


class _Training:
    """Goes on for an epoch each time it is called."""

    def __init__(self, made: CompiledRun) -> None:
        self.state = made.state
        self.step_fn = made.step_fn
        self.fed = made.make_feed()
        self.plan = dataclasses.replace(made.plan, num_epochs=0)

    def __call__(self) -> None:
        first = self.plan.num_steps
        self.plan = dataclasses.replace(self.plan, num_epochs=self.plan.num_epochs + 1)
        calls = loop.calls(
            self.state, first_step=first, step_fn=self.step_fn, feed=self.fed, plan=self.plan
        )
        for _, state, _ in calls:
            self.state = state
        jax.block_until_ready(self.state)


def _together(parts: Sequence[TrainSetup]) -> Work:
    """Return the training of all as one program."""
    return _Training(compile_together(parts))


def _in_turn(parts: Sequence[TrainSetup]) -> Work:
    """Return the trainings of each alone, which share what is compiled."""
    shardings = distributed.make_shardings(parts[0].config.training.batch_size)
    shared = compile_step(parts[0], shardings)
    trainings = [_Training(compile_run(part, shared)) for part in parts]

    def epoch() -> None:
        for training in trainings:
            training()

    return epoch


def _small_case(base: Mapping[str, object], *, stride: int, where: Where) -> Case:
    """Return the case of 18 members on the arm's slice of 40 x 40 images, thinned."""
    side = base.get("data.side", 64)
    return Case(
        stage="sweep",
        size=f"18 members, `{base['model.name']}`, C = {base['model.channels']}, batch "
        f"{base['training.batch_size']}, MSE: an epoch of {(40 // stride) ** 2:,} images of "
        f"{side} x {side}",
        prepare=partial(make_contest, {**base, "data.stride": stride}, AXES),
        peer="in turn",
        where=where,
    )


def _report_cases() -> list[Case | Total]:
    """Return a case for each group of the report's grid, and one for the whole of it."""
    asked = make_report_grid()
    groups = [_group_case(number, group) for number, group in enumerate(asked.groups)]
    members = asked.members
    num_epochs = members[0].config.training.num_epochs
    whole = Total(
        stage="sweep",
        size=f"report's grid, all {len(members)} members: {num_epochs} epochs of 1,600 images",
        parts=[case.size for case in groups],
        times=num_epochs / MEASURED_EPOCHS,
        where="accelerator",
    )
    return [*groups, whole]


def _group_case(number: int, group: Sequence[Member]) -> Case:
    config = group[0].config
    loss = "with perceptual loss" if config.objective.perceptual else "MSE"
    return Case(
        stage="sweep",
        size=f"report's grid, {len(group)} members, C = {config.model.channels}, batch "
        f"{config.training.batch_size}, {loss}: {MEASURED_EPOCHS} epochs of 1,600 images",
        prepare=partial(make_group, number),
        where="accelerator",
    )


CASES = [
    _small_case(REFERENCE, stride=10, where="cpu"),
    _small_case(SMALL, stride=4, where="cpu"),
    _small_case(REFERENCE, stride=1, where="accelerator"),
    _small_case(SMALL, stride=1, where="accelerator"),
    *_report_cases(),
]
