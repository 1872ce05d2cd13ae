"""Which k and which radius connect: the smallest whose graph joins all points.

With k the graph only gains edges, so the smallest connecting k is found by halving, from
neighbours ranked once. The smallest connecting radius is the longest edge of the Euclidean minimum
spanning tree: no shorter radius bridges the gap that this edge does.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Int, Real
from scipy.sparse import csgraph

from jaxsurf.errors import UserError
from jaxsurf.manifold import knn
from jaxsurf.manifold.components import spanning

# Neighbours in all, beyond which they and their graph would take more than 4 GB.
MOST_NEIGHBOURS = 1 << 26


def neighbours(index: knn.Index, *, first_k: int) -> tuple[knn.Neighbours, int]:
    """Return neighbours of all points, and the smallest k of theirs that connects all points.

    One neighbour query does, unless its k was too small to connect; then it is made again with
    twice as many.

    Args:
        index: at least two points.
        first_k: neighbours asked for at first; changes the time, not the result.

    Raises:
        UserError: the points are too few, or so many neighbours don't connect them that more would
            not fit in memory.
    """
    number, asked = len(index.codes), first_k
    while True:
        found = index.nearest(k=max(1, min(asked, number - 1)))
        k = smallest_k(found)
        if k:
            return found, k
        if number * 2 * asked > max(MOST_NEIGHBOURS, number * first_k):
            raise UserError(
                f"{asked} neighbours of each of {number:,} points don't connect them, and more "
                "would not fit in memory",
                cure="use graph.kind=knn with a smaller k and graph.repair (--graph=knn --k=10 "
                "--repair), which bridges the gaps",
            )
        asked *= 2


def smallest_k(neighbours: knn.Neighbours) -> int:
    """Return the smallest k that connects all points, or 0 if these neighbours do not."""
    too_few, enough = 0, neighbours.indices.shape[1]
    if not _connect(neighbours.indices):
        return 0
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _connect(neighbours.indices[:, :middle]):
            enough = middle
        else:
            too_few = middle
    return enough


def smallest_radius(codes: Real[np.ndarray, "point latent"] | knn.Index) -> float:
    """Return the smallest radius whose graph joins all points.

    Args:
        codes: at least two points.

    Raises:
        UserError: the codes are not finite or too few.
    """
    index = knn.index_of(codes)
    if len(index.codes) < 2:
        raise UserError("one point has no neighbours", cure="give at least two latent codes")
    return float(spanning.tree(index).distances.max())


def _connect(heads: Int[np.ndarray, "point neighbour"]) -> bool:
    """Return whether edges from each point to its neighbours connect all points."""
    points, k = heads.shape
    starts = k * np.arange(points + 1)
    entries = (np.ones(heads.size, dtype=np.int8), heads.ravel(), starts)
    matrix = scipy.sparse.csr_array(entries, shape=(points, points))
    return int(csgraph.connected_components(matrix, directed=False)[0]) == 1
