"""Codes of any model as the explorer sees them, and what exploring a run shares with that.

Without a model a path is a slide show of the images nearest to it, if there are images at all.
"""

import contextlib
import csv
import functools
import re
import shlex
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.errors import UserError
from jaxsurf.frames import media
from jaxsurf.images import sources, storage
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold import latent_graph, neighbors, tour
from jaxsurf.manifold.graph import KINDS, WEIGHTS, GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.path import PATHS, Timing, piece_lengths, timed
from jaxsurf.pipeline import path_inputs, paths
from jaxsurf.pipeline.path_inputs import PathsConfig
from jaxsurf.viewing.explorer import subject
from jaxsurf.workdir import fingerprint

# Neighbours whose distance tells how densely codes lie.
DENSITY_NEIGHBORS = 10

Build = Callable[[GraphConfig], LatentGraph]


class Explored(subject.Subject):
    """What a run and codes alone have in common: codes, graphs, and what is said of a path."""

    labels: dict[str, np.ndarray]  # numbers or texts of all points, by name
    script: str  # of `launch/`, which makes the same path
    error_name: str  # what the errors of reels are

    def __init__(
        self, index: neighbors.Index, graph: GraphConfig, root: Path, build: Build
    ) -> None:
        self.index, self.graph, self.root, self._build = index, graph, root, build
        self._graphs: dict[GraphConfig, LatentGraph] = {}
        self._lock = threading.Lock()
        known = {name: functools.partial(self._label, name) for name in self.labels}
        self.colours = {**known, "density (log)": self.density}
        self.connected(graph)

    def _label(self, name: str, numbers: subject.Numbers) -> subject.Values:
        found = self.labels[name][numbers]
        return found.tolist() if found.dtype == object else found

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

    def density(self, numbers: subject.Numbers) -> Float[np.ndarray, "point"]:
        """Return, as a logarithm, how densely codes lie around each."""
        k = min(DENSITY_NEIGHBORS, len(self.index.codes) - 1)
        away = self.index.nearest(k=k).distances[:, -1]
        least = away[away > 0].min(initial=np.inf)
        size = self.index.codes.shape[1]
        return -size * np.log10(np.maximum(away, least if np.isfinite(least) else 1.0))[numbers]

    def described(
        self,
        wish: subject.Wish,
        reels: list[subject.Reel],
        visit: tour.Visit,
        graph: LatentGraph,
        stops: list[subject.Stop],
    ) -> subject.Film:
        """Return the film of a path through a graph."""
        number = f"{len(visit.nodes)} point{'s' * (len(visit.nodes) > 1)}"
        said = [f"surfing passes {number} of a {graph.description}, by weight {graph.weight}"]
        if len(bridges := graph.bridges_along(visit.nodes)):
            said.append(f"the path {tour.describe_gaps(bridges.tolist())}")
        if visit.proven is not None:
            said.append(tour.describe_order(len(wish.stops), proven=visit.proven))
        words = [f"--{n}" if v is True else f"--{n}={v}" for n, v in self._flags(wish).items() if v]
        return subject.Film(
            reels=reels,
            stops=stops,
            note="; ".join(said),
            command=shlex.join(["python", f"launch/{self.script}.py", *words]),
            error_name=self.error_name,
            frame_ms=media.FRAME_MS,
        )

    def _flags(self, wish: subject.Wish) -> dict[str, Any]:
        """Return the flags that all scripts have; those that are empty are left out."""
        order = "best" if wish.order == "best" else ""
        flags = {"loop": wish.loop, "order": order, "frames": wish.frames}
        if wish.graph != self.graph:
            graph = wish.graph
            flags |= {"graph": graph.kind, "weight": graph.weight, "repair": graph.repair}
            if setting := KINDS[graph.kind].setting:
                flags[setting] = getattr(graph, setting)
        return flags


