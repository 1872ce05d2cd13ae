"""Images in, a trained model in a working directory out."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf import lock
from jaxsurf.errors import UserError
from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import media
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import (
    assembly,
    collapse,
    configuration,
    program,
    resumption,
    trained,
)
from jaxsurf.pipeline.assembly import Parts
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.program import Program
from jaxsurf.pipeline.trained import TrainedRun
from jaxsurf.training import hooks, hosts, loop, sharding
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.hosts import Cluster
from jaxsurf.training.journal import Journal, Silent
from jaxsurf.training.losses import LossLog
from jaxsurf.training.profiling import Profile
from jaxsurf.training.step import TrainState
from jaxsurf.workdir import WorkDir, write_json

NUM_EXAMPLES = 8

_log = logging.getLogger(__name__)


def train(
    config: RunConfig,
    root: Path,
    *,
    extend: bool = False,
    shown: bool = True,
    cluster: Cluster | None = None,
    profile: int = 0,
) -> TrainedRun:
    """Train a model, or go on where an earlier run of the same command stopped.

    Args:
        config: everything that the result depends on.
        root: the working directory; all processes need to see the same.
        extend: allow more epochs than the earlier run was planned for.
        shown: draw a progress bar.
        cluster: where the other processes of the run are; None where there are none.
        profile: write a trace of so many steps into the working directory.

    Returns:
        The trained run.

    Raises:
        UserError: bad data, an unwritable or foreign working directory, divergence, processes
            that differ.
        Collapsed: training ended, and was saved, but the model is no better than the mean image.
        Interrupted: a signal asked to stop; the state is saved.
    """
    with hosts.joined(cluster):
        hosts.check_agreement(_agreed(config) | trained.versions())
        # Before images are opened, which may take long.
        resumption.check_settings(WorkDir(root).check_writable(), config, extend=extend)
        images = configuration.open_data(config.data)
        hosts.check_agreement({"the fingerprint of the images": images.fingerprint})
        run = train_on(images, config, root, extend=extend, shown=shown, profile=profile)
        collapse.check(run.model, images, config.objective)
    return run


def train_on(
    images: ImageSet,
    config: RunConfig,
    root: Path,
    *,
    extend: bool = False,
    shown: bool = True,
    profile: int = 0,
) -> TrainedRun:
    """Train as `train` does, on images that are open already; a collapsed model is not refused.

    Args:
        images: those that `config.data` names.
        config: as in `train`.
        root: as in `train`.
        extend: as in `train`.
        shown: as in `train`.
        profile: as in `train`.

    Returns:
        The trained run.

    Raises:
        UserError: as `train` does.
        Interrupted: as `train` does.
    """
    workdir = WorkDir(root).check_writable()
    resumption.check_settings(workdir, config, extend=extend)
    check_images(images)
    resumption.check_images(workdir, config, images)
    # Nothing is written before all that may be wrong has been looked at.
    parts = assembly.assemble(config, images)
    made = program.alone(parts)
    with lock.held(workdir.root) if hosts.writes() else contextlib.nullcontext():
        # Another run may have begun there meanwhile.
        resumption.check_settings(workdir, config, extend=extend)
        resumption.check_images(workdir, config, images)
        if hosts.writes():
            write_config(workdir, config, images)
        with contextlib.closing(
            Checkpoints(workdir.checkpoints, of=parts.identity, keep=config.training.keep)
        ) as checkpoints:
            profiled = Profile(str(workdir.profile), profile if hosts.writes() else 0)
            state = _fit(parts, made, workdir, checkpoints, profiled, shown=shown)
    return TrainedRun(
        workdir=workdir,
        config=config,
        images=images,
        model=assembly.with_weights(parts.graphdef, sharding.own(state)),
        step=int(state.step),
    )


def _agreed(config: RunConfig) -> dict[str, Any]:
    """Return the settings that all processes must have; files may lie in different places."""
    settings = configuration.flat(configuration.to_dict(config))
    return {f"config.{name}": value for name, value in settings.items() if name != "data.path"}


def check_images(images: ImageSet) -> None:
    """Refuse images between which there is nothing to interpolate.

    Raises:
        UserError: they are all equal, or there is but one.
    """
    if not any((image != images.images[0]).any() for image in images.images):
        raise UserError(
            f"{images.name} holds {len(images)} image{'s that are all equal' * (len(images) > 1)}",
            cure="give at least two that differ",
        )


def write_config(workdir: WorkDir, config: RunConfig, images: ImageSet) -> None:
    """Write the configuration down, and forget what another one made."""
    if workdir.begun and trained.read_config(workdir)[0].graph != config.graph:
        workdir.graph.unlink(missing_ok=True)
    write_json(
        workdir.config,
        {
            "config": configuration.to_dict(config),
            "data": {
                "name": images.name,
                "fingerprint": images.fingerprint,
                "shape": list(images.images.shape),
            },
            "versions": trained.versions(),
        },
    )


def _fit(
    parts: Parts,
    made: Program,
    workdir: WorkDir,
    checkpoints: Checkpoints,
    profile: Profile,
    *,
    shown: bool,
) -> TrainState:
    """Run the loop from the newest checkpoint, or from the start, to the end."""
    state, saved = made.state, {"pending": [], "elapsed_s": 0.0}
    if checkpoints.newest_step is not None:
        restored = checkpoints.restore(state)
        state, saved = restored.state, restored.run
    first = int(state.step)
    hosts.check_agreement({"the step of the newest checkpoint": first})
    if first == parts.plan.num_steps:
        _log.info("training is finished already")
        return state
    fed = made.make_feed()
    journal = (Journal if hosts.writes() else Silent)(workdir.metrics, resume_step=first)
    _forget_caches(workdir)
    log = make_log(parts, journal, first_step=first, saved=saved)
    every_s = parts.config.training.save_every_s
    show = _examples(parts, journal) if hosts.writes() else None
    saver = hooks.Saver(checkpoints, log, every_s=every_s, show=show)
    bar = hooks.ProgressBar(parts.plan, log, step=first, shown=shown and hosts.writes())
    try:
        with hooks.StopSignal(saver) as stop:
            state = loop.run(
                state,
                first_step=first,
                advance=made.advance,
                feed=fed,
                plan=parts.plan,
                hooks=[profile, log, saver, bar, stop],
            )
            saver.save(parts.plan.num_steps, state)
            saver.finish(parts.plan.num_steps, state)
            stop(parts.plan.num_steps, state, {})  # for a signal that came meanwhile
    finally:
        # Once more: meanwhile somebody may have surfed from a checkpoint on the way.
        _forget_caches(workdir)
        bar.close()
        profile.close()
        journal.close()
    return state


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
