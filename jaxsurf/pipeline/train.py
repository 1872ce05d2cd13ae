"""Training: images and settings in, a trained model in a working directory out.

`train` reads from top to bottom: open the images, refuse what may not go on, make the model and the
compiled step, restore, loop, save.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import media
from jaxsurf.images import files, pixels
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.run import PUT_BACK, Run, other_images, read_config
from jaxsurf.pipeline.setup import CompiledRun, TrainSetup, compile_run, make_setup
from jaxsurf.training import distributed, loop
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.distributed import Cluster
from jaxsurf.training.log import Saved, read_metrics
from jaxsurf.training.objective import ObjectiveConfig
from jaxsurf.training.step import TARGET, TrainState
from jaxsurf.workdir import WorkDir, lock, versions, write_arrays, write_json

NUM_EXAMPLES = 8  # whose reconstructions TensorBoard shows
# A model that explains less of the variance of the images than this has learnt next to nothing.
LEAST_SHARE = 0.1

_log = logging.getLogger(__name__)


class Collapsed(UserError):  # noqa: N818  (it says what happened)
    """The trained model has learnt next to nothing."""


def train(
    config: RunConfig | Mapping[str, object] | ImageSet,
    workdir: Path | str,
    settings: Mapping[str, object] | None = None,
    *,
    extend: bool = False,
    shown: bool = True,
    cluster: Cluster | None = None,
    profile: int = 0,
) -> Run:
    """Train a model, or go on where an earlier call with the same arguments stopped.

    Args:
        config: the settings of a run, as `RunConfig` or by dotted name, such as
            `{"data.source": "pictures/", "data.side": 64}`; or images, whose pixels and factors
            are copied into the working directory, so that the run can be opened again.
        workdir: the folder of the run; all processes need to see the same.
        settings: beside images: what differs from the defaults, by dotted name, such as
            `{"training.num_epochs": 50}`.
        extend: allow more epochs than the earlier call was planned for.
        shown: draw a progress bar.
        cluster: where the other processes of the run are; None where there are none.
        profile: write a trace of so many steps into the working directory.

    Raises:
        UserError: a setting or the images are not good, the folder can't be written or is that of
            another run, training diverges, or processes differ.
        Collapsed: training ended, and was saved, but the model is no better than the mean image.
        Interrupted: a signal asked to stop; the state is saved.
    """
    if isinstance(config, ImageSet):
        config = _keep_images(config, WorkDir(Path(workdir)), settings or {}, extend=extend)
    elif settings is not None:
        raise UserError("settings were given twice", cure="give one of config and settings")
    if isinstance(config, Mapping):
        config = configuration.from_dotted(config)
    with distributed.joined(cluster):
        named = configuration.flat(configuration.to_dict(config))
        named.pop("data.path")  # files may lie in different places
        distributed.check_agreement({f"config.{n}": v for n, v in named.items()} | versions())
        # Before images are opened, which may take long.
        check_begun(WorkDir(Path(workdir)).check_writable(), config, None, extend=extend)
        images = configuration.open_data(config.data)
        distributed.check_agreement({"the fingerprint of the images": images.fingerprint})
        run = train_on(images, config, workdir, extend=extend, shown=shown, profile=profile)
        check_learnt(run.model, images, config.objective)
    return run


def _keep_images(
    images: ImageSet, workdir: WorkDir, settings: Mapping[str, object], *, extend: bool
) -> RunConfig:
    """Write images and factors into the working directory, unless it is that of another run."""
    if own := [name for name in settings if name.startswith("data.")]:
        raise UserError(
            f"{own[0]} means nothing where images are given",
            cure="give it to open_images, or to train without images",
        )
    file = workdir.check_writable().root.absolute() / "images.npz"
    named = {**settings, "data.source": "file", "data.path": str(file)}
    config = configuration.from_dotted(named)
    images = dataclasses.replace(images, recipe="")  # which the file does not hold
    check_begun(workdir, config, images, extend=extend)
    if not file.exists():
        write_arrays(file, **files.to_arrays(images))
        return config
    kept = files.open_path(file)
    if (kept.fingerprint, kept.look) != (images.fingerprint, images.look):
        raise UserError(
            f"{file} holds other images or factors, or shows other channels",
            cure="train in another folder",
        )
    return config


def train_on(
    images: ImageSet,
    config: RunConfig,
    root: Path | str,
    *,
    extend: bool = False,
    shown: bool = True,
    profile: int = 0,
) -> Run:
    """Train as `train` does, on images opened already; a collapsed model is not refused."""
    workdir = WorkDir(Path(root)).check_writable()
    config = dataclasses.replace(config, data=configuration.resolved(config.data))
    # What is wrong with images of a new run leaves no folder behind.
    check_varied(images)
    setup = make_setup(config, images)
    compiled = compile_run(setup)
    with lock(workdir.root) if distributed.writes() else contextlib.nullcontext():
        check_begun(workdir, config, images, extend=extend)
        if distributed.writes():
            write_config(workdir, config, images)
        names = ("keep_last", "keep_best", "keep_every")
        keep = {name: getattr(config.training, name) for name in names}
        checkpoints = Checkpoints(workdir.checkpoints, of=setup.identity, **keep)
        with contextlib.closing(checkpoints):
            state = _fit(setup, compiled, workdir, checkpoints, shown=shown, profile=profile)
    model = setup.with_weights(distributed.own(state))
    return Run(workdir=workdir, config=config, images=images, model=model, step=int(state.step))


def _fit(
    setup: TrainSetup,
    compiled: CompiledRun,
    workdir: WorkDir,
    checkpoints: Checkpoints,
    *,
    shown: bool,
    profile: int,
) -> TrainState:
    state, saved = restore_newest(checkpoints, compiled.state)
    first, writes = int(state.step), distributed.writes()
    distributed.check_agreement({"the step of the newest checkpoint": first})
    if first == setup.plan.num_steps:
        _log.info("training is finished already")
        return state
    # A run that is extended after its steps by target codes does not go back to these.
    kept = [line for line in read_metrics(workdir.metrics) if line["step"] <= first]
    plain = bool(kept) and TARGET not in kept[-1]
    feed = compiled.make_feed(setup.plan.num_steps if plain else first)
    log = setup.make_log(workdir.metrics, resume_step=first, saved=saved)
    originals, look = setup.images.images, setup.images.look
    originals = originals[np.linspace(0, len(originals) - 1, NUM_EXAMPLES).round().astype(int)]

    def show(at: int, state: TrainState) -> None:
        model = setup.with_weights(distributed.own(state))
        outputs = reconstruction.reconstruct(model, originals)
        rows = {"original": look.rgb(originals), "reconstruction": look.rgb(outputs)}
        log.show(at, media.strip(rows, num_shown=NUM_EXAMPLES), name="reconstructions")

    def forget_caches() -> None:
        for name in ("latents", "graph") if writes else ():
            workdir.forget(name)

    forget_caches()  # training is what makes them stale
    with contextlib.ExitStack() as stack:
        stack.callback(log.close)
        stack.callback(forget_caches)  # somebody may have surfed from a checkpoint meanwhile
        return loop.run(
            state,
            first_step=first,
            bound_step=compiled.bound_step,
            feed=feed,
            plan=setup.plan,
            log=log,
            checkpoints=checkpoints,
            save_every_s=setup.config.training.save_every_s,
            show=show if writes else None,
            profile=(workdir.profile, profile) if profile and writes else None,
            shown=shown and writes,
        )


def restore_newest(checkpoints: Checkpoints, state: TrainState) -> tuple[TrainState, Saved | None]:
    """Return the newest checkpoint's state and what was saved of the log; else the given state."""
    if not checkpoints.steps:
        return state, None
    for leaf in jax.tree.leaves(state):
        leaf.delete()  # the restored one takes its place; shapes and shardings can still be asked
    return checkpoints.restore(state)


