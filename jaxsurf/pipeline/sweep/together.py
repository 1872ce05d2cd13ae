"""A group of runs trained as one program; in the end each has a working directory of its own.

While it trains, the group is one state with one checkpoint; every member's metrics go to its own
folder. A member that diverges is marked and carried along: the others do not notice.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxsurf import lock
from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline.run import assembly, fitting, program, train
from jaxsurf.pipeline.run.assembly import Parts
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.pipeline.sweep import outcome
from jaxsurf.pipeline.sweep.outcome import Outcome
from jaxsurf.training import hooks, sharding, sweep
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.journal import Journal
from jaxsurf.training.keeping import Keep
from jaxsurf.training.losses import Diverged
from jaxsurf.training.step import TrainState
from jaxsurf.training.sweep import GroupLog
from jaxsurf.workdir import WorkDir, fingerprint


@dataclass(frozen=True)
class _Group:
    """Runs that share a program, and where each of them lies."""

    parts: Sequence[Parts]
    workdirs: Sequence[WorkDir]


def train_together(
    configs: Sequence[RunConfig],
    folders: Sequence[Path],
    images: ImageSet,
    *,
    checkpoints: Path,
    shown: bool = True,
) -> list[Outcome]:
    """Train runs that differ in nothing but `grid.NUMBERS` and agree on the perceptual term.

    Args:
        configs: of the runs.
        folders: their working directories.
        images: of all of them.
        checkpoints: where the group as a whole is saved while it trains.
        shown: draw a progress bar.

    Returns:
        How each run ended, as it is written down in its folder.

    Raises:
        UserError: the images don't suit, a folder can't be written, or a device is too small.
        Interrupted: a signal asked to stop; the group is saved.
    """
    workdirs = [WorkDir(folder).check_writable() for folder in folders]
    group = _Group([assembly.assemble(config, images).on_host() for config in configs], workdirs)
    identity = fingerprint(*(part.identity for part in group.parts))
    with contextlib.ExitStack() as stack:
        for workdir, config in zip(workdirs, configs, strict=True):
            stack.enter_context(lock.held(workdir.root))
            train.write_config(workdir, config, images)
        saved = Checkpoints(checkpoints, of=identity, keep=Keep(best=0))
        stack.enter_context(contextlib.closing(saved))
        try:
            states, failed = _fit(group, saved, shown=shown)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"{len(configs)} members trained together, {folders[0].name} the first, don't fit "
                "the devices",
                cure="train in turn: --mode=in_turn",
            ) from error
        return [
            _diverged(group, number, failed[number])
            if number in failed
            else _finish(group, number, states[number])
            for number in range(len(configs))
        ]


def _fit(
    group: _Group, checkpoints: Checkpoints, *, shown: bool
) -> tuple[list[TrainState], dict[int, str]]:
    """Train from the newest checkpoint, or from the start, to the end.

    Returns:
        The last states, none if every member diverged, and what members have failed of, by number.
    """
    made = program.together(group.parts)
    plan, states = made.plan, made.state
    saved: dict[str, Any] = {"pending": [[] for _ in group.parts], "elapsed_s": 0.0}
    if checkpoints.newest_step is not None:
        sharding.free(states)  # whose place the restored ones take
        restored = checkpoints.restore(states)
        states, saved = restored.state, restored.run
    first = int(states.step[0])
    every_s = group.parts[0].config.training.save_every_s
    with contextlib.ExitStack() as files:
        log = _make_log(group, files, first_step=first, saved=saved)
        if first < plan.num_steps:
            saver = hooks.Saver(checkpoints, log, every_s=every_s)
            fed = made.make_feed()
            try:
                states = fitting.run_to_end(made, states, fed, saver, first_step=first, shown=shown)
            except Diverged:  # all of them
                return [], log.failed
    return sweep.unstack(states, len(group.parts)), log.failed


def _make_log(
    group: _Group, files: contextlib.ExitStack, *, first_step: int, saved: dict[str, Any]
) -> GroupLog:
    """Return what writes every member's losses down, each to its own folder."""
    # What stands in the place of a member's open losses is what it failed of.
    failed = {n: text for n, text in enumerate(saved["pending"]) if isinstance(text, str)}
    logs = []
    for number, (part, workdir) in enumerate(zip(group.parts, group.workdirs, strict=True)):
        journal = files.enter_context(
            contextlib.closing(Journal(workdir.metrics, resume_step=first_step))
        )
        mine = {
            "pending": [] if number in failed else saved["pending"][number],
            "elapsed_s": saved["elapsed_s"],
        }
        logs.append(fitting.make_log(part, journal, first_step=first_step, saved=mine))
    terms = [part.config.objective.losses for part in group.parts]
    return GroupLog(logs, terms=terms, failed=failed)


def _diverged(group: _Group, number: int, failure: str) -> Outcome:
    """Mark a member as diverged."""
    ended = Outcome(state="diverged", message=failure, together=len(group.parts))
    return outcome.write(group.workdirs[number], ended)


def _finish(group: _Group, number: int, state: TrainState) -> Outcome:
    """Give a member its own checkpoint, and say how it ended."""
    parts, workdir = group.parts[number], group.workdirs[number]
    with contextlib.closing(Checkpoints(workdir.checkpoints, of=parts.identity)) as own:
        own.save(int(state.step), state, {"pending": [], "elapsed_s": 0.0})
    model = assembly.with_weights(parts.graphdef, state)
    return outcome.judge(workdir, parts.config, parts.images, model, together=len(group.parts))
