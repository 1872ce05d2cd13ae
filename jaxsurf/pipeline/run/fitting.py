"""The loop of a run with all that goes on beside it: resuming, logging, saving, stopping."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import media
from jaxsurf.pipeline.run import assembly
from jaxsurf.pipeline.run.assembly import Parts
from jaxsurf.pipeline.run.program import Program
from jaxsurf.training import hooks, hosts, loop, sharding
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.feed import Feed
from jaxsurf.training.hooks import Saver
from jaxsurf.training.journal import Journal, Silent
from jaxsurf.training.loop import Hook
from jaxsurf.training.losses import LossLog
from jaxsurf.training.profiling import Profile
from jaxsurf.training.step import TrainState
from jaxsurf.workdir import WorkDir

NUM_EXAMPLES = 8

_log = logging.getLogger(__name__)


def fit(
    parts: Parts,
    made: Program,
    workdir: WorkDir,
    checkpoints: Checkpoints,
    profile: Profile,
    *,
    shown: bool,
) -> TrainState:
    """Run the loop from the newest checkpoint, or from the start, to the end.

    Args:
        parts: of the run.
        made: its program.
        workdir: where it writes.
        checkpoints: where it saves.
        profile: traces some steps.
        shown: draw a progress bar.

    Returns:
        The last state.

    Raises:
        UserError: divergence, or something can't be written.
        Interrupted: a signal asked to stop; the state is saved.
    """
    state, saved = _begin(made, checkpoints)
    first, plan = int(state.step), parts.plan
    if first == plan.num_steps:
        _log.info("training is finished already")
        return state
    fed = made.make_feed()
    journal = (Journal if hosts.writes() else Silent)(workdir.metrics, resume_step=first)
    log = make_log(parts, journal, first_step=first, saved=saved)
    show = _examples(parts, journal) if hosts.writes() else None
    every_s = parts.config.training.save_every_s
    saver = hooks.Saver(checkpoints, log, every_s=every_s, show=show)
    _forget_caches(workdir)
    try:
        shown = shown and hosts.writes()
        state = run_to_end(made, state, fed, saver, first_step=first, shown=shown, before=[profile])
    finally:
        # Once more: meanwhile somebody may have surfed from a checkpoint on the way.
        _forget_caches(workdir)
        for used in (profile, journal):
            used.close()
    return state


def run_to_end(
    made: Program,
    state: TrainState,
    fed: Feed,
    saver: Saver,
    *,
    first_step: int,
    shown: bool,
    before: Sequence[Hook] = (),
) -> TrainState:
    """Run the loop to the end and save; a signal stops it in between, and it is saved too.

    Args:
        made: the program of a run, or of a group.
        state: where to begin; its arrays are donated.
        fed: what feeds it.
        saver: saves it, and knows its log.
        first_step: the number of updates that the state has seen.
        shown: draw a progress bar.
        before: hooks that come first.

    Returns:
        The last state.

    Raises:
        UserError: divergence, or something can't be written.
        Interrupted: a signal asked to stop; the state is saved.
    """
    plan, log = made.plan, saver.log
    bar = hooks.ProgressBar(plan, log, step=first_step, shown=shown)
    with hooks.StopSignal(saver) as stop, bar:
        state = loop.run(
            state,
            first_step=first_step,
            advance=made.advance,
            feed=fed,
            plan=plan,
            hooks=[*before, log, saver, bar, stop],
        )
        saver.save(plan.num_steps, state)
        saver.finish(plan.num_steps, state)
        stop(plan.num_steps, state, {})  # for a signal that came while the last step was awaited
    return state


def _begin(made: Program, checkpoints: Checkpoints) -> tuple[TrainState, dict[str, Any]]:
    """Return the state to begin with, and what was saved with it beside."""
    state, saved = made.state, {"pending": [], "elapsed_s": 0.0}
    if checkpoints.newest_step is not None:
        sharding.free(state)  # whose place the restored one takes
        restored = checkpoints.restore(state)
        state, saved = restored.state, restored.run
    hosts.check_agreement({"the step of the newest checkpoint": int(state.step)})
    return state, saved


def make_log(
    parts: Parts, journal: Journal | Silent, *, first_step: int, saved: dict[str, Any]
) -> LossLog:
    """Return what writes a run's losses down.

    Args:
        parts: of the run.
        journal: where to.
        first_step: the step that the run begins or goes on at.
        saved: losses of the open interval and time so far, as they were saved.
    """
    return LossLog(
        journal,
        first_step=first_step,
        steps_per_epoch=parts.plan.steps_per_epoch,
        last_step=parts.plan.num_steps,
        every=parts.config.training.log_every,
        schedule=parts.learning_rate,
        **saved,
    )


def _examples(parts: Parts, journal: Journal | Silent) -> Callable[[int, TrainState], None]:
    """Return what shows originals above their reconstructions, evenly chosen."""
    images = parts.images.images
    originals = images[np.linspace(0, len(images) - 1, NUM_EXAMPLES).round().astype(int)]

    def show(at: int, state: TrainState) -> None:
        model = assembly.with_weights(parts.graphdef, sharding.own(state))
        rows = {
            "original": originals,
            "reconstruction": reconstruction.reconstruct(model, originals),
        }
        journal.show(at, media.strip(rows, num_shown=NUM_EXAMPLES), name="reconstructions")

    return show


def _forget_caches(workdir: WorkDir) -> None:
    """Remove what was made with older weights: training is what makes it stale."""
    for path in workdir.caches if hosts.writes() else ():
        path.unlink(missing_ok=True)
