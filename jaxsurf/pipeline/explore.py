"""A run, or codes of any model, explored in a browser: what `viewing.explorer` is given of them.

A stop is a text, as in `surf`, but for files: what a browser sends is never taken for a path. A
picture of the user's is kept in `uploads/` of the working directory, under a name made here, and
`upload:NAME` is the stop that it becomes.
"""

import csv
import functools
import io
import re
import shlex
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.frames import decode, media
from jaxsurf.images import pixels, sources, storage
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold import latent_graph, neighbors, tour
from jaxsurf.manifold.graph import KINDS, WEIGHTS, GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.path import PATHS, Timing, piece_lengths, timed
from jaxsurf.pipeline import path_inputs, paths, surf
from jaxsurf.pipeline.path_inputs import PathsConfig
from jaxsurf.pipeline.run import Run, connect, encode_all, open_run
from jaxsurf.pipeline.surf import Opened, SurfConfig, Surfed
from jaxsurf.viewing.explorer.subject import (
    Code,
    Figures,
    Film,
    Numbers,
    Picture,
    Pictures,
    Reel,
    Subject,
    Values,
    Wish,
)
from jaxsurf.viewing.explorer.subject import Stop as Located
from jaxsurf.workdir import fingerprint, replacing

UPLOAD = "upload:"
LARGEST_PICTURE = 64 * 10**6  # pixels
# What a picture of the user's may be, and the ending it is kept under.
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
# Neighbours whose distance tells how densely codes lie.
DENSITY_NEIGHBORS = 10
NUM_PAIRS = 12
_UPLOADED = re.compile(r"[A-Za-z0-9_]{1,60}\.(png|jpg|webp|bmp|tif)")


class _Explored(Subject):
    """What a run and codes alone have in common: codes, graphs, and where stops lie."""

    def __init__(self, index: neighbors.Index, graph: GraphConfig, root: Path) -> None:
        self.index, self.graph, self.root = index, graph, root
        self._graphs: dict[GraphConfig, LatentGraph] = {}
        self._lock = threading.Lock()

    def _build(self, config: GraphConfig) -> LatentGraph:
        raise NotImplementedError

    def connected(self, config: GraphConfig) -> LatentGraph:
        """Return a graph, built once however many ask for it."""
        with self._lock:
            if config not in self._graphs:
                self._graphs[config] = self._build(config)
            return self._graphs[config]

    def edges(self, graph: GraphConfig) -> Int[np.ndarray, "edge 2"]:
        """Return the edges of a graph."""
        return self.connected(graph).edges()[0]

    def kept(self) -> list[str]:
        """Return the folders of paths that were written, the newest first."""
        written = (self.root / "surf").glob("*/path.json")
        folders = [path.parent for path in written if not path.parent.name.startswith(".")]
        folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        return [folder.name for folder in folders]

    def density(self, numbers: Numbers) -> Float[np.ndarray, "point"]:
        """Return, as a logarithm, how densely codes lie around each."""
        k = min(DENSITY_NEIGHBORS, len(self.index.codes) - 1)
        away = self.index.nearest(k=k).distances[:, -1]
        least = away[away > 0].min(initial=np.inf)
        size = self.index.codes.shape[1]
        return -size * np.log10(np.maximum(away, least if np.isfinite(least) else 1.0))[numbers]


