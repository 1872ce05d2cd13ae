"""Two or more images in, their animations out: pixel, linear, surfing, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf import versions
from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, sampling
from jaxsurf.frames import animate, media
from jaxsurf.frames.animate import Animation, Route, Timing
from jaxsurf.manifold import search
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.manifold.path import piece_lengths
from jaxsurf.manifold.search import Visit
from jaxsurf.manifold.shortest_paths import visiting
from jaxsurf.pipeline import ends
from jaxsurf.pipeline.ends import End, Joined
from jaxsurf.pipeline.run import trained
from jaxsurf.pipeline.run.trained import TrainedRun
from jaxsurf.viewing import plots
from jaxsurf.viewing.plots import LatentPlot, Line
from jaxsurf.workdir import fingerprint
from jaxsurf.writing import replacing_folder, write_json


@dataclass(frozen=True, kw_only=True)
class SurfConfig:
    """What to animate.

    Attributes:
        source: an image number, the path of an image file outside the set, or a latent code such
            as `code:0.1,-2`.
        target: the same.
        anchors: instead of both, two or more of the same to pass.
        loop: whether the way goes back from the last anchor to the first.
        order: of the anchors: `given`, or `best`, the shortest that starts at the first of them.
        methods: which interpolations.
        timing: how many frames.
        graph: another graph than the run's own.
        frame_ms: how long a frame is shown.
    """

    source: str = ""
    target: str = ""
    anchors: tuple[str, ...] = ()
    loop: bool = False
    order: search.Order = "given"
    methods: tuple[str, ...] = animate.METHODS
    timing: Timing = field(default_factory=Timing)
    graph: GraphConfig | None = None
    frame_ms: float = media.FRAME_MS

    def __post_init__(self) -> None:
        animate.check_methods(self.methods)
        if not (self.anchors or (self.source and self.target)) or (
            self.anchors and (self.source or self.target)
        ):
            raise UserError(
                "nothing says what to animate"
                if not self.anchors
                else "there are two answers to what to animate: source and target, and anchors",
                cure="give --source and --target, or --anchors",
            )
        if len(self.stops) < 2:
            raise UserError("one anchor is no way", cure="give two or more: --anchors=3,17,256")

    @property
    def stops(self) -> tuple[str, ...]:
        """What to pass, source and target included."""
        return self.anchors or (self.source, self.target)


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
        if bridges := self.description["bridges"]:
            crossed = ", ".join(f"{tail} to {head}" for tail, head in bridges)
            lines.append(f"  the way crosses gaps in the graph, bridged from {crossed}")
        if (proven := self.description["order_proven"]) is not None:
            number = len(self.description["ends"]) - self.description["loop"]
            lines.append(f"  {visiting.told(number, proven=proven)}")
        for method, scores in self.description["methods"].items():
            lines.append(
                f"  {method:8} {scores['num_frames']} frames, interpolation_mse"
                f" {scores['interpolation_mse']:.2f}"
            )
        return "\n".join(lines)


def surf(run: TrainedRun, config: SurfConfig) -> SurfResult:
    """Animate a way and write everything about it into the working directory.

    Args:
        run: a trained run.
        config: past which stops, and how.

    Returns:
        The folder, and what its `path.json` says.

    Raises:
        UserError: an end is out of range or unreadable, the ends are not connected, a method is
            not known, or the folder can't be written.
    """
    given = [ends.open_end(run, text) for text in config.stops]
    latents = trained.encode_all(run)
    built = trained.connect(run, latents, config.graph or run.config.graph)
    joined = ends.join(run, latents, built, given)
    names = [end.label for end in given]
    connectivity.check_joined(joined.graph, joined.nodes, names=names)
    way = search.through(
        joined.graph, joined.nodes, loop=config.loop, order=config.order, codes=joined.codes
    )
    stops = [given[place] for place in way.order]
    route = Route(
        codes=joined.codes[way.nodes],
        images=np.stack([stop.image for stop in stops]),
        anchors=way.places,
    )
    made = animate.animate(run.model, [route], methods=config.methods, timing=config.timing)[0]
    description = _describe(run, config, stops, joined, way, made)
    asked = config.graph or run.config.graph
    label = "" if asked == run.config.graph else _graph_label(asked)
    folder = run.workdir.surf(*(stop.key for stop in stops), label=label)
    _write(folder, config, made, description, _plot(run, joined, way, made, stops))
    return SurfResult(folder=folder, description=description)


def _graph_label(config: GraphConfig) -> str:
    """Return the part of a folder's name that tells graphs apart."""
    size = f"{config.k or config.radius or ''}"
    added = ("_tree" if config.spanning_tree else "") + ("_repaired" if config.repair else "")
    weight = "" if config.weight == GraphConfig().weight else f"_{config.weight}"
    search = "" if config.search == GraphConfig().search else f"_{config.search}"
    # A hyphen parts the ends from one another and from the graph.
    return f"{config.kind}{size}{added}{search}{weight}".replace("-", "_")


