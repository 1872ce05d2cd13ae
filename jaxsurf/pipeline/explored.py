"""Codes of any model as the explorer sees them.

Without a model a path is a slide show of the images nearest to it, if there are images at all.
"""

import contextlib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxsurf.errors import UserError
from jaxsurf.images import sources, storage, tables
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold import latent_graph, neighbors, tour
from jaxsurf.manifold.graph import KINDS, WEIGHTS
from jaxsurf.manifold.path import PATHS, Timing, piece_lengths, timed
from jaxsurf.pipeline import path_inputs, paths
from jaxsurf.pipeline.path_inputs import PathsConfig
from jaxsurf.viewing.explorer import subject
from jaxsurf.workdir import WorkDir, fingerprint


class ExploredCodes(subject.Subject):
    """Codes of any model, with their images and labels where files of these are given."""

    script = "paths"
    error_name = "distance to a code"

    def __init__(self, latents: str, root: Path, *, images: str = "", labels: str = "") -> None:
        self.images = sources.open_images(images) if images else None
        self.labels = {}
        if labels:
            table = tables.read_table(Path(labels), "yes", named_index=False)
            for name, column in zip(table.names, table.columns, strict=True):
                self.labels[name] = np.array(column, object if isinstance(column, list) else None)
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
        named = (s if s.isdecimal() else f"code_{fingerprint(s)[:8]}" for s in wish.stops)
        return WorkDir(self.root).surf(*named, label="other" * (wish.graph != self.graph))

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
