"""A trained run: opened from its working directory, surfed and evaluated in memory.

Its codes and its graph are kept beside it in the working directory, bound to checkpoint and data.
"""

import contextlib
import functools
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int, Real, UInt8

from jaxsurf.errors import UserError
from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import lengths, media
from jaxsurf.frames.animate import METHODS, Animation
from jaxsurf.images import pixels, principal
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import encode, graph, neighbors
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph import Distance, GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph, load_graph, save_graph
from jaxsurf.manifold.path import Speed, Timing
from jaxsurf.models.autoencoder import Autoencoder, inference_batch
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.workdir import WorkDir, fingerprint, read_cache, read_json, write_arrays

if TYPE_CHECKING:
    from jaxsurf.pipeline.evaluate import Evaluation

LAST, BEST = "last", "best"
# Images whose neighbours are looked for exactly, which takes half a minute for so many, and along
# whose edges images are decoded, which takes minutes.
MOST_EXACT = 50_000
PUT_BACK = "put back what was written by training, or train in another --workdir"

_log = logging.getLogger(__name__)

Stop = int | str | Path | Real[np.ndarray, "latent"] | Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained model with the images and the configuration that it was trained with."""

    workdir: WorkDir
    config: RunConfig
    images: ImageSet
    model: Autoencoder
    step: int

    def __str__(self) -> str:
        return f"{self.workdir.root}: {self.config.model.name} model, step {self.step}"

    @functools.cached_property
    def stamp(self) -> str:
        """What caches made with this model and these images are bound to."""
        # Images are known by themselves, wherever they lie.
        decisive = configuration.decisive(self.config).items()
        named = {name: value for name, value in decisive if not name.startswith("data.")}
        settings = json.dumps(named, sort_keys=True)
        return (
            f"checkpoint {self.step}, data {self.images.fingerprint}, "
            f"settings {fingerprint(settings)}"
        )

    def surf(
        self,
        source: Stop,
        target: Stop,
        *,
        frames: int | None = None,
        speed: Speed | None = None,
        method: str = "surfing",
        graph: GraphConfig | None = None,
        frame_ms: float = media.FRAME_MS,
    ) -> Animation:
        """Return the animation from one image to another, in memory; `save` writes it.

        An end is a stop as `pipeline.surf` describes it, or a latent code. `frames` are
        equally far apart as images, or in latent space with `speed="latent"`; None is 3 on each
        edge of the path. `SurfConfig` explains the rest.
        """
        from jaxsurf.pipeline import surf  # which builds on this module, as evaluate does

        config = surf.SurfConfig(
            source=_as_text(source),
            target=_as_text(target),
            methods=(method,),
            timing=Timing(frames=frames, speed=speed),
            graph=graph,
            frame_ms=frame_ms,
        )
        return surf.make(self, config).animations[method]

    def evaluate(
        self,
        num_pairs: int = 100,
        *,
        methods: Sequence[str] = METHODS,
        frames: int | None = None,
        speed: Speed | None = None,
        graph: GraphConfig | None = None,
        seed: int = 0,
        truth: Literal["renders", "images", "none"] = "renders",
        spread: bool = True,
        perceptual: bool = False,
    ) -> "Evaluation":
        """Return the scores of methods on many pairs, in memory.

        `frames` and `speed` are as in `surf`; `EvaluateConfig` explains the rest.
        """
        from jaxsurf.pipeline import evaluate

        config = evaluate.EvaluateConfig(
            num_pairs=num_pairs,
            methods=tuple(methods),
            timing=Timing(frames=frames, speed=speed),
            graph=graph,
            seed=seed,
            truth=truth,
            spread=spread,
            perceptual=perceptual,
        )
        return evaluate.measure(self, config)


def _as_text(stop: Stop) -> str:
    if isinstance(stop, Path):
        return str(Path.cwd() / stop)  # so that a name of digits is no number
    if isinstance(stop, str | int | np.integer):
        return str(stop)
    return f"code:{','.join(repr(float(value)) for value in np.ravel(stop))}"


def open_run(workdir: Path | str, *, checkpoint: str = LAST, data: Path | str | None = None) -> Run:
    """Return the run of a working directory.

    Args:
        workdir: the folder that it was trained in.
        checkpoint: `last`, `best` (the lowest loss of those that were kept), or a step.
        data: where the images are now, if they were moved after training.
    """
    place = WorkDir(Path(workdir))
    config, saved = read_config(place)
    if data is not None:
        config = replace(config, data=configuration.moved(config.data, data))
    if checkpoint not in (LAST, BEST) and not checkpoint.isdecimal():
        raise UserError(
            f"--checkpoint is {checkpoint!r}",
            cure=f"give {LAST}, {BEST}, or a folder of checkpoints/",
        )
    where = config.data.path or config.data.source
    gone = Path(where).is_absolute() and not any(
        map(os.path.exists, (where, where.rpartition(":")[0]))
    )
    if data is None and gone:
        raise UserError(
            f"the images of {place.root} are not in {where} any more",
            cure="say where they are now: --data=PATH",
        )
    images = configuration.open_data(config.data)
    if images.fingerprint != saved["data"]["fingerprint"]:
        raise other_images(images, saved, place)
    setup = make_setup(config, images, abstract=True)
    with contextlib.closing(Checkpoints(place.checkpoints, of=setup.identity)) as checkpoints:
        step = checkpoints.best_step if checkpoint == BEST else None
        if checkpoint == BEST and step is None:
            raise UserError(
                "no checkpoint is the best: none was saved after a loss without target codes "
                "was written down",
                cure="leave out --checkpoint",
            )
        step = int(checkpoint) if checkpoint.isdecimal() else step
        state, _ = checkpoints.restore(setup.state, step=step)
    return Run(
        workdir=WorkDir(place.root, step),
        config=config,
        images=images,
        model=setup.with_weights(state),
        step=int(state.step),
    )


def read_config(workdir: WorkDir) -> tuple[RunConfig, dict[str, Any]]:
    """Return the configuration of a run, and all of `config.json`."""
    if not workdir.begun:
        raise UserError(
            f"{workdir.root} is not the working directory of a run: it has no config.json",
            cure="train there first: python launch/train.py --config=configs/arm.py --workdir=...",
        )
    saved = read_json(workdir.config, cure=PUT_BACK)
    try:
        config = configuration.from_dict(saved["config"])
        str(saved["data"]["fingerprint"])
        for setting in configuration.names():
            section, _, name = setting.partition(".")
            if name not in saved["config"].get(section, {}):
                raise UserError(f"no {setting} in it: another version of jaxsurf wrote it")
    except (KeyError, TypeError, AttributeError, UserError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{workdir.config} does not describe a run ({reason})", cure=PUT_BACK
        ) from error
    return config, saved


def other_images(images: ImageSet, saved: Mapping[str, Any], workdir: WorkDir) -> UserError:
    """Return the error of images other than those that began the run."""
    return UserError(
        f"the images of {images.name} have changed: {workdir.root} was trained on data "
        f"{saved['data']['fingerprint']}, but they are {images.fingerprint} now",
        cure="bring the old images back, or train in another --workdir",
    )


def encode_all(run: Run) -> Latents:
    """Return the codes of all images; kept in `latents.npz`, or `latents-STEP.npz`."""
    if run.workdir.latents.exists():
        return Latents(**read_cache(run.workdir.latents, stamp=run.stamp, names=["codes"]))
    batch_size = inference_batch(run.model)
    latents = encode.encode_images(run.model, run.images.model_input, batch_size=batch_size)
    write_arrays(run.workdir.latents, stamp=run.stamp, codes=latents.codes)
    return latents


def connect(run: Run, latents: Latents, config: GraphConfig) -> LatentGraph:
    """Return the graph over a run's codes; the run's own kind is kept in `graph.npz`."""
    own, images = config == run.config.graph, run.images.images
    stamp = f"{run.stamp}, {config}, edition {graph.EDITION}"
    if own and run.workdir.graph.exists():
        return load_graph(run.workdir.graph, stamp=stamp)
    many, exact = len(images) > MOST_EXACT, config.search == "exact"
    if graph.KINDS[config.kind].of_images and many and exact and not neighbors.has_faiss():
        bridged = not config.spanning_tree  # which leaves nothing to bridge
        config = replace(config, kind="knn", k=int(config.setting()), repair=bridged)
        _log.warning(
            "%d images are too many to look for neighbours among them without faiss: the graph is "
            'that of codes alone; pip install "jaxsurf[approximate]"',
            len(images),
        )
    if many and config.weight == GraphConfig.weight:
        config = replace(config, weight="image")
        _log.warning(
            "%d images are too many to decode along all edges: these weigh how far the images at "
            "their ends are apart (--weight=image; --weight=decoded decodes ends)",
            len(images),
        )

    def image_index() -> neighbors.Index:
        points, unexplained, deviation = principal.project(images)
        _log.info(
            "images are compared by %d principal components, which show all but %.2g of %.2g (RMS)",
            points.shape[1],
            unexplained,
            deviation,
        )
        return neighbors.Index(points) if exact and not many else neighbors.Approximate(points)

    distance = make_distance(config.weight, run.model, latents.codes, images)
    built = graph.build(latents.index, config, distance, image_index=image_index)
    if own:
        save_graph(run.workdir.graph, built, stamp=stamp)
    return built


def make_distance(
    weight: str,
    model: Autoencoder,
    codes: Float[np.ndarray, "node latent"],
    images: UInt8[np.ndarray, "image height width channel"],
    further: UInt8[np.ndarray, "more height width channel"] | None = None,
) -> Distance:
    """Return the distance that edges weigh by where it is not that of latent codes.

    Images of nodes from outside are `further` ones, whose numbers go on from the set's.
    """
    kind = graph.WEIGHTS[weight]
    if kind.piece:
        return lambda pairs: lengths.of_edges(
            model, codes, pairs, pieces=lengths.num_pieces(model, codes, pairs, kind.piece)
        )
    if kind.faults:
        near = make_distance("image", model, codes, images, further)
        usual = pixels.PEAK * math.sqrt(reconstruction.mean_mse(model, images))
        return lambda pairs: near(pairs) * lengths.fault_factors(model, codes, pairs, usual=usual)
    if further is None:
        return functools.partial(pixels.rms, images)

    def between(pairs: Int[np.ndarray, "pair 2"]) -> Float[np.ndarray, "pair"]:
        numbers, places = np.unique(pairs, return_inverse=True)
        outside = numbers >= len(images)
        # Only those compared are put together: the whole set may not fit in memory twice.
        few = [images[numbers[~outside]], further[numbers[outside] - len(images)]]
        return pixels.rms(np.concatenate(few), places.reshape(pairs.shape))

    return between
