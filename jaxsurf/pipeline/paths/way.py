"""A way through latent codes: what every method makes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import path as paths

# Of points that are no row of the file, and corners that are no point of the way.
NONE = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Leg:
    """A way's part from one stop to the next.

    Attributes:
        start: the label of the first stop.
        stop: the label of the other.
        corners: the polyline between them, both counted.
        cost: the sum of its edges' weights in the graph; None where there is no graph.
    """

    start: str
    stop: str
    corners: Float[np.ndarray, "corner latent"]
    cost: float | None = None

    @property
    def length(self) -> float:
        """The length of the polyline, in latent units."""
        return float(paths.piece_lengths(self.corners).sum())

    @property
    def straight(self) -> float:
        """The distance between its ends."""
        return float(paths.piece_lengths(self.corners[[0, -1]])[0])

    def describe(self) -> dict[str, Any]:
        """Return what `path.json` says of it."""
        return {
            "from": self.start,
            "to": self.stop,
            "edges": len(self.corners) - 1,
            "length": self.length,
            "cost": self.cost,
            "straight": self.straight,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """A way, as a polyline and as points along it.

    Attributes:
        name: what its files are called.
        legs: its parts, in order.
        points: the latent codes that are written, in order.
        rows: the row of each point; `NONE` where it is none.
        stops: which points are stops, by number, and their labels.
        nodes: the rows that it leads along, one after another; None where it leads along none.
            Codes from outside are numbered behind the rows of the file.
        facts: what `path.json` says beside.
    """

    name: str
    legs: tuple[Leg, ...]
    points: Float[np.ndarray, "point latent"]
    rows: Int[np.ndarray, "point"]
    stops: dict[int, str] = field(default_factory=dict)
    nodes: Int[np.ndarray, "node"] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The stops in the order of the visit."""
        return [self.legs[0].start, *(leg.stop for leg in self.legs)]

    @property
    def length(self) -> float:
        """The length of the whole polyline, in latent units."""
        return sum(leg.length for leg in self.legs)


def legs_between(
    corners: Float[np.ndarray, "corner latent"],
    places: Sequence[int],
    labels: Sequence[str],
    weights: Float[np.ndarray, "edge"] | None = None,
) -> tuple[Leg, ...]:
    """Return the parts of a polyline.

    Args:
        corners: all of it.
        places: where in it each stop stands.
        labels: of the stops.
        weights: of its edges in a graph, if it leads through one.
    """
    return tuple(
        Leg(
            start=labels[number],
            stop=labels[number + 1],
            corners=corners[first : last + 1],
            cost=None if weights is None else float(weights[first:last].sum()),
        )
        for number, (first, last) in enumerate(itertools.pairwise(places))
    )


def timed(
    corners: Float[np.ndarray, "corner latent"], *, frames: int | None, points_per_edge: int
) -> tuple[Float[np.ndarray, "point latent"], Int[np.ndarray, "corner"]]:
    """Return points along a polyline, and which of them each corner is.

    Args:
        corners: the polyline.
        frames: how many, evenly spaced along it, so that only the ends are corners for sure; the
            others are numbered `NONE`. None for `points_per_edge`.
        points_per_edge: points on each edge, both ends counted.

    Raises:
        UserError: see `paths.per_edge` and `paths.constant_speed`.
    """
    if frames is None:
        made = paths.per_edge(corners, points_per_edge=points_per_edge)
        return made.points, np.arange(len(corners)) * (points_per_edge - 1)
    at_corner = np.full(len(corners), NONE)
    at_corner[[0, -1]] = 0, frames - 1
    return paths.constant_speed(corners, frames=frames).points, at_corner