def check_begun(
    workdir: WorkDir, config: RunConfig, images: ImageSet | None, *, extend: bool | None
) -> None:
    """Refuse to go on with anything that changes the result of a run that was begun.

    Data are judged by their images, if these are opened already: a folder that was moved is the
    same data. More epochs are allowed by `extend`, which is None where nobody could ask for it.
    """
    if not workdir.begun:
        if any(workdir.checkpoints.glob("*")):
            cause = f"{workdir.root} holds checkpoints, but no config.json that says of what"
            raise UserError(cause, cure=PUT_BACK)
        return
    begun, fingerprint = read_config(workdir)
    before, after = configuration.decisive(begun), configuration.decisive(config)
    if extend and config.training.num_epochs > begun.training.num_epochs:
        before["training.num_epochs"] = config.training.num_epochs
    changed: dict[str, tuple[Any, Any]] = {
        name: (before.get(name), after.get(name))
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
        and (name == "data.show" or not name.startswith("data."))  # what is shown is not judged
    }
    if not changed and images and images.fingerprint != fingerprint:
        before, now = vars(begun.data), vars(config.data)
        changed = {f"data.{n}": (before[n], now[n]) for n in before if before[n] != now[n]}
        if not changed:
            raise other_images(images, fingerprint, workdir)
    if changed:
        name, (before, now) = next(iter(changed.items()))
        more = f" (and {len(changed) - 1} more differ)" if len(changed) > 1 else ""
        cure = "use that value again, or a new --workdir"
        if name == "training.num_epochs" and now > before and extend is not None:
            cure += "; for more epochs add --extend"
        cause = f"{workdir.root} was begun with {name} = {before!r}, not {now!r}{more}"
        raise UserError(cause, cure=cure)


