"""A compiled k-d tree over many points: what is nearest is found and ranked in one go.

See `jaxsurf.manifold.neighbours.halving` for its layout and `jaxsurf.manifold.neighbours.leaves`
for why it is exact.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import in_threads, num_cores
from jaxsurf.manifold.neighbours import candidates
from jaxsurf.manifold.neighbours.ranking import Ranked

# Stretches of queries that each thread takes in turn, so that all end at about the same time.
_TURNS = 8
# Points or queries that are worth a thread.
_PORTION = 2048
# Dimensions for which this process has loaded the kernels.
_loaded: set[int] = set()


def is_loaded(dimensions: int) -> bool:
    """Return whether a tree of so many dimensions was made before: another one is quickly made."""
    return dimensions in _loaded


class KdTree:
    """A search that looks at no point that lies farther than what was found already.

    It takes as long with points that coincide as with others: boxes that are as near as what was
    found are left out if all in them have higher numbers.
    """

    prunes = True

    def __init__(
        self, codes: Float[np.ndarray, "point latent"], ids: Int[np.ndarray, "point"] | None = None
    ) -> None:
        """Build the tree.

        Args:
            codes: the points, fewer than int32 has numbers.
            ids: their numbers, by which ties are settled, each fit for int32; from 0 if None.
        """
        from jaxsurf.manifold.neighbours import halving, leaves

        self._leaves, self._halving = leaves, halving
        self._codes, self._axes = codes, (0.0,) * codes.shape[1]
        size, depth = len(codes), 0
        while (size - 1) >> depth >= leaves.WIDTH:
            depth += 1
        points, self._rows = codes.copy(), np.arange(size, dtype=np.int32)
        boxes = self._divided(points, self._rows, depth)
        numbers = np.full((1 << depth, leaves.WIDTH), leaves.NOBODY, dtype=np.int32)
        blocks = np.full((1 << depth, codes.shape[1], leaves.WIDTH), np.inf)
        ids = self._rows if ids is None else ids[self._rows].astype(np.int32)
        halving.lay_out(points, ids, blocks, numbers, self._axes)
        self._tree = (blocks, numbers, boxes, _least(numbers.min(axis=1)))
        _loaded.add(codes.shape[1])

    def nearest(
        self,
        queries: Float[np.ndarray, "query latent"],
        k: int,
        *,
        own: Int[np.ndarray, "query"],
    ) -> Ranked:
        """See `ranking.Search.nearest`."""
        return self._search(queries, k, own, np.inf)[0]

    def reach(
        self, queries: Float[np.ndarray, "query latent"], *, limit: float
    ) -> Float[np.ndarray, "query"]:
        """See `ranking.Search.reach`."""
        (found, away), _ = self._search(queries, 1, np.full(len(queries), -1), limit)
        return np.where(found[:, 0] == self._leaves.NOBODY, np.inf, away[:, 0])

    def share(self, queries: Float[np.ndarray, "query latent"], k: int) -> float:
        """Return the mean share of all points that such queries look at."""
        visits = self._search(queries, k, np.full(len(queries), -1), np.inf)[1]
        return visits / (len(queries) * len(self._tree[0]))

    def _search(
        self,
        queries: Float[np.ndarray, "query latent"],
        k: int,
        own: Int[np.ndarray, "query"],
        limit: float,
    ) -> tuple[Ranked, int]:
        """Return what is found, and how many leaves were looked into."""
        found = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
        whole = queries is self._codes
        rows = self._rows if whole else candidates.spatial_order(queries).astype(np.int32)
        visits = in_threads(
            lambda some: self._leaves.search(
                self._tree, queries, some, own, float(limit), found, self._axes
            ),
            np.array_split(rows, _portions(len(rows))),
        )
        return found, sum(visits)

    def _divided(
        self, points: Float[np.ndarray, "point latent"], rows: Int[np.ndarray, "point"], depth: int
    ) -> Float[np.ndarray, "node latent 2"]:
        """Put points in tree order, in threads once there are nodes enough; return the boxes."""
        boxes = np.empty((2 << depth, points.shape[1], 2))
        alone = min(depth, _portions(len(points)).bit_length() - 1)
        for level in range(alone + 1):
            levels = 1 if level < alone else depth + 1
            in_threads(
                lambda root, levels=levels: self._halving.divide(
                    points, rows, boxes, root, levels, self._axes
                ),
                range(1 << level, 2 << level),
            )
        return boxes


def _portions(number: int) -> int:
    """Return into how many parts to divide so many points or queries among the threads."""
    return max(1, min(_TURNS * num_cores(), number // _PORTION))


def _least(numbers: Int[np.ndarray, "leaf"]) -> Int[np.ndarray, "node"]:
    """Return the least number of each node from those of the leaves."""
    levels = [numbers]
    while len(levels[-1]) > 1:
        levels.append(levels[-1].reshape(-1, 2).min(axis=1))
    return np.concatenate([levels[-1][:1], *reversed(levels)])