class ExploredRun(_Explored):
    """A trained run, as the explorer sees it."""

    decodes = True

    def __init__(self, run: Run) -> None:
        self.run, self.latents = run, encode_all(run)
        super().__init__(self.latents.index, run.config.graph, run.workdir.root)
        images, size = run.images, run.config.model.latent_dim
        height, width = images.images.shape[1:3]
        self.title = f"{images.name}, {size} latent dimensions"
        self.about = f"{len(images):,} images of {width} x {height} pixels; {run.workdir.root}"
        self.kinds, self.weights = tuple(KINDS), tuple(WEIGHTS)
        colours: dict[str, Callable[[Numbers], Values]] = {}
        for column, name in enumerate(images.factor_names):
            if np.ptp(images.factors[:, column]):  # pyright: ignore[reportOptionalSubscript]
                colours[name.replace("_", " ")] = functools.partial(self._factor, column)
        colours["density (log)"] = self.density
        colours["reconstruction error"] = self._reconstruction_error
        self.colours = colours
        self.pairs = _worst_pairs(run.workdir.evaluation.with_suffix(".csv"))
        self.connected(run.config.graph)

    def _build(self, config: GraphConfig) -> LatentGraph:
        return connect(self.run, self.latents, config)

    def _factor(self, column: int, numbers: Numbers) -> Values:
        images = self.run.images
        values = images.factors[numbers, column]  # pyright: ignore[reportOptionalSubscript]
        labels = images.labels.get(images.factor_names[column])
        return [labels[int(value)] for value in values] if labels else values.astype(np.float64)

    @functools.cached_property
    def _errors(self) -> dict[int, float]:
        return {}

    def _reconstruction_error(self, numbers: Numbers) -> Values:
        lacking = [number for number in numbers.tolist() if number not in self._errors]
        if lacking:
            images = storage.take(self.run.images.images, np.array(lacking))
            found = reconstruction.mse(self.run.model, images) * pixels.PEAK**2
            self._errors.update(zip(lacking, found.tolist(), strict=True))
        return np.array([self._errors[number] for number in numbers.tolist()])

    def warm_up(self, frames: Sequence[int]) -> None:
        """Compile what paths of so many frames and a free code need."""
        first = ",".join(repr(float(value)) for value in self.index.codes[:2].mean(axis=0))
        stops = ("0", str(len(self.index.codes) - 1))
        for stop, number in ((stops, n) for n in sorted(frames, key=lambda n: n != 32)):
            wish = Wish(stops=stop, frames=number, graph=self.graph)
            surf.make(self.run, self._config(wish), self._opened(wish), wrapped=False)
        wish = Wish(stops=(f"code:{first}", stops[1]), frames=2, graph=self.graph)
        surf.make(self.run, self._config(wish), self._opened(wish), wrapped=False)

    def look(self, number: int) -> tuple[dict[str, Picture], list[str]]:
        """Return an image, its reconstruction, and what is known about it."""
        images = self.run.images
        both = np.stack([images.images[number], self._decoded(self.index.codes[number])])
        image, reconstructed = images.look.rgb(both)
        lines = [f"image {number}"]
        if images.files:
            lines.append(images.files[number])
        for column, name in enumerate(images.factor_names):
            if np.ptp(images.factors[:, column]):  # pyright: ignore[reportOptionalSubscript]
                value = self._factor(column, np.array([number]))[0]
                shown = value if isinstance(value, str) else f"{value:g}"
                lines.append(f"{name.replace('_', ' ')} {shown}")
        return {"image": image, "reconstruction": reconstructed}, lines

    def pictures(self, numbers: Numbers) -> Pictures:
        """Return images as they are shown."""
        return self.run.images.look.rgb(storage.take(self.run.images.images, numbers))

    def _decoded(self, code: Code) -> UInt8[np.ndarray, "height width _"]:
        return decode.decode_points(self.run.model, code[None])[0]

    def decode(self, code: Code) -> Picture:
        """Return what a code is decoded to."""
        return self.run.images.look.rgb(self._decoded(code)[None])[0]

    def _stop(self, text: str) -> str:
        """Return a stop as `surf` takes it; only names that were made here become paths."""
        if text.startswith(UPLOAD):
            name = text.removeprefix(UPLOAD)
            path = self.root / "uploads" / name
            if not _UPLOADED.fullmatch(name) or not path.is_file():
                raise UserError(f"{text!r} is no picture that was uploaded")
            return str(path.absolute())
        if text.startswith("code:") or re.fullmatch(r"[+-]?[0-9]+", text):
            return text
        found = self.run.images.numbers(text)
        if len(found) != 1:
            raise UserError(
                f"{len(found) or 'no'} images are meant by {text!r}",
                cure="give the number of an image, or click one",
            )
        return str(int(found[0]))

    def locate(self, stops: Sequence[str]) -> list[Located]:
        """Return the names and the codes of stops."""
        opened = [surf.open_stop(self.run, self._stop(stop)) for stop in stops]
        codes = [self.index.codes[s.number or 0] if s.code is None else s.code for s in opened]
        return [(stop.label, code) for stop, code in zip(opened, codes, strict=True)]

    def _config(self, wish: Wish) -> SurfConfig:
        stops = tuple(self._stop(stop) for stop in wish.stops)
        two = len(stops) == 2 and not wish.loop and wish.order == "given"
        return SurfConfig(
            source=stops[0] if two else "",
            target=stops[1] if two else "",
            anchors=() if two else stops,
            loop=wish.loop,
            order=wish.order,
            timing=Timing(frames=wish.frames),
            graph=None if wish.graph == self.graph else wish.graph,
        )

    def _opened(self, wish: Wish) -> Opened:
        return Opened(self.latents, self.connected(wish.graph))

    @functools.lru_cache(maxsize=8)  # noqa: B019  (one run is explored as long as it lives)
    def _made(self, wish: Wish) -> Surfed:
        return surf.make(self.run, self._config(wish), self._opened(wish), wrapped=False)

    def film(self, wish: Wish) -> Film:
        """Return what `surf` makes of the same stops."""
        made, look = self._made(wish), self.run.images.look
        reels = []
        for method, each in made.animations.items():
            near = made.nearest[method]
            figures = {name: value for name, value in each.metrics.items() if value is not None}
            if each.path is not None:
                figures["path_length"] = each.path.length
            reels.append(
                Reel(
                    method=method,
                    frames=look.rgb(each.frames),
                    points=None if each.path is None else each.path.points,
                    nearest=near.indices,
                    errors=near.mse,
                    steps=_steps(each.frames),
                    figures=figures,
                )
            )
        nodes = made.visit.nodes[list(made.visit.places)]
        stops = [(stop.label, made.codes[n]) for stop, n in zip(made.stops, nodes, strict=True)]
        return Film(
            reels=reels,
            stops=stops,
            note=_describe(made.visit, made.graph, made.description["bridges"], len(wish.stops)),
            command=_command("surf", self._flags(wish)),
            error_name="interpolation mse",
            frame_ms=media.FRAME_MS,
        )

    def _flags(self, wish: Wish) -> dict[str, Any]:
        config = self._config(wish)
        flags: dict[str, Any] = {"workdir": self.root, "source": config.source}
        flags |= {"target": config.target, "anchors": _anchors(config.anchors)}
        flags |= {"loop": config.loop, "order": "best" if config.order == "best" else ""}
        return flags | {"frames": wish.frames} | _graph_flags(wish.graph, self.graph)

    def further(self, wish: Wish) -> dict[str, Figures]:
        """Return how much the model changes each animation, and the report's own figure."""
        images, found = self.run.images.images, {}
        for method, each in self._made(wish).animations.items():
            changed = metrics.consistency(self.run.model, each.frames).mean()
            found[method] = {"consistency": float(changed)}
            if len(images) <= reconstruction.SAMPLE:
                wrapped = metrics.interpolation_mse_wrapped(each.frames, images).mean()
                found[method]["interpolation_mse_wrapped"] = float(wrapped)
        return found

    def take(self, data: bytes, name: str) -> str:
        """Keep a picture of the user's, and return its stop."""
        ending = _check_picture(data)
        stem = re.sub(r"[^A-Za-z0-9]+", "_", Path(name).stem)[: surf.LONGEST_STEM].strip("_")
        path = self.root / "uploads" / f"{stem or 'image'}_{fingerprint(data.hex())}{ending}"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(data)
        try:
            surf.open_stop(self.run, str(path.absolute()))
        except UserError:
            path.unlink()
            raise
        return f"{UPLOAD}{path.name}"

    def keep(self, wish: Wish) -> str:
        """Write the files of `surf`."""
        return str(surf.surf(self.run, self._config(wish), self._opened(wish)).folder)