def check_varied(images: ImageSet) -> None:
    """Refuse images with nothing to interpolate between: a single one, or equal ones."""
    if not any((image != images.images[0]).any() for image in images.images):
        number = f"{len(images)} image{'s that are all equal' * (len(images) > 1)}"
        raise UserError(f"{images.name} holds {number}", cure="give at least two that differ")


def write_config(workdir: WorkDir, config: RunConfig, images: ImageSet) -> None:
    """Write the configuration down, and forget what another one made."""
    if workdir.begun and read_config(workdir)[0].graph != config.graph:
        workdir.forget("graph")
    shape = list(images.images.shape)
    data = {"name": images.name, "fingerprint": images.fingerprint, "shape": shape}
    content = {"config": configuration.to_dict(config), "data": data, "versions": versions()}
    write_json(workdir.config, content)


def check_learnt(model: Autoencoder, images: ImageSet, objective: ObjectiveConfig) -> None:
    """Raise `Collapsed` if a model has learnt next to nothing.

    It is judged by its error, beside that of answering with the mean image. Features can be matched
    in other colours: a model trained on them is judged by how much its outputs differ from one
    another, beside how much the images do.
    """
    shown = reconstruction.sample(images.images)
    baseline = pixels.variance(shown)
    if objective.perceptual:
        varied = pixels.variance(reconstruction.reconstruct(model, shown))
        _log.info("variance of reconstructions %.3g, of the images %.3g", varied, baseline)
        fault = f"its outputs vary by {varied:.2e}, the images by {baseline:.2e}"
        learnt = varied > LEAST_SHARE * baseline
    else:
        error = float(reconstruction.mse(model, shown).mean())
        _log.info("reconstruction mse %.3g, of the mean image %.3g", error, baseline)
        fault = f"its error {error:.2e} is no better than the mean image's {baseline:.2e}"
        learnt = error < (1 - LEAST_SHARE) * baseline
    if not learnt:
        raise Collapsed(
            f"the model collapsed: {fault}",
            cure="try a lower learning rate, another seed or model, or more epochs",
        )
