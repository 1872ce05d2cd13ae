"""A trained run: opened from its working directory, surfed and evaluated in memory.

Its codes and its graph are kept beside it in the working directory, bound to checkpoint and data.
"""

import contextlib
import functools
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError
from jaxsurf.evaluation import reconstruction
from jaxsurf.frames import lengths
from jaxsurf.frames.animate import Animation
from jaxsurf.frames.decode import Frames
from jaxsurf.images import pixels, principal, sources
from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.pixels import Images
from jaxsurf.manifold import encode, graph, neighbors
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph import Distance, GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph, load_graph, save_graph
from jaxsurf.manifold.path import Codes, Speed, Timing
from jaxsurf.models.autoencoder import Autoencoder, inference_batch
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.training.checkpoint import Checkpoints
from jaxsurf.workdir import WorkDir, fingerprint, read_cache, read_json, write_arrays

if TYPE_CHECKING:
    from jaxsurf.pipeline.evaluate import Evaluation

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
        settings = fingerprint(configuration.decisive_text(self.config, but=("data.",)))
        return f"checkpoint {self.step}, data {self.images.fingerprint}, settings {settings}"

    def surf(
        self,
        source: Stop,
        target: Stop,
        *,
        frames: int | None = None,
        speed: Speed | None = None,
        method: str = "surfing",
        **settings: Any,  # noqa: ANN401
    ) -> Animation:
        """Return the animation from one image to another, in memory; `save` writes it.

        An end is a stop as `pipeline.surf` describes it, or a latent code. `frames` are
        equally far apart as images, or in latent space with `speed="latent"`; None is 3 on each
        edge of the path. Other settings are `graph` and `frame_ms`, as `SurfConfig` explains them.
        """
        from jaxsurf.pipeline import surf  # which builds on this module, as evaluate does

        ends = {"source": _as_text(source), "target": _as_text(target)}
        timing = Timing(frames=frames, speed=speed)
        config = surf.SurfConfig(**ends, methods=(method,), timing=timing, **settings)
        return surf.make(self, config).animations[method]

    def evaluate(
        self,
        num_pairs: int = 100,
        *,
        frames: int | None = None,
        speed: Speed | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> "Evaluation":
        """Return the scores of methods on many pairs, in memory.

        `frames` and `speed` are as in `surf`; other settings are those of `EvaluateConfig`, which
        explains them: `methods`, `graph`, `seed`, `truth`, `spread` and `perceptual`.
        """
        from jaxsurf.pipeline import evaluate

        if "methods" in settings:
            settings["methods"] = tuple(settings["methods"])
        timing = Timing(frames=frames, speed=speed)
        config = evaluate.EvaluateConfig(num_pairs=num_pairs, timing=timing, **settings)
        return evaluate.measure(self, config)


def _as_text(stop: Stop) -> str:
    if isinstance(stop, Path):
        return str(Path.cwd() / stop)  # so that a name of digits is no number
    if isinstance(stop, str | int | np.integer):
        return str(stop)
    return f"code:{','.join(repr(float(value)) for value in np.ravel(stop))}"


def open_run(
    workdir: Path | str, *, checkpoint: str = "last", data: Path | str | None = None
) -> Run:
    """Return the run of a working directory.

    Args:
        workdir: the folder that it was trained in.
        checkpoint: `last`, `best` (the lowest loss of those that were kept), or a step.
        data: where the images are now, if they were moved after training.
    """
    place = WorkDir(Path(workdir))
    config, begun = read_config(place)
    if data is not None:
        config = replace(config, data=configuration.moved(config.data, data))
    if checkpoint not in ("last", "best") and not checkpoint.isdecimal():
        cure = "give last, best, or a folder of checkpoints/"
        raise UserError(f"--checkpoint is {checkpoint!r}", cure=cure)
    where = config.data.path or config.data.source
    # Path.exists() raises where a folder above may not be read.
    there = os.path.exists(sources.split(where)[0])  # noqa: PTH110
    gone = Path(where).is_absolute() and not there
    if data is None and gone:
        raise UserError(
            f"the images of {place.root} are not in {where} any more",
            cure="say where they are now: --data=PATH",
        )
    images = configuration.open_data(config.data)
    if images.fingerprint != begun:
        raise other_images(images, begun, place)
    setup = make_setup(config, images, abstract=True)
    with contextlib.closing(Checkpoints(place.checkpoints, of=setup.identity)) as checkpoints:
        step = int(checkpoint) if checkpoint.isdecimal() else None
        if checkpoint == "best" and (step := checkpoints.best_step) is None:
            raise UserError(
                "no checkpoint is the best: none was saved after a loss without target codes "
                "was written down",
                cure="leave out --checkpoint",
            )
        state, _ = checkpoints.restore(setup.state, step=step)
    return Run(
        workdir=WorkDir(place.root, step),
        config=config,
        images=images,
        model=setup.with_weights(state),
        step=int(state.step),
    )


def read_config(workdir: WorkDir) -> tuple[RunConfig, str]:
    """Return the configuration of a run, and the fingerprint of its images."""
    if not workdir.begun:
        raise UserError(
            f"{workdir.root} is not the working directory of a run: it has no config.json",
            cure="train there first: python launch/train.py --config=configs/arm.py --workdir=...",
        )
    saved = read_json(workdir.config, cure=PUT_BACK)
    try:
        config, begun = configuration.from_dict(saved["config"]), str(saved["data"]["fingerprint"])
        for section, settings in configuration.to_dict(config).items():
            for name in settings:
                if name not in saved["config"].get(section, {}):
                    raise UserError(f"no {section}.{name} in it: another version wrote it")
        return config, begun
    except (KeyError, TypeError, AttributeError, UserError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{workdir.config} does not describe a run ({reason})", cure=PUT_BACK
        ) from error


def other_images(images: ImageSet, begun: str, workdir: WorkDir) -> UserError:
    """Return the error of images other than those that began the run."""
    return UserError(
        f"the images of {images.name} have changed: {workdir.root} was trained on data "
        f"{begun}, but they are {images.fingerprint} now",
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


def connect(run: Run, latents: Latents, config: GraphConfig | None = None) -> LatentGraph:
    """Return a graph over a run's codes, by default its own, which is kept in `graph.npz`."""
    config = config or run.config.graph
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
    weight: str, model: Autoencoder, codes: Codes, images: Images, further: Frames | None = None
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
