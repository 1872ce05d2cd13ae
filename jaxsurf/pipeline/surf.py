"""Two images in, their animations out: pixel, linear, surfing, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics
from jaxsurf.frames import animate, media
from jaxsurf.frames.animate import Animation, Route, Timing
from jaxsurf.images import picture
from jaxsurf.manifold import encode, graph, search
from jaxsurf.manifold.csr import LatentGraph
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.search import NodePath
from jaxsurf.pipeline import trained
from jaxsurf.pipeline.trained import TrainedRun
from jaxsurf.viewing import figures
from jaxsurf.viewing.figures import LatentPlot
from jaxsurf.workdir import write_json

# Neighbours that join an image from outside the set to the graph: as many as the report's k.
OUTSIDE_NEIGHBOURS = 4


@dataclass(frozen=True, kw_only=True)
class SurfConfig:
    """What to animate.

    Attributes:
        source: an image number, or the path of an image file outside the set.
        target: the same.
        methods: which interpolations.
        timing: how many frames.
        graph: another graph than the run's own.
        frame_ms: how long a frame is shown.
    """

    source: str
    target: str
    methods: tuple[str, ...] = animate.METHODS
    timing: Timing = field(default_factory=Timing)
    graph: GraphConfig | None = None
    frame_ms: float = media.FRAME_MS


@dataclass(frozen=True, kw_only=True)
class SurfResult:
    """What was written, and how good it is."""

    folder: Path
    description: dict[str, Any]

    def __str__(self) -> str:
        lines = [
            f"{self.folder}: {len(self.description['nodes'])} images on the way,"
            f" {self.description['graph']['description']}"
        ]
        for method, scores in self.description["methods"].items():
            lines.append(
                f"  {method:8} {scores['num_frames']} frames, interpolation_mse"
                f" {scores['interpolation_mse']:.2f}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class _End:
    """One end: how it is called, its image, and its number in the set if it has one."""

    label: str
    image: np.ndarray
    number: int | None


def surf(run: TrainedRun, config: SurfConfig) -> SurfResult:
    """Animate a pair and write everything about it into the working directory.

    Args:
        run: a trained run.
        config: which pair, and how.

    Returns:
        The folder, and what its `path.json` says.

    Raises:
        UserError: an end is out of range or unreadable, the ends are not connected, a method is
            not known, or the folder can't be written.
    """
    animate.check_methods(config.methods)
    ends = [_open_end(run, text) for text in (config.source, config.target)]
    latents = trained.encode_all(run)
    built = trained.connect(run, latents, config.graph or run.config.graph)
    joined, codes, numbers = _join(run, latents, built, ends)
    path = search.shortest_path(joined, *numbers)
    route = Route(codes=codes[path.nodes], images=np.stack([end.image for end in ends]))
    made = animate.animate(run.model, [route], methods=config.methods, timing=config.timing)[0]
    description = _describe(run, config, ends, joined, path, made)
    own = config.graph is None or config.graph == run.config.graph
    folder = run.workdir.surf(
        ends[0].label, ends[1].label, "" if own else _graph_label(config.graph)
    )
    _write(run, folder, config, made, description, _plot(run, joined, codes, path, made, ends))
    return SurfResult(folder=folder, description=description)


def _open_end(run: TrainedRun, text: str) -> _End:
    """Return the end that a number or a file name means."""
    if text.lstrip("-").isdigit():
        number = int(text)
        if not 0 <= number < len(run.images):
            raise UserError(
                f"image {number} is out of range", cure=f"choose 0 to {len(run.images) - 1}"
            )
        return _End(label=str(number), image=run.images.images[number], number=number)
    side = run.images.images.shape[1]
    image = picture.open_image(text, side=run.config.data.side or None)
    if image.shape != run.images.images.shape[1:]:
        raise UserError(
            f"{text} is {image.shape[0]} x {image.shape[1]}, but the model was trained on "
            f"{side} x {side}",
            cure="resize it, or train with --config.data.side to have images resized",
        )
    return _End(label=Path(text).stem, image=image, number=None)


def _join(
    run: TrainedRun, latents: Latents, built: LatentGraph, ends: Sequence[_End]
) -> tuple[LatentGraph, np.ndarray, list[int]]:
    """Return graph and codes with ends from outside added, and the node of each end."""
    outside = [end.image for end in ends if end.number is None]
    if not outside:
        return built, latents.codes, [end.number for end in ends if end.number is not None]
    images = np.concatenate([np.stack(outside), run.images.images[:1]])
    added = encode.encode_images(run.model, images, batch_size=len(images)).codes[:-1]
    neighbours = min(OUTSIDE_NEIGHBOURS, len(latents.codes))
    joined = graph.attach(built, latents.codes, added, k=neighbours)
    fresh = iter(range(len(latents.codes), joined.num_nodes))
    numbers = [next(fresh) if end.number is None else end.number for end in ends]
    return joined, np.concatenate([latents.codes, added]), numbers


def _graph_label(config: GraphConfig | None) -> str:
    """Return the part of a folder's name that tells graphs apart."""
    if config is None:
        return ""
    size = {"knn": f"{config.k}", "radius": f"{config.radius:g}"}.get(config.kind, "")
    return f"{config.kind}{size}"


