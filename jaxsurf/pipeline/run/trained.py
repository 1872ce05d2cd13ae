"""A trained run, opened from its working directory: what surfing and evaluation start from.

Its latents and its graph are kept beside it.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import encode, graph
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.saved import load_graph, save_graph
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.models.autoencoder import Autoencoder, inference_batch
from jaxsurf.pipeline.run import assembly, configuration
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.pipeline.run.distances import make_distance
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.workdir import WorkDir, fingerprint, read_json

LAST, BEST = "last", "best"
PUT_BACK = "put back what was written by training, or train in another --workdir"


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A model with the images and the configuration that it was trained with."""

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


def read_config(workdir: WorkDir) -> tuple[RunConfig, dict[str, Any]]:
    """Return the configuration of a run, and all of `config.json`.

    Raises:
        UserError: there is no run there, or its `config.json` is damaged.
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
        _check_complete(saved["config"])
    except (KeyError, TypeError, UserError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{workdir.config} does not describe a run ({reason})",
            cure=PUT_BACK,
        ) from error
    return config, saved


def _check_complete(saved: Mapping[str, Any]) -> None:
    """Refuse settings written before some were known: what the run had is not today's default."""
    for section, values in configuration.to_dict(RunConfig()).items():
        for name in values:
            if name not in saved.get(section, {}):
                raise UserError(f"no {section}.{name} in it: another version of jaxsurf wrote it")


def check_data(images: ImageSet, saved: dict[str, Any], workdir: WorkDir) -> None:
    """Refuse images that are not those that the run was trained with."""
    if images.fingerprint != saved["data"]["fingerprint"]:
        raise UserError(
            f"the images of {images.name} have changed: {workdir.root} was trained on data "
            f"{saved['data']['fingerprint']}, but they are {images.fingerprint} now",
            cure="bring the old images back, or train in another --workdir",
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
    images = configuration.open_data(config.data)
    check_data(images, saved, workdir)
    parts = assembly.assemble(config, images)
    with contextlib.closing(Checkpoints(workdir.checkpoints, of=parts.identity)) as checkpoints:
        step = _choose(checkpoints, checkpoint)
        restored = checkpoints.restore(parts.state, step=step)
    return TrainedRun(
        workdir=dataclasses.replace(workdir, step=step),
        config=config,
        images=images,
        model=assembly.with_weights(parts.graphdef, restored.state),
        step=restored.step,
    )


def _choose(checkpoints: Checkpoints, asked: str) -> int | None:
    """Return the step that was asked for; None for the last."""
    if asked == LAST:
        return None
    if asked == BEST:
        if checkpoints.best_step is None:
            raise UserError(
                "no checkpoint is the best: none was saved after a loss was written down",
                cure="leave out --checkpoint",
            )
        return checkpoints.best_step
    if not asked.isdecimal():
        raise UserError(
            f"--checkpoint is {asked!r}", cure=f"give {LAST}, {BEST}, or a folder of checkpoints/"
        )
    return int(asked)


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
