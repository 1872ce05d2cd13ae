"""Images in, a trained model in a working directory out."""

import contextlib
from pathlib import Path
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline.run import (
    assembly,
    collapse,
    configuration,
    fitting,
    program,
    resumption,
    trained,
)
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.pipeline.run.trained import TrainedRun
from jaxsurf.training import hosts, sharding
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.hosts import Cluster
from jaxsurf.training.profiling import Profile
from jaxsurf.workdir import WorkDir, lock, versions, write_json


def train(
    config: RunConfig,
    root: Path | str,
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
        hosts.check_agreement(_agreed(config) | versions())
        # Before images are opened, which may take long.
        resumption.check_settings(WorkDir(Path(root)).check_writable(), config, extend=extend)
        images = configuration.open_data(config.data)
        hosts.check_agreement({"the fingerprint of the images": images.fingerprint})
        run = train_on(images, config, root, extend=extend, shown=shown, profile=profile)
        collapse.check(run.model, images, config.objective)
    return run


def train_on(
    images: ImageSet,
    config: RunConfig,
    root: Path | str,
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
    workdir = WorkDir(Path(root)).check_writable()
    resumption.check_settings(workdir, config, extend=extend)
    check_images(images)
    resumption.check_images(workdir, config, images)
    # Nothing is written before all that may be wrong has been looked at.
    parts = assembly.assemble(config, images)
    made = program.alone(parts)
    with lock(workdir.root) if hosts.writes() else contextlib.nullcontext():
        # Another run may have begun there meanwhile.
        resumption.check_settings(workdir, config, extend=extend)
        resumption.check_images(workdir, config, images)
        if hosts.writes():
            write_config(workdir, config, images)
        with contextlib.closing(
            Checkpoints(workdir.checkpoints, of=parts.identity, keep=config.training.keep)
        ) as checkpoints:
            profiled = Profile(str(workdir.profile), profile if hosts.writes() else 0)
            state = fitting.fit(parts, made, workdir, checkpoints, profiled, shown=shown)
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
            "versions": versions(),
        },
    )
