"""Engines that narrow a nearest-neighbour search down to a few candidates, without losing one.

An engine promises a *bound* with each query's candidates: every point that it left out lies at
least that far away. So whoever ranks the candidates exactly can tell whether the ranking is final
(the bound exceeds the last distance that is kept) or more candidates are needed.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

# A k-d tree prunes well up to about this many dimensions; beyond it, it visits nearly every point.
MAX_TREE_DIMENSIONS = 8
# KDTree and we round differently, by a few units in the last place per dimension.
_ROUNDING = 1e-12
# Columns whose smallest distance stands for all of them when blocks are compared.
_BLOCK = 64
# Distances in memory at once.
_TILE = 4_000_000

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


def make_engine(codes: Codes) -> Engine:
    """Return the engine that suits the number of dimensions."""
    return Tree(codes) if codes.shape[1] <= MAX_TREE_DIMENSIONS else Tiles(codes)


class Tree:
    """A k-d tree over rows that lie in memory as they lie in space.

    The leaves of a first tree give the order: a query then touches few cache lines, and so do
    successive queries. Worth a factor of 2 to 5 from a hundred thousand points up.
    """

    def __init__(self, codes: Codes) -> None:
        self._order = spatial_order(codes)
        self._tree = KDTree(codes[self._order])

    def find(self, queries: Queries, *, count: int) -> Found:
        """See `Engine.find`."""
        distances, rows = self._tree.query(queries, k=count, workers=-1)
        shape = (len(queries), count)
        farthest = distances.reshape(shape)[:, -1]
        bound = np.full(len(queries), np.inf) if count >= self._tree.n else farthest
        return self._order[rows.reshape(shape)], bound * (1 - _ROUNDING)


class Tiles:
    """Every distance, a tile of queries at a time, by one matrix product.

    |q - p|^2 = |q|^2 + |p|^2 - 2 q.p cancels catastrophically far from the origin, so the points
    are centred first, and the bound allows for what rounding is left.
    """

    def __init__(self, codes: Codes) -> None:
        self._centre = codes.mean(axis=0)
        self._codes = codes - self._centre
        self._squares = np.square(self._codes).sum(axis=1)

    def find(self, queries: Queries, *, count: int) -> Found:
        """See `Engine.find`."""
        rows = max(1, _TILE // len(self._codes))
        tiles = [
            self._find_tile(queries[start : start + rows] - self._centre, count)
            for start in range(0, len(queries), rows)
        ]
        indices, bounds = zip(*tiles, strict=True)
        return np.concatenate(indices), np.concatenate(bounds)

    def _find_tile(self, queries: Queries, count: int) -> Found:
        """Return the `count` smallest of each row, and the smallest of the others as the bound."""
        squares = np.square(queries).sum(axis=1)
        products = queries @ self._codes.T
        approximate = self._squares[None, :] - 2 * products
        if count >= approximate.shape[1]:
            return np.tile(np.arange(count), (len(queries), 1)), np.full(len(queries), np.inf)
        nearest = np.argpartition(approximate, count, axis=1)[:, : count + 1]
        last = np.take_along_axis(approximate, nearest[:, -1:], axis=1)[:, 0] + squares
        # Each of the three sums has `latent` terms, each rounded by eps / 2 of at most this size.
        size = squares + self._squares.max()
        error = 4 * (queries.shape[1] + 2) * np.finfo(np.float64).eps * size
        return nearest[:, :-1], np.sqrt(np.maximum(last - error, 0.0))


def spatial_order(codes: Codes) -> Int[np.ndarray, "point"]:
    """Return an order of the points in which neighbours in space are mostly neighbours in row."""
    return np.asarray(KDTree(codes, balanced_tree=False, compact_nodes=False).indices)
