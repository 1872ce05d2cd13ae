"""One run: images and a configuration in, a trained model in a working directory out, and back.

`train` reads from top to bottom: open the images, refuse what may not go on, make the model and the
compiled step, restore, loop, save. `open_run` is the way back: a `TrainedRun` is what surfing and
evaluation start from, its codes and its graph kept beside it.
"""

import contextlib
import dataclasses
import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf.errors import UserError
from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import lengths, media
from jaxsurf.images import pixels
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import encode, graph
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.saved import load_graph, save_graph
from jaxsurf.manifold.edges.weighting import Distance, Given, Weight
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.models.autoencoder import Autoencoder, inference_batch
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.setup import CompiledRun, TrainSetup, compile_run, make_setup
from jaxsurf.training import distributed, loop
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.training.distributed import Cluster
from jaxsurf.training.log import Saved
from jaxsurf.training.objective import ObjectiveConfig
from jaxsurf.training.step import TrainState
from jaxsurf.workdir import WorkDir, fingerprint, lock, read_json, versions, write_json

LAST, BEST = "last", "best"
PUT_BACK = "put back what was written by training, or train in another --workdir"
KEEP = ("keep_last", "keep_best", "keep_every")
NUM_EXAMPLES = 8  # whose reconstructions TensorBoard shows
# A model that explains less of the variance of the images than this has learnt next to nothing.
LEAST_SHARE = 0.1

Images = UInt8[np.ndarray, "image height width 3"]

_log = logging.getLogger(__name__)


class Collapsed(UserError):  # noqa: N818  (it says what happened)
    """The trained model has learnt next to nothing."""


def train(
    config: RunConfig,
    root: Path | str,
    *,
    extend: bool = False,
    shown: bool = True,
    cluster: Cluster | None = None,
    profile: int = 0,
) -> "TrainedRun":
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
    with distributed.joined(cluster):
        settings = configuration.flat(configuration.to_dict(config))
        settings.pop("data.path")  # files may lie in different places
        distributed.check_agreement(
            {f"config.{name}": v for name, v in settings.items()} | versions()
        )
        # Before images are opened, which may take long.
        check_settings(WorkDir(Path(root)).check_writable(), config, extend=extend)
        images = configuration.open_data(config.data)
        distributed.check_agreement({"the fingerprint of the images": images.fingerprint})
        run = train_on(images, config, root, extend=extend, shown=shown, profile=profile)
        check_learnt(run.model, images, config.objective)
    return run


def train_on(
    images: ImageSet,
    config: RunConfig,
    root: Path | str,
    *,
    extend: bool = False,
    shown: bool = True,
    profile: int = 0,
) -> "TrainedRun":
    """Train as `train` does, on the images that `config.data` names; they are open already.

    A collapsed model is not refused.
    """
    workdir = WorkDir(Path(root)).check_writable()
    check_settings(workdir, config, extend=extend)
    check_images(workdir, config, images)
    # Nothing is written before all that may be wrong has been looked at.
    setup = make_setup(config, images)
    compiled = compile_run(setup)
    with lock(workdir.root) if distributed.writes() else contextlib.nullcontext():
        # Another run may have begun there meanwhile.
        check_settings(workdir, config, extend=extend)
        check_images(workdir, config, images)
        if distributed.writes():
            write_config(workdir, config, images)
        keep = {name: getattr(config.training, name) for name in KEEP}
        with contextlib.closing(
            Checkpoints(workdir.checkpoints, of=setup.identity, **keep)
        ) as checkpoints:
            state = _fit(setup, compiled, workdir, checkpoints, shown=shown, profile=profile)
    return TrainedRun(
        workdir=workdir,
        config=config,
        images=images,
        model=setup.with_weights(distributed.own(state)),
        step=int(state.step),
    )


