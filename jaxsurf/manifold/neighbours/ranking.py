"""Exact searches for the nearest points, and the one that ranks candidates of an engine.

Points are ranked by `euclid.between`, then by number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import euclid
from jaxsurf.manifold.neighbours import candidates

# Candidates asked for beyond k: the point itself, and one to see that the last is not tied.
_MARGIN = 2
# Values (candidates x latent) in memory at once while candidates are ranked.
_CHUNK = 2_000_000

Ranked = tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]


class Search(Protocol):
    """Finds the nearest among the points that it was made with, exactly."""

    @property
    def prunes(self) -> bool:
        """Whether `reach` is the quicker, the smaller the limit is."""
        ...

    def nearest(
        self,
        queries: Float[np.ndarray, "query latent"],
        k: int,
        *,
        own: Int[np.ndarray, "query"],
    ) -> Ranked:
        """Return the numbers of the k points nearest to each query, and their distances.

        Args:
            queries: where to look from.
            k: how many; there are as many points besides `own`.
            own: the number of the point that is not to be found, for each query; -1 for none.
        """
        ...

    def reach(
        self, queries: Float[np.ndarray, "query latent"], *, limit: float
    ) -> Float[np.ndarray, "query"]:
        """Return how far the nearest point is, up to `candidates.ROUNDING`.

        Args:
            queries: where to look from.
            limit: what is farther may come out as infinity.
        """
        ...


@dataclass(frozen=True, eq=False)
class Ranking:
    """Ranks candidates, and asks for more until none that is missing can come before the last.

    Attributes:
        points: where neighbours are looked for.
        ids: their numbers.
        engines: find candidates among them. Where the first does not settle the matter, the
            next is asked for twice as many, and the last until it does.
    """

    points: Float[np.ndarray, "kept latent"]
    ids: Int[np.ndarray, "kept"]
    engines: Sequence[candidates.Engine]

    @property
    def prunes(self) -> bool:
        """See `Search`."""
        return isinstance(self.engines[0], candidates.Tree)

    def nearest(
        self,
        queries: Float[np.ndarray, "query latent"],
        k: int,
        *,
        own: Int[np.ndarray, "query"],
    ) -> Ranked:
        """See `Search.nearest`."""
        indices = np.empty((len(queries), k), dtype=np.int64)
        distances = np.empty((len(queries), k))
        size, dimensions = self.points.shape
        pending, count, tries = candidates.spatial_order(queries), k + _MARGIN, 0
        while len(pending):
            count = min(count, size)
            engine = self.engines[min(tries, len(self.engines) - 1)]
            rows = max(1, _CHUNK // (count * dimensions))
            unsure = []
            for chunk in np.split(pending, range(rows, len(pending), rows)):
                found, bound = engine.find(queries[chunk], count=count)
                indices[chunk], distances[chunk] = _rank(
                    self.points[found], self.ids[found], queries[chunk], own[chunk], k
                )
                unsure.append(chunk[~(distances[chunk, -1] < bound)])
            pending, count, tries = np.concatenate(unsure), 2 * count, tries + 1
        return indices, distances

    def reach(
        self, queries: Float[np.ndarray, "query latent"], *, limit: float
    ) -> Float[np.ndarray, "query"]:
        """See `Search.reach`."""
        engine = self.engines[0]
        if isinstance(engine, candidates.Tree):
            return engine.reach(queries, limit=limit)
        return self.nearest(queries, 1, own=np.full(len(queries), -1))[1][:, 0]


def _rank(
    found: Float[np.ndarray, "query candidate latent"],
    ids: Int[np.ndarray, "query candidate"],
    queries: Float[np.ndarray, "query latent"],
    own: Int[np.ndarray, "query"],
    k: int,
) -> Ranked:
    """Return the k candidates that come first by exact distance, then by index."""
    distances = euclid.between(found, queries[:, None])
    distances[ids == own[:, None]] = np.inf
    order = np.lexsort((ids, distances))[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)
