"""What is explored: images or codes alone, and the paths through them.

The explorer knows no run. Whoever has one hands over a `Subject`, which answers a `Wish` with a
`Film`. Pictures are uint8, in red, green and blue. What comes in a wish may come from anywhere: a
subject checks it, and raises a `UserError` that the page shows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int, Real, UInt8

from jaxsurf.errors import UserError
from jaxsurf.manifold.graph import GraphConfig
from jaxsurf.manifold.neighbors import Index
from jaxsurf.manifold.tour import Order

Picture = UInt8[np.ndarray, "height width 3"]
Pictures = UInt8[np.ndarray, "frame height width 3"]
# A number for each point of some, or the name of each one's group.
Values = Real[np.ndarray, "_some"] | Sequence[str]
Figures = Mapping[str, float | None]
Numbers = Int[np.ndarray, "point"]
Code = Float[np.ndarray, "latent"]
Stop = tuple[str, Code]  # its name and its code


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A path to be shown: stops as texts, how many frames, and through which graph."""

    stops: tuple[str, ...]
    frames: int
    graph: GraphConfig
    loop: bool = False
    order: Order = "given"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reel:
    """One method's animation, frame by frame, with the image nearest to each frame."""

    method: str
    frames: Pictures | None  # None where there are no images at all
    points: Float[np.ndarray, "frame latent"] | None  # the codes, where frames have one
    nearest: Int[np.ndarray, "frame"]
    errors: Float[np.ndarray, "frame"]  # distances to the nearest
    steps: Float[np.ndarray, "step"]  # from each frame to the next
    figures: Figures = field(default_factory=dict)  # of the whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """Animations of one path, and what is said about it."""

    reels: Sequence[Reel]  # one a method, all with the same number of frames
    stops: Sequence[Stop]  # in the order of the path
    note: str  # one line on the path and its graph
    command: str  # the command line that makes the same
    error_name: str
    frame_ms: float  # at ordinary speed


class Subject(ABC):
    """What is explored; what it can't do, it need not know."""

    title: str
    about: str
    index: Index  # the codes of all points
    colours: Mapping[str, Callable[[Numbers], Values]]  # each gives the value of some points
    kinds: Sequence[str]  # of graphs that can be built
    weights: Sequence[str]  # what edges can weigh
    graph: GraphConfig  # the usual one
    decodes: bool = False  # whether any code has an image
    judges: bool = False  # whether frames can be told to be off course
    pairs: Mapping[str, str] = MappingProxyType({})  # stops worth looking at, what is said of each
    pairs_are: str = ""  # what is said of all
    also: Sequence[str] = ()  # what `keep` can write beside the usual files

    @abstractmethod
    def look(self, number: int) -> tuple[Mapping[str, Picture], Sequence[str]]:
        """Return the pictures of a point by their names, and lines on it."""

    @abstractmethod
    def pictures(self, numbers: Numbers) -> Pictures | None:
        """Return the images of points, if there are any."""

    @abstractmethod
    def edges(self, graph: GraphConfig) -> Int[np.ndarray, "edge 2"]:
        """Return the edges of a graph."""

    @abstractmethod
    def locate(self, stops: Sequence[str]) -> Sequence[Stop]:
        """Return the names and the codes of stops."""

    @abstractmethod
    def film(self, wish: Wish) -> Film:
        """Return the animations of a path."""

    @abstractmethod
    def keep(self, wish: Wish, also: Sequence[str] = ()) -> str:
        """Write the files of a path, some of `also` among them, and return their folder."""

    @abstractmethod
    def kept(self) -> Sequence[str]:
        """Return the folders of paths that were written, the newest first."""

    def warm_up(self, frames: Sequence[int]) -> None:  # noqa: B027  (there may be nothing to do)
        """Compile what paths with so many frames need."""

    def further(self, wish: Wish) -> Mapping[str, Figures]:
        """Return, by method, figures that take longer than a film may."""
        return {}

    def off_course(self, wish: Wish) -> Mapping[str, Real[np.ndarray, "frame"]]:
        """Return, by method, how far each frame is from a perfect course; nothing if unknown."""
        return {}

    def decode(self, code: Code) -> Picture:
        """Return the image of a code."""
        raise UserError("codes alone have no decoder")

    def take(self, data: bytes, name: str) -> str:
        """Return the stop that a picture file of the user's becomes."""
        raise UserError("codes alone have no encoder: a picture of yours has no place among them")
