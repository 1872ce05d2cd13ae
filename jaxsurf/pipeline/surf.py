"""Two or more images in, their animations out, one a method.

`make` finds the path and animates it in memory; `surf` also writes everything about it into the
working directory.

A stop is a text: digits are the number of an image; `code:0.1,-2` is a latent code; `angle=30` are
values of factors that one image has; any other text is an image file, of the set by its name there
or from outside, which is given as `./12` where its name would say something else. An image from
outside the set is encoded; its code, or the one that was given, joins the graph as a further node,
after those of the set.
"""

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxsurf.errors import UserError, check_choice, printable
from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.evaluation.metrics import Nearest
from jaxsurf.frames import animate, decode, media
from jaxsurf.frames.animate import Animation, Route
from jaxsurf.images import files, fitting
from jaxsurf.manifold import encode, latent_graph, tour
from jaxsurf.manifold.encode import Latents
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.path import Timing, piece_lengths
from jaxsurf.manifold.tour import Visit
from jaxsurf.pipeline.run import Run, connect, encode_all, make_distance
from jaxsurf.viewing import plots
from jaxsurf.viewing.plots import LatentPlot
from jaxsurf.workdir import fingerprint, replacing_folder, versions, write_json

_CODE = "code:"
ALSO = ("frames", "mp4")
LONGEST_STEM = 24  # longer names would fill the plot


@dataclass(frozen=True, kw_only=True)
class SurfConfig:
    """What to animate.

    Attributes:
        source: an image number, the name of a file of the set, factors that one image has
            (`angle=30,light=left`), the path of an image file outside the set, or a latent code
            such as `code:0.1,-2`.
        target: the same.
        anchors: instead of both, two or more of the same to pass, commas between; semicolons where
            one has commas itself.
        loop: whether the path goes back from the last anchor to the first.
        order: of the anchors: `given`, or `best`, the shortest that starts at the first of them.
        methods: which interpolations.
        timing: how many frames.
        graph: another graph than the run's own.
        frame_ms: how long a frame is shown, in milliseconds.
        also: what is written beside the GIFs: `frames` (each as a PNG, in a folder of the method's
            name), `mp4`, or both.
    """

    source: str = ""
    target: str = ""
    anchors: tuple[str, ...] = ()
    loop: bool = False
    order: tour.Order = "given"
    methods: tuple[str, ...] = animate.METHODS
    timing: Timing = field(default_factory=Timing)
    graph: GraphConfig | None = None
    frame_ms: float = media.FRAME_MS
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        animate.check_methods(self.methods)
        for each in self.also:
            check_choice("--also", each, ALSO)
        num_ends = bool(self.source) + bool(self.target)
        if num_ends != (0 if self.anchors else 2):
            raise UserError(
                "it is not clear what to animate", cure="give --source and --target, or --anchors"
            )
        if len(self.stops) < 2:
            raise UserError("one anchor makes no path", cure="give two or more: --anchors=3,17,256")

    @property
    def stops(self) -> tuple[str, ...]:
        """What to pass, source and target included."""
        return self.anchors or (self.source, self.target)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stop:
    """What a path passes: an image of the set, an image from outside, or a latent code."""

    label: str  # what a person calls it
    key: str  # its part of a folder's name; stops from outside that differ have different ones
    image: UInt8[np.ndarray, "height width channel"]  # of a code what it is decoded to
    number: int | None = None  # in the set
    file: str | None = None
    code: Float[np.ndarray, "latent"] | None = None  # of what is from outside


@dataclass(frozen=True, kw_only=True, eq=False)
class Surfed:
    """A path through the graph, its animations by method, and the content of `path.json`."""

    stops: Sequence[Stop]
    graph: LatentGraph
    codes: Float[np.ndarray, "node latent"]
    visit: Visit
    animations: Mapping[str, Animation]
    nearest: Mapping[str, Nearest]  # by method, the image nearest to each frame
    description: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __str__(self) -> str:
        place = f"{self.folder}: " if self.folder else ""
        graph = f"{self.graph.description}; edges weigh: {self.graph.weight}"
        lines = [f"{place}a path of {len(self.visit.nodes)} nodes, {graph}"]
        if bridges := self.description["bridges"]:
            lines.append(f"the path {tour.describe_gaps(bridges)}")
        if self.visit.proven is not None:
            number = len(self.stops) - self.description["loop"]
            lines.append(tour.describe_order(number, proven=self.visit.proven))
        for method, animation in self.animations.items():
            number, error = len(animation.frames), animation.metrics["interpolation_mse"]
            lines.append(f"{method:8} {number} frames, interpolation_mse {error:.2f}")
        return "\n  ".join(lines)


# The codes of a run, and a graph over them, that many paths are sought in.
Opened = tuple[Latents, LatentGraph]