def _describe(
    run: TrainedRun,
    config: SurfConfig,
    stops: Sequence[End],
    joined: Joined,
    way: Visit,
    made: dict[str, Animation],
) -> dict[str, Any]:
    """Return the content of `path.json`."""
    methods = {}
    for method, animation in made.items():
        errors = metrics.interpolation_mse(animation.frames, run.images.images)
        methods[method] = animation.describe(frame_ms=config.frame_ms) | {
            "interpolation_mse": float(errors.mean()),
            "interpolation_mse_wrapped": _wrapped(run, animation),
            **{f"step_{k}": v for k, v in vars(metrics.smoothness(animation.frames)).items()},
        }
    return {
        "ends": [
            {
                "label": stop.label,
                "image": stop.number,
                "file": stop.file,
                "code": None if stop.code is None else stop.code.tolist(),
                "fingerprint": fingerprint(stop.image),
                "node": int(way.nodes[place]),
                "place": place,
            }
            for stop, place in zip(stops, way.places, strict=True)
        ],
        "loop": config.loop,
        "order": config.order,
        "order_proven": way.proven,
        "nodes": way.nodes.tolist(),
        "length": float(piece_lengths(joined.codes[way.nodes]).sum()),
        "edge_weights": joined.graph.weights_along(way.nodes).tolist(),
        "bridges": joined.graph.bridges_along(way.nodes).tolist(),
        "graph": joined.graph.facts(),
        "search": way.method,
        "methods": methods,
        "checkpoint": run.step,
        "data": {"name": run.images.name, "fingerprint": run.images.fingerprint},
        "versions": versions.of(),
        "seed": run.config.training.seed,
    }


def _wrapped(run: TrainedRun, animation: Animation) -> float | None:
    """Return the report's own figure; of a very large set, which the report had none of, None."""
    if len(run.images) > sampling.MOST:
        return None
    frames, images = animation.frames, run.images.images
    return float(metrics.interpolation_mse_wrapped(frames, images).mean())


def _plot(
    run: TrainedRun,
    joined: Joined,
    way: Visit,
    made: dict[str, Animation],
    stops: Sequence[End],
) -> LatentPlot:
    """Return the latent space with the graph and the paths on it."""
    keys = [stop.key for stop in stops]
    few = len(keys) <= 5  # more would not fit
    past = " to ".join(keys) if few else f"{keys[0]} to {keys[-1]} past {len(keys) - 2} others"
    labels = plots.numbered(keys)
    if len(keys) == 2:
        labels = [f"source {keys[0]}", f"target {keys[1]}"]
    values, legend, factors = None, "", run.images.factors
    if factors is not None and len(factors) == len(joined.codes):
        for name, column in zip(run.images.factor_names, factors.T, strict=True):
            if values is None and np.ptp(column):  # the first that varies
                values, legend = column.astype(np.float64), name.replace("_", " ")
    nodes = [way.nodes[place] for place in way.places]
    return LatentPlot(
        codes=joined.codes,
        title=f"{run.images.name}: {past}\n{joined.graph.description}",
        edges=joined.graph.edges()[0],
        values=values,
        legend=legend,
        lines=[Line(name=m, points=a.path.points) for m, a in made.items() if a.path is not None],
        stops=dict(zip(labels, joined.codes[nodes], strict=True)),
    )


def _write(
    folder: Path,
    config: SurfConfig,
    made: dict[str, Animation],
    description: dict[str, Any],
    plot: LatentPlot,
) -> None:
    """Write animations, strip, plot and `path.json`: all of them or none."""
    rows = {method: animation.frames for method, animation in made.items()}
    with replacing_folder(folder) as fresh:
        for method, frames in rows.items():
            media.write_gif(fresh / f"{method}.gif", frames, frame_ms=config.frame_ms)
        media.write_png(fresh / "strip.png", media.strip(rows))
        plots.save(plots.latent(plot), fresh / "latent.png")
        write_json(fresh / "path.json", description)