class ExploredCodes(Explored):
    """Codes of any model, with their images and labels where files of these are given."""

    script = "paths"
    error_name = "distance to a code"

    def __init__(self, latents: str, root: Path, *, images: str = "", labels: str = "") -> None:
        self.images = sources.open_images(images) if images else None
        self.labels = _read_labels(Path(labels)) if labels else {}
        inputs = path_inputs.open_inputs(PathsConfig(latents=latents, anchors=("0", "1")))
        self.latents, (number, size) = latents, inputs.codes.shape
        given = {name: len(values) for name, values in self.labels.items()}
        if self.images is not None:
            given["images"] = len(self.images)
        for name, many in given.items():
            if many != number:
                raise UserError(
                    f"{name}: {many} rows, but {inputs.name} has {number} codes",
                    cure="give one row a code, in the same order",
                )
        self.title = f"{inputs.name}, {size} dimensions"
        shown = f"; images: {self.images.name}" if self.images else ""
        self.about = f"{number:,} codes{shown}"
        self.kinds = tuple(name for name, kind in KINDS.items() if not kind.of_images)
        self.weights = tuple(name for name, weight in WEIGHTS.items() if not weight.needs)
        index = neighbors.Index(inputs.codes)
        super().__init__(index, tour.GRAPH, root, functools.partial(graphs.build, index))

    def look(self, number: int) -> tuple[dict[str, subject.Picture], list[str]]:
        """Return the image of a code, if it has one, and its labels."""
        pictures = self.pictures(np.array([number]))
        shown = {} if pictures is None else {"image": pictures[0]}
        labels = [f"{name} {values[number]}" for name, values in self.labels.items()]
        return shown, [f"row {number}", *labels]

    def pictures(self, numbers: subject.Numbers) -> subject.Pictures | None:
        """Return images as they are shown, if there are any."""
        if self.images is None:
            return None
        return self.images.look.rgb(storage.take(self.images.images, numbers))

    def locate(self, stops: Sequence[str]) -> list[subject.Stop]:
        """Return the names and the codes of stops."""
        return [(stop, self._code(stop)) for stop in stops]

    def _code(self, stop: str) -> Float[np.ndarray, "latent"]:
        number, size = self.index.codes.shape
        with contextlib.suppress(IndexError, ValueError):
            if re.fullmatch(r"[0-9]+", stop):
                return self.index.codes[int(stop)]
            code = np.array([float(part) for part in stop.removeprefix("code:").split(",")])
            if np.isfinite(code.reshape(size)).all():
                return code
        raise UserError(
            f"{stop!r} is no row and no code",
            cure=f"give rows from 0 to {number - 1}, or code: and {size} numbers",
        )

    def film(self, wish: subject.Wish) -> subject.Film:
        """Return the straight path and the one through the graph, shown by the nearest images."""
        anchors = [
            int(stop) if stop.isdecimal() else code for stop, code in self.locate(wish.stops)
        ]
        graph, codes, nodes = tour.with_anchors(self.connected(wish.graph), self.index, anchors)
        latent_graph.check_joined(graph, nodes, names=wish.stops)
        visit = tour.through(graph, nodes, loop=wish.loop, order=wish.order, codes=codes)
        corners, timing = codes[visit.nodes], Timing(frames=wish.frames, speed="latent")
        reels = []
        for method, make in PATHS.items():
            (path,) = timed([make(corners, visit.places)], timing)
            near = self.index.nearest_to(path.points, k=1)
            away = near.distances[:, 0]
            reels.append(
                subject.Reel(
                    method=method,
                    frames=self.pictures(near.indices[:, 0]),
                    points=path.points,
                    nearest=near.indices[:, 0],
                    errors=away,
                    steps=piece_lengths(path.points),
                    figures={
                        "path_length": path.length,
                        "farthest_from_codes": float(away.max()),
                        "mean_from_codes": float(away.mean()),
                    },
                )
            )
        passed = codes[visit.nodes[list(visit.places)]]
        stops = [(wish.stops[n], code) for n, code in zip(visit.order, passed, strict=True)]
        return self.described(wish, reels, visit, graph, stops)

    def _flags(self, wish: subject.Wish) -> dict[str, Any]:
        own = {"latents": self.latents, "anchors": ",".join(wish.stops)}
        return own | super()._flags(wish) | {"out": self._folder(wish)}

    def _folder(self, wish: subject.Wish) -> Path:
        named = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", stop) for stop in wish.stops)
        named = named if len(named) <= 60 else f"{named[:40]}_{fingerprint(named)[:8]}"
        return self.root / "surf" / f"{named}{'' if wish.graph == self.graph else '-other'}"

    def keep(self, wish: subject.Wish, also: Sequence[str] = ()) -> str:
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


def _read_labels(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a table with a head: numbers where all are, else texts."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head, *rows = (row for row in csv.reader(file) if row)
        columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    except (OSError, ValueError) as error:
        cure = "give a CSV file with a head, all rows as wide"
        raise UserError(f"cannot read {path} ({error})", cure=cure) from error
    found = {name: np.array(column, object) for name, column in columns.items()}
    for name, column in found.items():
        with contextlib.suppress(ValueError):
            found[name] = column.astype(float)
    return found