class ExploredCodes(_Explored):
    """Codes of any model, with their images and labels where they are given."""

    def __init__(
        self, latents: str, root: Path, images: ImageSet | None, labels: Mapping[str, Values]
    ) -> None:
        inputs = path_inputs.open_inputs(PathsConfig(latents=latents, anchors=("0", "1")))
        super().__init__(neighbors.Index(inputs.codes), tour.GRAPH, root)
        number, size = inputs.codes.shape
        self.latents, self.images, self.labels = latents, images, labels
        given = {"images": len(images)} if images else {}
        for name, many in (given | {n: len(values) for n, values in labels.items()}).items():
            if many != number:
                raise UserError(
                    f"{name}: {many} rows, but {inputs.name} has {number} codes",
                    cure="give one row a code, in the same order",
                )
        self.title = f"{inputs.name}, {size} dimensions"
        self.about = f"{number:,} codes{f'; images: {images.name}' if images else ''}"
        self.kinds = tuple(name for name, kind in KINDS.items() if not kind.of_images)
        self.weights = tuple(name for name, weight in WEIGHTS.items() if not weight.needs)
        shown = {name: functools.partial(_chosen, values) for name, values in labels.items()}
        self.colours = {**shown, "density (log)": self.density}
        self.connected(self.graph)

    def _build(self, config: GraphConfig) -> LatentGraph:
        return graphs.build(self.index, config)

    def look(self, number: int) -> tuple[dict[str, Picture], list[str]]:
        """Return the image of a code, if it has one, and its labels."""
        pictures = self.pictures(np.array([number]))
        shown = {} if pictures is None else {"image": pictures[0]}
        labels = [f"{name} {_chosen(values, [number])[0]}" for name, values in self.labels.items()]
        return shown, [f"row {number}", *labels]

    def pictures(self, numbers: Numbers) -> Pictures | None:
        """Return images as they are shown, if there are any."""
        if self.images is None:
            return None
        return self.images.look.rgb(storage.take(self.images.images, numbers))

    def locate(self, stops: Sequence[str]) -> list[Located]:
        """Return the names and the codes of stops."""
        number, size = self.index.codes.shape
        found = []
        for stop in stops:
            numbers = re.fullmatch(r"[0-9]+", stop)
            if numbers and int(stop) < number:
                found.append((stop, self.index.codes[int(stop)]))
                continue
            try:
                code = np.array([float(part) for part in stop.removeprefix("code:").split(",")])
            except ValueError:
                code = np.empty(0)
            if numbers or len(code) != size or not np.isfinite(code).all():
                raise UserError(
                    f"{stop!r} is no row and no code",
                    cure=f"give rows from 0 to {number - 1}, or code: and {size} numbers",
                )
            found.append((stop, code))
        return found

    def film(self, wish: Wish) -> Film:
        """Return the straight path and the one through the graph, shown by the nearest images."""
        given, built = self.locate(wish.stops), self.connected(wish.graph)
        anchors = [int(name) if name.isdecimal() else code for name, code in given]
        graph, codes, nodes = tour.with_anchors(built, self.index, anchors)
        latent_graph.check_joined(graph, nodes, names=[name for name, _ in given])
        visit = tour.through(graph, nodes, loop=wish.loop, order=wish.order, codes=codes)
        corners, timing = codes[visit.nodes], Timing(frames=wish.frames, speed="latent")
        reels = []
        for method, make in PATHS.items():
            points = timed([make(corners, visit.places)], timing)[0].points
            near = self.index.nearest_to(points, k=1)
            numbers, away = near.indices[:, 0], near.distances[:, 0]
            figures = {"path_length": float(piece_lengths(points).sum())}
            figures |= {"farthest_from_codes": float(away.max()), "mean": float(away.mean())}
            reels.append(
                Reel(
                    method=method,
                    frames=self.pictures(numbers),
                    points=points,
                    nearest=numbers,
                    errors=away,
                    steps=piece_lengths(points),
                    figures=figures,
                )
            )
        places = visit.nodes[list(visit.places)]
        names = [given[place][0] for place in visit.order]
        bridges = graph.bridges_along(visit.nodes).tolist()
        return Film(
            reels=reels,
            stops=list(zip(names, codes[places], strict=True)),
            note=_describe(visit, graph, bridges, len(given)),
            command=_command("paths", self._flags(wish)),
            error_name="distance to a code",
            frame_ms=media.FRAME_MS,
        )

    def _flags(self, wish: Wish) -> dict[str, Any]:
        flags: dict[str, Any] = {"latents": self.latents, "anchors": ",".join(wish.stops)}
        flags |= {"loop": wish.loop, "order": "best" if wish.order == "best" else ""}
        flags |= {"frames": wish.frames} | _graph_flags(wish.graph, self.graph)
        return flags | {"out": self._folder(wish)}

    def _folder(self, wish: Wish) -> Path:
        named = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", stop) for stop in wish.stops)
        named = named if len(named) <= 60 else f"{named[:40]}_{fingerprint(named)[:8]}"
        return self.root / "surf" / f"{named}{'' if wish.graph == self.graph else '-other'}"

    def keep(self, wish: Wish) -> str:
        """Write the files of `paths`."""
        self.locate(wish.stops)  # which refuses whatever is a file
        config = PathsConfig(
            latents=self.latents,
            anchors=tuple(part for stop in wish.stops for part in stop.split(",")),
            loop=wish.loop,
            order=wish.order,
            graph=wish.graph,
            frames=wish.frames,
        )
        paths.run(config, self._folder(wish))
        return str(self._folder(wish))


