"""Codes of any model as the explorer sees them, and what exploring a run shares with that.

Without a model a path is a slide show of the images nearest to it, if there are images at all.
"""

import csv
import functools
import re
import shlex
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.errors import UserError
from jaxsurf.frames import media
from jaxsurf.images import sources, storage
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold import latent_graph, neighbors, tour
from jaxsurf.manifold.graph import KINDS, WEIGHTS, GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.path import PATHS, Timing, piece_lengths, timed
from jaxsurf.pipeline import path_inputs, paths
from jaxsurf.pipeline.path_inputs import PathsConfig
from jaxsurf.viewing.explorer.subject import (
    Film,
    Numbers,
    Picture,
    Pictures,
    Reel,
    Stop,
    Subject,
    Values,
    Wish,
)
from jaxsurf.workdir import fingerprint

# Neighbours whose distance tells how densely codes lie.
DENSITY_NEIGHBORS = 10


class Explored(Subject):
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


class ExploredCodes(Explored):
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

    def locate(self, stops: Sequence[str]) -> list[Stop]:
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
            figures |= {
                "farthest_from_codes": float(away.max()),
                "mean_from_codes": float(away.mean()),
            }
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
            note=describe(visit, graph, bridges, len(given)),
            command=command("paths", self._flags(wish)),
            error_name="distance to a code",
            frame_ms=media.FRAME_MS,
        )

    def _flags(self, wish: Wish) -> dict[str, Any]:
        flags: dict[str, Any] = {"latents": self.latents, "anchors": ",".join(wish.stops)}
        flags |= {"loop": wish.loop, "order": "best" if wish.order == "best" else ""}
        flags |= {"frames": wish.frames} | graph_flags(wish.graph, self.graph)
        return flags | {"out": self._folder(wish)}

    def _folder(self, wish: Wish) -> Path:
        named = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", stop) for stop in wish.stops)
        named = named if len(named) <= 60 else f"{named[:40]}_{fingerprint(named)[:8]}"
        return self.root / "surf" / f"{named}{'' if wish.graph == self.graph else '-other'}"

    def keep(self, wish: Wish, also: Sequence[str] = ()) -> str:
        """Write the files of `paths`."""
        del also  # of which it has none
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
        with path.open(encoding="utf-8-sig", newline="") as file:
            head, *rows = (row for row in csv.reader(file) if row)
        columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    except (OSError, ValueError) as error:
        cure = "give a CSV file with a head, all rows as wide"
        raise UserError(f"cannot read {path} ({error})", cure=cure) from error
    found: dict[str, Values] = {}
    for name, column in columns.items():
        try:
            found[name] = np.array([float(value) for value in column])
        except ValueError:
            found[name] = list(column)
    return found


def _chosen(values: Values, numbers: Sequence[int] | Numbers) -> Values:
    if isinstance(values, np.ndarray):
        return values[np.asarray(numbers)]
    return [values[int(number)] for number in numbers]


def describe(visit: tour.Visit, graph: LatentGraph, bridges: Sequence[Any], number: int) -> str:
    """Return one line on a path and its graph."""
    number_of = f"{len(visit.nodes)} point{'s' * (len(visit.nodes) > 1)}"
    parts = [f"surfing passes {number_of} of a {graph.description}, by weight {graph.weight}"]
    if bridges:
        parts.append(f"the path {tour.describe_gaps(bridges)}")
    if visit.proven is not None:
        parts.append(tour.describe_order(number, proven=visit.proven))
    return "; ".join(parts)


def graph_flags(graph: GraphConfig, usual: GraphConfig) -> dict[str, Any]:
    """Return the flags of a graph that is not the usual one."""
    if graph == usual:
        return {}
    setting = KINDS[graph.kind].setting
    flags: dict[str, Any] = {"graph": graph.kind, "weight": graph.weight, "repair": graph.repair}
    return flags | ({setting: getattr(graph, setting)} if setting else {})


def command(script: str, flags: Mapping[str, Any]) -> str:
    """Return a command line; flags that are empty are left out."""
    words = [f"--{n}" if v is True else f"--{n}={v}" for n, v in flags.items() if v]
    return shlex.join(["python", f"launch/{script}.py", *words])
