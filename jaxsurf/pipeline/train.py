"""Images in, a trained model in a working directory out."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import media
from jaxsurf.images import pixels
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.pipeline import configuration, resumption, trained
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.trained import TrainedRun
from jaxsurf.training import feed, hooks, loop, sharding, step
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.journal import Journal
from jaxsurf.training.losses import LossLog
from jaxsurf.training.optimizer import Schedule
from jaxsurf.training.step import TrainState
from jaxsurf.workdir import WorkDir, write_json

# A model whose error is above this share of the mean image's has learnt next to nothing.
COLLAPSED_SHARE = 0.9
NUM_EXAMPLES = 8
# Images whose pixels are summed at once: 16 bytes a value for as many, not for a million.
VARIANCE_CHUNK = 256

_log = logging.getLogger(__name__)


class Collapsed(UserError):  # noqa: N818  (it says what happened)
    """The trained model is no better than the mean image."""


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What one training run is made of."""

    config: RunConfig
    images: ImageSet
    graphdef: nnx.GraphDef[Autoencoder]
    workdir: WorkDir
    plan: loop.Plan
    schedule: Schedule
    advance: Callable
    feed: feed.Feed
    blank: TrainState


def train(config: RunConfig, root: Path, *, extend: bool = False, shown: bool = True) -> TrainedRun:
    """Train a model, or go on where an earlier run of the same command stopped.

    Args:
        config: everything that the result depends on.
        root: the working directory.
        extend: allow more epochs than the earlier run was planned for.
        shown: draw a progress bar.

    Returns:
        The trained run.

    Raises:
        UserError: bad data, an unwritable or foreign working directory, divergence.
        Collapsed: training ended, and was saved, but the model is no better than the mean image.
        Interrupted: a signal asked to stop; the state is saved.
    """
    workdir = WorkDir(root).check_writable()
    resumption.check_settings(workdir, config, extend=extend)
    images = configuration.open_data(config.data)
    _check_images(images)
    resumption.check_images(workdir, config, images)
    # Nothing is written before all that may be wrong has been looked at.
    setup = _set_up(config, images, workdir)
    _write_config(setup)
    with contextlib.closing(Checkpoints(workdir.checkpoints)) as checkpoints:
        state = _fit(setup, checkpoints, shown=shown)
    run = TrainedRun(
        workdir=workdir,
        config=config,
        images=images,
        model=trained.with_weights(setup.graphdef, state),
        step=int(state.step),
    )
    check_not_collapsed(run)
    return run


def mean_image_mse(images: ImageSet) -> float:
    """Return the error, on [0, 1], of answering every image with the mean image."""
    total = np.zeros(images.images.shape[1:], np.uint64)
    squares = np.zeros_like(total)
    for start in range(0, len(images), VARIANCE_CHUNK):
        chunk = images.images[start : start + VARIANCE_CHUNK].astype(np.uint64)
        total += chunk.sum(axis=0)
        squares += np.square(chunk).sum(axis=0)
    # In whole numbers, so that the difference of squares loses nothing.
    variances = (len(images) * squares - np.square(total)) / len(images) ** 2
    return float(variances.mean()) / pixels.PEAK**2


def check_not_collapsed(run: TrainedRun) -> None:
    """Refuse a model that has learnt next to nothing.

    Raises:
        Collapsed: its error is hardly below the mean image's.
    """
    error = float(reconstruction.mse(run.model, run.images.images).mean())
    baseline = mean_image_mse(run.images)
    _log.info("reconstruction mse %.3g, of the mean image %.3g", error, baseline)
    if not error < COLLAPSED_SHARE * baseline:
        raise Collapsed(
            f"the model collapsed: its error {error:.2e} is no better than the mean image's "
            f"{baseline:.2e}",
            cure="try a lower learning rate, another seed or model, or more epochs",
        )


def _check_images(images: ImageSet) -> None:
    """Refuse images between which there is nothing to interpolate."""
    if not any((image != images.images[0]).any() for image in images.images):
        raise UserError(
            f"{images.name} holds {len(images)} image{'s that are all equal' * (len(images) > 1)}",
            cure="give at least two that differ",
        )