def surf(run: Run, config: SurfConfig, opened: Opened | None = None) -> Surfed:
    """Animate a path and write everything about it into the working directory."""
    made = make(run, config, opened)
    asked = config.graph or run.config.graph
    # A hyphen parts the stops from one another and from the graph.
    label = "" if asked == run.config.graph else asked.label.replace("-", "_")
    folder = run.workdir.surf(*(stop.key for stop in made.stops), label=label)
    images, look = run.images, run.images.look
    frames = {name: look.rgb(animation.frames) for name, animation in made.animations.items()}
    plain = images.deep is None and images.images.shape[-1] - look.alpha in (1, 3)
    with replacing_folder(folder) as fresh:
        for method, animation in made.animations.items():
            animation.save(fresh / f"{method}.gif")
            if "frames" in config.also:
                media.write_frames(fresh / method, animation.shown)
            if "mp4" in config.also:
                film = fresh / f"{method}.mp4"
                media.write_film(film, frames[method], frame_ms=animation.frame_ms)
            if look.alpha:  # of which a GIF keeps whether it is above a half
                animation.save(fresh / f"{method}.png")
            if animation.path is not None and not plain:
                # What a picture can't hold: all channels, in the units of the source.
                decoded = decode.decode_points(run.model, animation.path.points, rounded=False)
                media.write_stack(fresh / f"{method}.tif", images.in_source_units(decoded))
        media.write_png(fresh / "strip.png", media.strip(frames))
        plots.save(plots.latent(_plot(run, made)), fresh / "latent.png")
        write_json(fresh / "path.json", made.description)
    return replace(made, folder=folder)


def make(
    run: Run, config: SurfConfig, opened: Opened | None = None, *, wrapped: bool = True
) -> Surfed:
    """Find a path, animate it and measure the animations; nothing but caches is written.

    What is `opened` needs not be read again. `wrapped` is whether the report's own figure, which
    takes the longest by far, is measured too.
    """
    given = [open_stop(run, text) for text in config.stops]
    graph, codes, visit = _find(run, config, given, opened)
    stops = [given[place] for place in visit.order]
    shown, images = np.stack([stop.image for stop in stops]), run.images.images
    route = Route(codes=codes[visit.nodes], images=shown, anchors=visit.places)
    (made,) = animate.animate(
        run.model, [route], methods=config.methods, timing=config.timing, look=run.images.look
    )
    nearest = {m: metrics.nearest_images(each.frames, images) for m, each in made.items()}
    animations = {}
    for method, each in made.items():
        theirs = None  # the report had no set as large
        if wrapped and len(images) <= reconstruction.SAMPLE:
            theirs = float(metrics.interpolation_mse_wrapped(each.frames, images).mean())
        figures = {
            "interpolation_mse": float(nearest[method].mse.mean()),
            "interpolation_mse_wrapped": theirs,
            **{f"step_{n}": value for n, value in metrics.smoothness(each.frames).items()},
        }
        animations[method] = replace(each, metrics=figures, frame_ms=config.frame_ms)
    made = Surfed(
        stops=stops, graph=graph, codes=codes, visit=visit, animations=animations, nearest=nearest
    )
    return replace(made, description=_describe(run, config, made))


def _find(
    run: Run, config: SurfConfig, given: Sequence[Stop], opened: Opened | None
) -> tuple[LatentGraph, Float[np.ndarray, "node latent"], Visit]:
    """Return the path past all stops, and the graph and codes that have those from outside too."""
    if opened is None:
        latents = encode_all(run)
        opened = latents, connect(run, latents, config.graph)
    latents, graph = opened
    codes, nodes = latents.codes, [stop.number or 0 for stop in given]
    outside = {tuple(stop.code): stop.image for stop in given if stop.code is not None}
    if outside:
        further, weight = np.stack(list(outside.values())), graph.weight
        graph, codes, nodes = tour.with_anchors(
            graph,
            latents.index,
            [(stop.number or 0) if stop.code is None else stop.code for stop in given],
            lambda codes: make_distance(weight, run.model, codes, run.images.images, further),
        )
    latent_graph.check_joined(graph, nodes, names=[stop.label for stop in given])
    visit = tour.through(graph, nodes, loop=config.loop, order=config.order, codes=codes)
    return graph, codes, visit