def _describe(
    run: TrainedRun,
    config: SurfConfig,
    ends: Sequence[_End],
    joined: LatentGraph,
    path: NodePath,
    made: dict[str, Animation],
) -> dict[str, Any]:
    """Return the content of `path.json`."""
    methods = {}
    for method, animation in made.items():
        errors = metrics.interpolation_mse(animation.frames, run.images.images)
        wrapped = metrics.interpolation_mse_wrapped(animation.frames, run.images.images)
        methods[method] = animation.describe(frame_ms=config.frame_ms) | {
            "interpolation_mse": float(errors.mean()),
            "interpolation_mse_wrapped": float(wrapped.mean()),
            **{f"step_{k}": v for k, v in vars(metrics.smoothness(animation.frames)).items()},
        }
    return {
        "ends": [
            {"label": end.label, "image": end.number, "node": int(path.nodes[place])}
            for end, place in zip(ends, (0, -1), strict=True)
        ],
        "nodes": path.nodes.tolist(),
        "length": path.length,
        "edge_weights": joined.weights_along(path.nodes).tolist(),
        "graph": {
            "description": joined.description,
            "k": joined.k,
            "nodes": joined.num_nodes,
            "edges": joined.num_edges,
        },
        "methods": methods,
        "checkpoint": run.step,
        "data": {"name": run.images.name, "fingerprint": run.images.fingerprint},
        "versions": trained.versions(),
        "seed": run.config.training.seed,
    }


def _plot(
    run: TrainedRun,
    joined: LatentGraph,
    codes: np.ndarray,
    path: NodePath,
    made: dict[str, Animation],
    ends: Sequence[_End],
) -> LatentPlot:
    """Return the latent space with the graph and the paths on it."""
    name, factor = _varying_factor(run, len(codes))
    return LatentPlot(
        codes=codes,
        title=f"{run.images.name}: {ends[0].label} to {ends[1].label}, {joined.description}",
        edges=joined.edges()[0],
        factor=factor,
        factor_name=name,
        paths={m: a.path.points for m, a in made.items() if a.path is not None},
        ends={
            f"source {ends[0].label}": codes[path.nodes[0]],
            f"target {ends[1].label}": codes[path.nodes[-1]],
        },
    )


def _varying_factor(run: TrainedRun, num_codes: int) -> tuple[str, np.ndarray | None]:
    """Return name and values of the first factor that varies, if images have one each."""
    factors = run.images.factors
    if factors is None or len(factors) != num_codes:
        return "", None
    varying = np.flatnonzero(np.ptp(factors, axis=0))
    if not varying.size:
        return "", None
    return run.images.factor_names[varying[0]], factors[:, varying[0]].astype(np.float64)


def _write(
    run: TrainedRun,
    folder: Path,
    config: SurfConfig,
    made: dict[str, Animation],
    description: dict[str, Any],
    plot: LatentPlot,
) -> None:
    """Write animations, strip, plot and, last, `path.json`: it is there when all is."""
    del run
    for method, animation in made.items():
        media.write_gif(folder / f"{method}.gif", animation.frames, frame_ms=config.frame_ms)
    rows = {method: animation.frames for method, animation in made.items()}
    media.write_png(folder / "strip.png", media.strip(rows))
    figures.latent_figure(folder / "latent.png", plot)
    write_json(folder / "path.json", description)