def _fit(
    setup: TrainSetup,
    compiled: CompiledRun,
    workdir: WorkDir,
    checkpoints: Checkpoints,
    *,
    shown: bool,
    profile: int,
) -> TrainState:
    """Run the loop from the newest checkpoint, or from the start, to the end."""
    state, saved = restore_newest(checkpoints, compiled.state)
    first, writes = int(state.step), distributed.writes()
    distributed.check_agreement({"the step of the newest checkpoint": first})
    if first == setup.plan.num_steps:
        _log.info("training is finished already")
        return state
    originals = setup.images.images
    originals = originals[np.linspace(0, len(originals) - 1, NUM_EXAMPLES).round().astype(int)]

    def show(at: int, state: TrainState) -> None:
        model = setup.with_weights(distributed.own(state))
        rows = {
            "original": originals,
            "reconstruction": reconstruction.reconstruct(model, originals),
        }
        log.show(at, media.strip(rows, num_shown=NUM_EXAMPLES), name="reconstructions")

    def forget_caches() -> None:
        for path in workdir.caches if writes else ():
            path.unlink(missing_ok=True)

    feed = compiled.make_feed()
    log = setup.make_log(workdir.metrics, resume_step=first, saved=saved, writes=writes)
    traced = loop.Profile(workdir.profile, profile) if profile and writes else None
    forget_caches()  # training is what makes them stale
    try:
        return loop.run(
            state,
            first_step=first,
            step_fn=compiled.step_fn,
            feed=feed,
            plan=setup.plan,
            log=log,
            checkpoints=checkpoints,
            save_every_s=setup.config.training.save_every_s,
            show=show if writes else None,
            profile=traced,
            shown=shown and writes,
        )
    finally:
        forget_caches()  # meanwhile somebody may have surfed from a checkpoint on the way
        for used in filter(None, (traced, log)):
            used.close()


def restore_newest(checkpoints: Checkpoints, state: TrainState) -> tuple[TrainState, Saved | None]:
    """Return the newest checkpoint's state and what was saved of the log; else the given state."""
    if checkpoints.newest_step is None:
        return state, None
    distributed.free(state)  # whose place the restored one takes
    restored = checkpoints.restore(state)
    return restored.state, restored.run


# --- May a run go on? Only if nothing that its result depends on has changed. ---------------------


def check_settings(workdir: WorkDir, config: RunConfig, *, extend: bool | None) -> None:
    """Refuse settings other than those that began the run, those of its data apart.

    Args:
        workdir: where the run was begun, if it was.
        config: the settings to go on with.
        extend: allow more epochs; None where nobody could have asked for that.

    Raises:
        UserError: a setting differs, and the message names both values; or there are checkpoints
            but no settings.
    """
    if not workdir.begun:
        if workdir.checkpoints.is_dir() and any(workdir.checkpoints.iterdir()):
            raise UserError(
                f"{workdir.root} holds checkpoints, but no config.json that says of what",
                cure=PUT_BACK,
            )
        return
    begun, _ = read_config(workdir)
    changed = configuration.differences(begun, config)
    if extend and config.training.num_epochs > begun.training.num_epochs:
        del changed["training.num_epochs"]
    changed = {name: both for name, both in changed.items() if not name.startswith("data.")}
    if changed:
        raise _begun_otherwise(workdir, changed, extensible=extend is not None)


def check_images(workdir: WorkDir, config: RunConfig, images: ImageSet) -> None:
    """Refuse images with nothing to interpolate between, and others than those of the run begun.

    Data are judged by their images: a folder that was moved is the same data, and a file of the
    same name may hold others.

    Raises:
        UserError: images are all equal, or there is but one; or they differ from those that began
            the run, because another source was named or because its content changed.
    """
    if not any((image != images.images[0]).any() for image in images.images):
        raise UserError(
            f"{images.name} holds {len(images)} image{'s that are all equal' * (len(images) > 1)}",
            cure="give at least two that differ",
        )
    if not workdir.begun:
        return
    begun, saved = read_config(workdir)
    if images.fingerprint == saved["data"]["fingerprint"]:
        return
    before, now = vars(begun.data), vars(config.data)
    changed = {f"data.{n}": (before[n], now[n]) for n in before if before[n] != now[n]}
    raise _begun_otherwise(workdir, changed) if changed else _other_images(images, saved, workdir)


