"""From points to the nearest point of another component, however far that is.

Numbers of two components differ in some binary digit. So for each digit, the points with a 0 look
among all points with a 1, and the other way round: as many searches among half the points as the
largest number has digits, twice.

Only what can be the shortest way out of a component is wanted. So one point looks for a flock of
points that lie together: if the way from it is longer than the best one known by more than the
flock is wide, none of them needs to look.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import euclid
from jaxsurf.manifold.neighbours import candidates, exact
from jaxsurf.manifold.neighbours.ranking import Search

# Points of a flock: more spare more looks, but are wider.
_FLOCK = 64
# Points that look at once: all have the limit of the one that may look farthest.
_PORTION = 4096
# Ways are compared with as much to spare, so that rounding leaves out nothing that is as near.
_SPARE = 1 + 4 * candidates.ROUNDING


def nearest(
    codes: Float[np.ndarray, "point latent"],
    labels: Int[np.ndarray, "point"],
    asking: Int[np.ndarray, "asking"],
    best: Float[np.ndarray, "component"],
) -> tuple[Int[np.ndarray, "asking"], Float[np.ndarray, "asking"]]:
    """Return the nearest point of another component where it may be the nearest to a whole one.

    Args:
        codes: all points.
        labels: the number of the component of each.
        asking: the points to look from.
        best: the length of a way out of each component, or infinity.

    Returns:
        The nearest point of another component and its distance, the lowest index among equals; or
        -1 and what the distance exceeds, if it exceeds the shortest way out.
    """
    heads, least, best = np.full(len(codes), -1), np.full(len(codes), np.inf), best.copy()
    order = candidates.spatial_order(codes)
    flocks = _flocks(codes, labels, asking, order)
    for digit in range(int(labels.max()).bit_length()):
        side = (labels >> digit) & 1
        for here in (0, 1):
            some, others = flocks.of(side == here), order[side[order] != here]
            if not some.points.size or not others.size:
                continue
            among = exact.make_search(codes[others], others, in_order=True)
            look = _Look(codes, labels, best, among)
            _take_nearer(heads, least, look, look.promising(some))
    none = asking[heads[asking] < 0]
    least[none] = best[labels[none]]
    return heads[asking], least[asking]


def _take_nearer(
    heads: Int[np.ndarray, "point"],
    least: Float[np.ndarray, "point"],
    look: "_Look",
    asking: Int[np.ndarray, "asking"],
) -> None:
    """Look exactly, and write down what is nearer than what was found before."""
    found, away = look.exactly(asking)
    closer = (away < least[asking]) | ((away == least[asking]) & (found < heads[asking]))
    heads[asking[closer]], least[asking[closer]] = found[closer], away[closer]


@dataclass(frozen=True, eq=False)
class _Flocks:
    """Points in flocks, each within one component.

    Attributes:
        points: all of them, flock after flock.
        starts: where each flock begins.
        leaders: one point of each, that looks for all.
        widths: how far the farthest is from it.
    """

    points: Int[np.ndarray, "asking"]
    starts: Int[np.ndarray, "flock"]
    leaders: Int[np.ndarray, "flock"]
    widths: Float[np.ndarray, "flock"]

    @property
    def sizes(self) -> Int[np.ndarray, "flock"]:
        """The number of points in each."""
        return np.diff(np.append(self.starts, len(self.points)))

    def of(self, wanted: np.ndarray) -> "_Flocks":
        """Return the flocks whose leaders are wanted: `wanted` has a truth value for any point."""
        return self.where(wanted[self.leaders])

    def where(self, kept: np.ndarray) -> "_Flocks":
        """Return some of the flocks: `kept` has a truth value for each."""
        sizes = self.sizes
        starts = np.cumsum(sizes[kept]) - sizes[kept]
        points = self.points[np.repeat(kept, sizes)]
        return _Flocks(points, starts, self.leaders[kept], self.widths[kept])


def _flocks(
    codes: Float[np.ndarray, "point latent"],
    labels: Int[np.ndarray, "point"],
    asking: Int[np.ndarray, "asking"],
    order: Int[np.ndarray, "point"],
) -> _Flocks:
    """Divide points among flocks, in the order in which they lie in space."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    points = asking[np.lexsort((rank[asking], labels[asking]))]
    fresh = np.flatnonzero(np.diff(labels[points], prepend=-1))
    place = np.arange(len(points)) - np.repeat(fresh, np.diff(np.append(fresh, len(points))))
    starts = np.flatnonzero(place % _FLOCK == 0)
    sizes = np.diff(np.append(starts, len(points)))
    leaders = points[starts + sizes // 2]
    apart = euclid.between(codes[points], codes[np.repeat(leaders, sizes)])
    return _Flocks(points, starts, leaders, np.maximum.reduceat(apart, starts))


@dataclass(frozen=True, eq=False)
class _Look:
    """A look at some of the points; `best` is shortened by whatever is seen."""

    codes: Float[np.ndarray, "point latent"]
    labels: Int[np.ndarray, "point"]
    best: Float[np.ndarray, "component"]
    among: Search

    def promising(self, flocks: _Flocks) -> Int[np.ndarray, "promising"]:
        """Return the points from which the way is no longer than the best one out."""
        away = self._away(flocks.leaders, flocks.widths)
        near = away <= (self.best[self.labels[flocks.leaders]] + flocks.widths) * _SPARE
        points = flocks.where(near).points
        if not self.among.prunes:
            return points
        away = self._away(points, np.zeros(len(points)))
        return points[away <= self.best[self.labels[points]] * _SPARE]

    def exactly(
        self, asking: Int[np.ndarray, "asking"]
    ) -> tuple[Int[np.ndarray, "asking"], Float[np.ndarray, "asking"]]:
        """Return the nearest point to each and its distance."""
        own = np.full(len(asking), -1)
        found, away = self.among.nearest(self.codes[asking], 1, own=own)
        np.minimum.at(self.best, self.labels[asking], away[:, 0])
        return found[:, 0], away[:, 0]

    def _away(
        self, asking: Int[np.ndarray, "asking"], beyond: Float[np.ndarray, "asking"]
    ) -> Float[np.ndarray, "asking"]:
        """Return how far it is to the nearest, or infinity if beyond the best way by too much."""
        if not self.among.prunes:
            return self.exactly(asking)[1]
        away = np.empty(len(asking))
        order = np.lexsort((asking, self.best[self.labels[asking]] + beyond))
        for some in np.split(order, range(_PORTION, len(order), _PORTION)):
            labels = self.labels[asking[some]]
            limit = (self.best[labels] + beyond[some]).max(initial=0.0) * _SPARE
            away[some] = self.among.reach(self.codes[asking[some]], limit=limit)
            np.minimum.at(self.best, labels, away[some] * _SPARE)
        return away
