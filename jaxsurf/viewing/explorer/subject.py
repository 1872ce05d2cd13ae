"""What is explored: images or codes alone, and the paths through them.

The explorer knows no run. Whoever has one hands over a `Subject`, which answers a `Wish` with a
`Film`. Pictures are uint8, in red, green and blue. What comes in a wish may come from anywhere: a
subject checks it, and raises a `UserError` that the page shows.
"""

import functools
import shlex
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Real, UInt8

from jaxsurf.errors import UserError
from jaxsurf.manifold import neighbors, tour
from jaxsurf.manifold.graph import KINDS, GraphConfig
from jaxsurf.manifold.latent_graph import LatentGraph

Picture = UInt8[np.ndarray, "height width 3"]
Pictures = UInt8[np.ndarray, "frame height width 3"]
# A number for each point of some, or the name of each one's group.
Values = Real[np.ndarray, "_some"] | Sequence[str]
Figures = Mapping[str, float | None]
Numbers = Int[np.ndarray, "point"]
Code = Float[np.ndarray, "latent"]
Stop = tuple[str, Code]  # its name and its code
# Neighbours whose distance tells how densely codes lie.
DENSITY_NEIGHBORS = 10


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A path to be shown: stops as texts, how many frames, and through which graph."""

    stops: tuple[str, ...]
    frames: int
    graph: GraphConfig
    loop: bool = False
    order: tour.Order = "given"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reel:
    """One method's animation, frame by frame, with the image nearest to each frame."""

    method: str
    frames: Pictures | None  # None where there are no images at all
    points: Float[np.ndarray, "frame latent"] | None  # the codes, where frames have one
    nearest: Int[np.ndarray, "frame"]
    errors: Float[np.ndarray, "frame"]  # distances to the nearest
    steps: Float[np.ndarray, "step"]  # from each frame to the next
    figures: Figures  # of the whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """Animations of one path, and what is said about it."""

    reels: Sequence[Reel]  # one a method, all with the same number of frames
    stops: Sequence[Stop]  # in the order of the path
    note: str  # one line on the path and its graph
    command: str  # the command line that makes the same


class Subject(ABC):
    """What is explored; what it can't do, it need not know."""

    title: str
    about: str
    labels: dict[str, np.ndarray]  # numbers or texts of all points, by name
    script: str  # of `launch/`, which makes the same path
    error_name: str  # what the errors of reels are
    kinds: Sequence[str]  # of graphs that can be built
    weights: Sequence[str]  # what edges can weigh
    decodes: bool = False  # whether any code has an image
    judges: bool = False  # whether frames can be told to be off course
    pairs: Mapping[str, str] = MappingProxyType({})  # stops worth looking at, what is said of each
    pairs_are: str = ""  # what is said of all
    also: Sequence[str] = ()  # what `keep` can write beside the usual files

    def __init__(
        self,
        index: neighbors.Index,
        graph: GraphConfig,  # the usual one
        root: Path,
        build: Callable[[GraphConfig], LatentGraph],
    ) -> None:
        self.index, self.graph, self.root, self._build = index, graph, root, build
        self._graphs: dict[GraphConfig, LatentGraph] = {}
        self._lock = threading.Lock()
        known = {name: functools.partial(self._label, name) for name in self.labels}
        self.colours = {**known, "density (log)": self.density}
        self.connected(graph)

    def _label(self, name: str, numbers: Numbers) -> Values:
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

    def density(self, numbers: Numbers) -> Float[np.ndarray, "point"]:
        """Return, as a logarithm, how densely codes lie around each."""
        k = min(DENSITY_NEIGHBORS, len(self.index.codes) - 1)
        away = self.index.nearest(k=k).distances[:, -1]
        least = away[away > 0].min(initial=np.inf)
        size = self.index.codes.shape[1]
        return -size * np.log10(np.maximum(away, least if np.isfinite(least) else 1.0))[numbers]

    def described(
        self,
        wish: Wish,
        reels: list[Reel],
        visit: tour.Visit,
        graph: LatentGraph,
        stops: list[Stop],
    ) -> Film:
        """Return the film of a path through a graph."""
        number = f"{len(visit.nodes)} point{'s' * (len(visit.nodes) > 1)}"
        said = [f"surfing passes {number} of a {graph.description}, by weight {graph.weight}"]
        if len(bridges := graph.bridges_along(visit.nodes)):
            said.append(f"the path {tour.describe_gaps(bridges.tolist())}")
        if visit.proven is not None:
            said.append(tour.describe_order(len(wish.stops), proven=visit.proven))
        words = [f"--{n}" if v is True else f"--{n}={v}" for n, v in self._flags(wish).items() if v]
        return Film(
            reels=reels,
            stops=stops,
            note="; ".join(said),
            command=shlex.join(["python", f"launch/{self.script}.py", *words]),
        )

    def _flags(self, wish: Wish) -> dict[str, Any]:
        """Return the flags that all scripts have; those that are empty are left out."""
        order = "best" if wish.order == "best" else ""
        flags = {"loop": wish.loop, "order": order, "frames": wish.frames}
        if wish.graph != self.graph:
            graph = wish.graph
            flags |= {"graph": graph.kind, "weight": graph.weight, "repair": graph.repair}
            if setting := KINDS[graph.kind].setting:
                flags[setting] = getattr(graph, setting)
        return flags

    @abstractmethod
    def look(self, number: int) -> tuple[Mapping[str, Picture], Sequence[str]]:
        """Return the pictures of a point by their names, and lines on it."""

    @abstractmethod
    def pictures(self, numbers: Numbers) -> Pictures | None:
        """Return the images of points, if there are any."""

    @abstractmethod
    def locate(self, stops: Sequence[str]) -> Sequence[Stop]:
        """Return the names and the codes of stops."""

    @abstractmethod
    def film(self, wish: Wish) -> Film:
        """Return the animations of a path."""

    @abstractmethod
    def keep(self, wish: Wish, also: Sequence[str] = ()) -> str:
        """Write the files of a path, some of `also` among them, and return their folder."""

    def warm_up(self, frames: Sequence[int]) -> None:  # noqa: B027  (there may be nothing to do)
        """Compile what paths with so many frames need."""

    def further(self, wish: Wish) -> Mapping[str, Figures]:
        """Return, by method, figures that take longer than a film may."""
        return {}

    def off_course(self, wish: Wish) -> Mapping[str, Real[np.ndarray, "frame"]]:
        """Return, by method, how far each frame is from a perfect course; nothing if unknown."""
        return {}

    def decode(self, code: Code, near: int) -> Picture:
        """Return the image of a code, or, without a decoder, that of a point near it."""
        pictures = self.pictures(np.array([near]))
        if pictures is None:
            raise UserError("these codes have no images")
        return pictures[0]

    def take(self, data: bytes, name: str) -> str:
        """Return the stop that a picture file of the user's becomes."""
        raise UserError("codes alone have no encoder: a picture of yours has no place among them")