def _begun_otherwise(
    workdir: WorkDir, changed: dict[str, tuple[Any, Any]], *, extensible: bool = False
) -> UserError:
    """Return the error of settings that differ from those that began the run."""
    name, (before, now) = next(iter(changed.items()))
    more = f" (and {len(changed) - 1} more differ)" if len(changed) > 1 else ""
    cure = "use that value again, or a new --workdir"
    if name == "training.num_epochs" and now > before and extensible:
        cure += "; for more epochs add --extend"
    return UserError(
        f"{workdir.root} was begun with {name} = {before!r}, not {now!r}{more}", cure=cure
    )


def _other_images(images: ImageSet, saved: Mapping[str, Any], workdir: WorkDir) -> UserError:
    return UserError(
        f"the images of {images.name} have changed: {workdir.root} was trained on data "
        f"{saved['data']['fingerprint']}, but they are {images.fingerprint} now",
        cure="bring the old images back, or train in another --workdir",
    )


def check_learnt(model: Autoencoder, images: ImageSet, objective: ObjectiveConfig) -> None:
    """Refuse a model that has learnt next to nothing.

    A model that was trained to reproduce pixels is judged by its error, beside that of answering
    with the mean image. Features can be matched in other colours: a model trained on them as well
    is judged by how much its outputs differ from one another, beside how much the images do. Of
    very many images a sample is looked at.

    Raises:
        Collapsed: its error is hardly below the mean image's, or its outputs are nearly all equal.
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


# --- config.json ----------------------------------------------------------------------------------


def write_config(workdir: WorkDir, config: RunConfig, images: ImageSet) -> None:
    """Write the configuration down, and forget what another one made."""
    if workdir.begun and read_config(workdir)[0].graph != config.graph:
        for path in workdir.root.glob("graph*.npz"):
            path.unlink(missing_ok=True)
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


def read_config(workdir: WorkDir) -> tuple[RunConfig, dict[str, Any]]:
    """Return the configuration of a run, and all of `config.json`.

    Raises:
        UserError: there is no run there, its `config.json` is damaged, or another version of
            jaxsurf wrote it: what a run had is not today's default.
    """
    if not workdir.begun:
        raise UserError(
            f"{workdir.root} is not the working directory of a run: it has no config.json",
            cure="train there first: python launch/train.py --config=configs/arm.py --workdir=...",
        )
    saved = read_json(workdir.config, cure=PUT_BACK)
    try:
        config = configuration.from_dict(saved["config"])
        str(saved["data"]["fingerprint"])
        for section, values in configuration.to_dict(RunConfig()).items():
            for name in values:
                if name not in saved["config"].get(section, {}):
                    raise UserError(
                        f"no {section}.{name} in it: another version of jaxsurf wrote it"
                    )
    except (KeyError, TypeError, AttributeError, UserError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{workdir.config} does not describe a run ({reason})", cure=PUT_BACK
        ) from error
    return config, saved


# --- The way back: a trained run, its codes and its graph -----------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A trained model with the images and the configuration that it was trained with."""

    workdir: WorkDir
    config: RunConfig
    images: ImageSet
    model: Autoencoder
    step: int

    def __str__(self) -> str:
        return f"{self.workdir.root}: {self.config.model.name} model, step {self.step}"

    @property
    def stamp(self) -> str:
        """What caches made with this model and these images are bound to."""
        settings = json.dumps(configuration.decisive(self.config), sort_keys=True)
        return (
            f"checkpoint {self.step}, data {self.images.fingerprint}, "
            f"settings {fingerprint(settings)}"
        )