def open_codes(latents: str, root: Path, *, images: str = "", labels: str = "") -> ExploredCodes:
    """Return codes from a file; images come from a folder or an array, labels from a table."""
    shown = sources.open_images(images) if images else None
    return ExploredCodes(latents, root, shown, _read_labels(Path(labels)) if labels else {})


def _read_labels(path: Path) -> dict[str, Values]:
    """Return the columns of a table with a head: numbers where all are, else texts."""
    try:
        lines = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error})", cure="give a table of text") from error
    head, *rows = [row for row in csv.reader(io.StringIO(lines)) if row] or [[]]
    if not rows or any(len(row) != len(head) for row in rows):
        raise UserError(f"{path} has no rows as wide as its head", cure="give a CSV file")
    columns: dict[str, Values] = {}
    for name, column in zip(head, zip(*rows, strict=True), strict=True):
        try:
            columns[name] = np.array([float(value) for value in column])
        except ValueError:
            columns[name] = list(column)
    return columns


def _chosen(values: Values, numbers: Sequence[int] | Numbers) -> Values:
    if isinstance(values, np.ndarray):
        return values[np.asarray(numbers)]
    return [values[int(number)] for number in numbers]


def _worst_pairs(path: Path) -> dict[str, str]:
    """Return pairs of an evaluation that `linear` does worst on, by what is said of them."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("method") == "linear"]
    try:
        errors = {(r["source"], r["target"]): float(r["interpolation_mse"]) for r in rows}
    except (KeyError, ValueError):
        return {}
    worst = sorted(errors, key=lambda pair: -errors[pair])[:NUM_PAIRS]
    return {f"{a}; {b}": f"{a} to {b}: linear {errors[a, b]:.1f}" for a, b in worst}


def _steps(frames: Shaped[np.ndarray, "frame height width _"]) -> Float[np.ndarray, "step"]:
    """Return how far frames are from the ones before, root mean square on [0, 1]."""
    flat = frames.reshape(len(frames), -1).astype(np.float32) / np.float32(pixels.PEAK)
    return np.sqrt(np.square(np.diff(flat, axis=0)).mean(axis=1, dtype=np.float64))


def _describe(visit: tour.Visit, graph: LatentGraph, bridges: Sequence[Any], number: int) -> str:
    parts = [f"{len(visit.nodes)} nodes; {graph.description}; edges weigh: {graph.weight}"]
    if bridges:
        parts.append(f"the path {tour.describe_gaps(bridges)}")
    if visit.proven is not None:
        parts.append(tour.describe_order(number, proven=visit.proven))
    return "; ".join(parts)


def _anchors(stops: Sequence[str]) -> str:
    return (";" if any("," in stop for stop in stops) else ",").join(stops)


def _graph_flags(graph: GraphConfig, usual: GraphConfig) -> dict[str, Any]:
    if graph == usual:
        return {}
    setting = KINDS[graph.kind].setting
    flags: dict[str, Any] = {"graph": graph.kind, "weight": graph.weight, "repair": graph.repair}
    return flags | ({setting: getattr(graph, setting)} if setting else {})


def _command(script: str, flags: Mapping[str, Any]) -> str:
    words = [f"--{n}" if v is True else f"--{n}={v}" for n, v in flags.items() if v]
    return shlex.join(["python", f"launch/{script}.py", *words])


def _check_picture(data: bytes) -> str:
    """Refuse what is no picture or too large unpacked; return the ending of its format."""
    large = UserError(
        f"the picture has more than {LARGEST_PICTURE // 10**6} megapixels", cure="make it smaller"
    )
    try:
        # Its size stands in the head: nothing is unpacked before it is known.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=list(FORMATS))
        if image.width * image.height > LARGEST_PICTURE:
            raise large
        image.load()
    except (UserError, Image.DecompressionBombError) as error:
        raise large from error
    except Exception as error:  # Pillow's are of many kinds
        cure = f"give a {', '.join(FORMATS)} file"
        raise UserError(f"this is no picture that can be read ({error})", cure=cure) from error
    return FORMATS[image.format or ""]


def explore(
    workdir: Path | str | None,
    *,
    checkpoint: str = "last",
    data: str | None = None,
    latents: str = "",
    images: str = "",
    labels: str = "",
    port: int = 0,
    opened: bool = False,
) -> None:
    """Serve the explorer of a run, or of codes, until it is interrupted."""
    if bool(workdir) == bool(latents) and not latents:
        raise UserError("there is nothing to explore", cure="give --workdir or --latents")
    if (images or labels) and not latents:
        raise UserError("--images and --labels belong to --latents", cure="leave them out")
    try:
        from jaxsurf.viewing.explorer import server
    except ImportError as error:
        cure = 'pip install "jaxsurf[explore]"'
        raise UserError("the explorer needs dash and plotly", cure=cure) from error
    if latents:
        name = re.sub(r"[^A-Za-z0-9]+", "_", Path(latents).stem).strip("_")
        root = Path(workdir or f"runs/{name or 'codes'}")
        subject = open_codes(latents, root, images=images, labels=labels)
    else:
        subject = ExploredRun(open_run(Path(str(workdir)), checkpoint=checkpoint, data=data))
    server.serve(subject, port=port, opened=opened)