def _describe(run: Run, config: SurfConfig, made: Surfed) -> dict[str, Any]:
    graph, visit = made.graph, made.visit
    return {
        "ends": [
            {
                "label": stop.label,
                "image": stop.number,
                "file": stop.file,
                "code": None if stop.code is None or stop.file else stop.code.tolist(),
                "fingerprint": fingerprint(stop.image),
                "node": int(visit.nodes[place]),
                "place": place,
            }
            for stop, place in zip(made.stops, visit.places, strict=True)
        ],
        "loop": config.loop,
        "order": config.order,
        "order_proven": visit.proven,
        "nodes": visit.nodes.tolist(),
        "length": float(piece_lengths(made.codes[visit.nodes]).sum()),
        "edge_weights": graph.weights_along(visit.nodes).tolist(),
        "bridges": graph.bridges_along(visit.nodes).tolist(),
        "graph": graph.facts(),
        "search": visit.method,
        "methods": {
            method: animation.describe()
            | {
                "frame_errors": made.nearest[method].mse.tolist(),
                "frame_steps": metrics.steps(animation.frames).tolist(),
            }
            for method, animation in made.animations.items()
        },
        "checkpoint": run.step,
        "data": {"name": run.images.name, "fingerprint": run.images.fingerprint},
        "versions": versions(),
        "seed": run.config.training.seed,
        "timing": asdict(config.timing),
    }


def open_stop(run: Run, text: str) -> Stop:
    """Return what a text means: see above."""
    last, images = len(run.images.images) - 1, run.images.images
    if text.startswith(_CODE):
        code = _parse_code(text, size=run.config.model.latent_dim)
        image = decode.decode_points(run.model, code[None])[0]
        return Stop(label=text, key=f"code_{fingerprint(code)[:8]}", image=image, code=code)
    number = int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else None
    outside = os.path.exists(text)  # noqa: PTH110  (takes any text; Path.exists not too long ones)
    if number is None and not (outside and re.search(r"^[.]{0,2}/|=", text)):
        found = run.images.numbers(printable(text))
        if len(found) > 1:
            raise UserError(
                f"{len(found)} images are meant by {text!r}: {', '.join(map(str, found[:5]))}"
                + ", ..." * (len(found) > 5),
                cure="say more of it, or give a number",
            )
        number = int(found[0]) if len(found) else None
    if number is not None:
        if not 0 <= number <= last:
            raise UserError(f"image {number} is out of range", cure=f"choose 0 to {last}")
        return Stop(label=str(number), key=str(number), image=images[number], number=number)
    if not outside:
        raise UserError(
            f"{text!r} is neither an image number, a file of the set, nor a file that exists",
            cure=f"give a number from 0 to {last}, the path of an image file, or a latent code "
            f"such as {_CODE}0.1,-2",
        )
    file = Path(text)
    picture = files.open_image(file, like=run.images)
    given, image = np.stack([picture, run.images.model_input[0]]), fitting.eight_bits(picture)
    stem = re.sub(r"[^A-Za-z0-9]+", "_", file.stem)[:LONGEST_STEM].strip("_")
    key = f"{stem or 'image'}_{fingerprint(image)[:8]}"
    # Beside an image of the set, a single one can't be taken for a collapsed model.
    both = encode.encode_images(run.model, given, batch_size=2)
    return Stop(label=printable(file.stem), key=key, image=image, file=text, code=both.codes[0])


def _parse_code(text: str, *, size: int) -> Float[np.ndarray, "latent"]:
    with contextlib.suppress(ValueError):
        numbers = [float(part) for part in text.removeprefix(_CODE).split(",")]
        code = np.array(numbers).reshape(size)
        # Models take float32, in which larger numbers are infinite.
        if (np.abs(code) <= np.finfo(np.float32).max).all():
            return code.astype(np.float32)
    example = f"{_CODE}{','.join(['0.1'] * size)}"
    raise UserError(
        f"{text} is no latent code",
        cure=f"give {size} numbers, finite in float32, with commas between: {example}",
    )


def _plot(run: Run, made: Surfed) -> LatentPlot:
    """Return the codes of the set, coloured by a factor, with the graph and the paths on them."""
    keys = [stop.key for stop in made.stops]
    few = len(keys) <= 5  # more would not fit
    past = " to ".join(keys) if few else f"{keys[0]} to {keys[-1]} past {len(keys) - 2} others"
    labels = [f"source {keys[0]}", f"target {keys[-1]}"]
    if len(keys) > 2:
        labels = plots.numbered(keys)
    values, legend, factors = None, "", run.images.factors
    if factors is not None and np.ptp(factors, axis=0).any():
        first = int(np.argmax(np.ptp(factors, axis=0) > 0))  # of those that vary
        values = factors[:, first].astype(np.float64)
        legend = run.images.factor_names[first].replace("_", " ")
    nodes = made.visit.nodes[list(made.visit.places)]
    return LatentPlot(
        codes=made.codes[: len(run.images)],
        title=f"{run.images.name}: {past}\n{made.graph.description}",
        edges=made.graph.edges()[0],
        values=values,
        legend=legend,
        lines={
            method: animation.path.points
            for method, animation in made.animations.items()
            if animation.path is not None
        },
        stops=dict(zip(labels, made.codes[nodes], strict=True)),
    )