def open_run(root: Path | str, *, checkpoint: str = LAST) -> TrainedRun:
    """Return the run of a working directory.

    Args:
        root: the working directory.
        checkpoint: `last`, `best` (the lowest loss of those that were kept), or a step.

    Raises:
        UserError: nothing was trained there, there is no such checkpoint, or images or files have
            changed.
    """
    workdir = WorkDir(Path(root))
    config, saved = read_config(workdir)
    if checkpoint not in (LAST, BEST) and not checkpoint.isdecimal():
        raise UserError(
            f"--checkpoint is {checkpoint!r}",
            cure=f"give {LAST}, {BEST}, or a folder of checkpoints/",
        )
    images = configuration.open_data(config.data)
    if images.fingerprint != saved["data"]["fingerprint"]:
        raise _other_images(images, saved, workdir)
    setup = make_setup(config, images, abstract=True)
    with contextlib.closing(Checkpoints(workdir.checkpoints, of=setup.identity)) as checkpoints:
        step = checkpoints.best_step if checkpoint == BEST else None
        if checkpoint == BEST and step is None:
            raise UserError(
                "no checkpoint is the best: none was saved after a loss was written down",
                cure="leave out --checkpoint",
            )
        step = int(checkpoint) if checkpoint.isdecimal() else step
        restored = checkpoints.restore(setup.state, step=step)
    return TrainedRun(
        workdir=dataclasses.replace(workdir, step=step),
        config=config,
        images=images,
        model=setup.with_weights(restored.state),
        step=restored.step,
    )


def encode_all(run: TrainedRun) -> Latents:
    """Return the codes of all images; kept in `latents.npz`, or `latents-STEP.npz`.

    Raises:
        UserError: the cache is stale or damaged, or the model's codes are unusable.
    """
    if run.workdir.latents.exists():
        return encode.load_latents(run.workdir.latents, stamp=run.stamp)
    latents = encode.encode_images(
        run.model, run.images.images, batch_size=inference_batch(run.model)
    )
    encode.save_latents(run.workdir.latents, latents, stamp=run.stamp)
    return latents


def connect(run: TrainedRun, latents: Latents, config: GraphConfig) -> LatentGraph:
    """Return the graph over a run's codes; the run's own kind is kept in `graph.npz`.

    Raises:
        UserError: the cache is stale or damaged, or there is no such graph.
    """
    distance = make_distance(config.weight, run.model, latents.codes, run.images.images)
    if config != run.config.graph:
        return graph.build(latents.index, config, distance)
    stamp = f"{run.stamp}, {config}"
    if run.workdir.graph.exists():
        return load_graph(run.workdir.graph, stamp=stamp)
    built = graph.build(latents.index, config, distance)
    save_graph(run.workdir.graph, built, stamp=stamp)
    return built


def make_distance(
    weight: Weight | Given,
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    images: Images,
    further: Images | None = None,
) -> Distance:
    """Return the distance that edges weigh by (`jaxsurf.manifold.edges.weighting`).

    Args:
        weight: what edges weigh.
        model: its decoder is used where the weight is by that.
        codes: the latent codes of all nodes.
        images: the images of the set, where the weight is by these.
        further: the images of nodes from outside, whose numbers go on from the set's.
    """
    pieces = {"decoded": 1, "pullback": lengths.PIECES}.get(weight)
    if pieces:
        return functools.partial(lengths.of_edges, model, codes, pieces=pieces)
    if further is None:
        return functools.partial(pixels.rms, images)

    def between(pairs: Int[np.ndarray, "pair 2"]) -> Float[np.ndarray, "pair"]:
        numbers, places = np.unique(pairs, return_inverse=True)
        outside = numbers >= len(images)
        # Only those compared are put together: the whole set may not fit in memory twice.
        few = [images[numbers[~outside]], further[numbers[outside] - len(images)]]
        return pixels.rms(np.concatenate(few), places.reshape(pairs.shape))

    return between
