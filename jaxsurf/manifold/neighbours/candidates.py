"""Engines that narrow a nearest-neighbour search down to a few candidates, without losing one.

An engine promises a *bound* with each query's candidates: every point that it left out lies at
least that far away. So whoever ranks the candidates exactly can tell whether the ranking is final
(the bound exceeds the last distance that is kept) or more candidates are needed.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

# A k-d tree prunes well up to about this many dimensions; beyond it, it visits nearly every point.
MAX_TREE_DIMENSIONS = 8
# So few points, and a tree of them, fit into a processor's cache.
_CACHED = 10_000
# KDTree and we round differently, by a few units in the last place per dimension.
ROUNDING = 1e-12
# Squares of smaller values are 0 in float64, or nearly.
SMALLEST = 1e-150

Codes = Float[np.ndarray, "point latent"]
Queries = Float[np.ndarray, "query latent"]
Found = tuple[Int[np.ndarray, "query candidate"], Float[np.ndarray, "query"]]


class Engine(Protocol):
    """Finds candidates among the points that it was made with."""

    def find(self, queries: Queries, *, count: int) -> Found:
        """Return at least `count` candidates a query and the bound on all others.

        Args:
            queries: where to look from.
            count: at most the number of points.

        Returns:
            Distinct point indices, in no particular order, and a distance that no other point is
            nearer than.
        """
        ...


class Scan:
    """Every distance, one query after another: slow for many, but nothing has to be prepared."""

    def __init__(self, codes: Codes) -> None:
        self._codes = codes

    def find(self, queries: Queries, *, count: int) -> Found:
        """See `Engine.find`."""
        size = len(self._codes)
        if count >= size:
            return everything(len(queries), size)
        indices, bounds = np.empty((len(queries), count), dtype=np.int64), np.empty(len(queries))
        for row, query in enumerate(queries):
            distances = np.sqrt(np.square(self._codes - query).sum(axis=1))
            order = np.argpartition(distances, count)
            indices[row], bounds[row] = order[:count], distances[order[count]]
        return indices, bounds * (1 - ROUNDING)


class Tree:
    """A k-d tree over rows that lie in memory as they lie in space.

    The leaves of a first tree give the order: a query then touches few cache lines, and so do
    successive queries. Worth a factor of 2 to 5 from a hundred thousand points up.
    """

    def __init__(self, codes: Codes, *, in_order: bool = False) -> None:
        from scipy.spatial import KDTree

        self._order = np.arange(len(codes)) if in_order else spatial_order(codes)
        self._tree = KDTree(codes[self._order])

    def find(self, queries: Queries, *, count: int) -> Found:
        """See `Engine.find`."""
        distances, rows = self._tree.query(queries, k=count, workers=-1)
        shape = (len(queries), count)
        farthest = distances.reshape(shape)[:, -1]
        bound = np.full(len(queries), np.inf) if count >= self._tree.n else farthest
        return self._order[rows.reshape(shape)], bound * (1 - ROUNDING)

    def reach(self, queries: Queries, *, limit: float) -> Float[np.ndarray, "query"]:
        """Return how far the nearest point is, up to `ROUNDING`; infinity beyond the limit.

        Args:
            queries: where to look from.
            limit: a distance; the smaller it is, the quicker the answer.
        """
        # SciPy leaves out what is as far as the limit itself, and squares it.
        wider = max(limit * (1 + ROUNDING), SMALLEST)
        return self._tree.query(queries, distance_upper_bound=wider, workers=-1)[0]


def everything(num_queries: int, size: int) -> Found:
    """Return all of so many points as the candidates of each query."""
    indices = np.broadcast_to(np.arange(size), (num_queries, size))
    return indices, np.full(num_queries, np.inf)


def spatial_order(codes: Codes) -> Int[np.ndarray, "point"]:
    """Return an order of the points in which neighbours in space are mostly neighbours in row.

    It is of use to a tree only, and only of points that don't fit into the cache: else they keep
    their order.
    """
    if codes.shape[1] > MAX_TREE_DIMENSIONS or len(codes) < _CACHED:
        return np.arange(len(codes))
    from scipy.spatial import KDTree

    return np.asarray(KDTree(codes, balanced_tree=False, compact_nodes=False).indices)