def _write_config(setup: _Setup) -> None:
    """Write the configuration down, and forget what another one made."""
    workdir, config, images = setup.workdir, setup.config, setup.images
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


def _set_up(config: RunConfig, images: ImageSet, workdir: WorkDir) -> _Setup:
    """Put model, optimizer and update together."""
    streams = step.make_streams(config.training.seed)
    plan = loop.make_plan(config.training, num_images=len(images))
    model = trained.make_model(config, images)
    graphdef, _, _ = step.split_model(model)
    optimizer, schedule = trained.make_optimizer(config, plan)
    shardings = sharding.make_shardings(config.training.batch_size)
    update = step.make_update(
        graphdef,
        optimizer,
        corruption_config=config.corruption,
        objective_config=config.objective,
        noise_key=streams.noise,
    )
    return _Setup(
        config=config,
        images=images,
        graphdef=graphdef,
        workdir=workdir,
        plan=plan,
        schedule=schedule,
        advance=step.make_advance(
            update, batch_size=config.training.batch_size, shardings=shardings
        ),
        feed=feed.make_feed(images.images, order_key=streams.order, plan=plan, shardings=shardings),
        blank=jax.device_put(step.init_state(model, optimizer), shardings.replicated),
    )


def _fit(setup: _Setup, checkpoints: Checkpoints, *, shown: bool) -> TrainState:
    """Run the loop from the newest checkpoint, or from the start, to the end."""
    state, saved = setup.blank, {"pending": [], "elapsed_s": 0.0}
    if checkpoints.newest_step is not None:
        restored = checkpoints.restore(setup.blank)
        state, saved = restored.state, restored.run
    first = int(state.step)
    if first == setup.plan.num_steps:
        _log.info("training is finished already")
        return state
    journal = Journal(setup.workdir.metrics, resume_step=first)
    _forget_caches(setup.workdir)
    log = _make_log(setup, journal, first_step=first, saved=saved)
    every_s = setup.config.training.save_every_s
    saver = hooks.Saver(checkpoints, log, every_s=every_s, show=_examples(setup, journal))
    bar = hooks.ProgressBar(setup.plan, log, step=first, shown=shown)
    try:
        with hooks.StopSignal(saver) as stop:
            state = loop.run(
                state,
                advance=setup.advance,
                feed=setup.feed,
                plan=setup.plan,
                hooks=[log, saver, bar, stop],
            )
        saver.save(setup.plan.num_steps, state)
    finally:
        # Once more: meanwhile somebody may have surfed from a checkpoint on the way.
        _forget_caches(setup.workdir)
        bar.close()
        journal.close()
    return state


def _make_log(
    setup: _Setup, journal: Journal, *, first_step: int, saved: dict[str, Any]
) -> LossLog:
    return LossLog(
        journal,
        first_step=first_step,
        steps_per_epoch=setup.plan.steps_per_epoch,
        last_step=setup.plan.num_steps,
        every=setup.config.training.log_every,
        schedule=setup.schedule,
        **saved,
    )


def _examples(setup: _Setup, journal: Journal) -> Callable[[int, TrainState], None]:
    """Return what shows originals above their reconstructions, evenly chosen."""
    chosen = np.linspace(0, len(setup.images) - 1, NUM_EXAMPLES).round().astype(int)
    originals = setup.images.images[chosen]

    def show(at: int, state: TrainState) -> None:
        outputs = reconstruction.reconstruct(trained.with_weights(setup.graphdef, state), originals)
        rows = {"original": originals, "reconstruction": outputs}
        journal.show(at, media.strip(rows, num_shown=NUM_EXAMPLES), name="reconstructions")

    return show


def _forget_caches(workdir: WorkDir) -> None:
    """Remove what was made with older weights: training is what makes it stale."""
    for path in (workdir.latents, workdir.graph):
        path.unlink(missing_ok=True)
