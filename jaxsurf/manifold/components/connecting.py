"""Which k and which radius connect: the smallest whose graph joins all points.

Of all ways to connect the points, a minimum spanning tree has the shortest longest edge. So the
smallest connecting radius is the longest edge of the Euclidean one; and where an edge to a point's
nearest neighbour weighs 1, to its second nearest 2, and so on, the greatest weight is the smallest
connecting k.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Real
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
    heads = neighbours.indices
    points, known = heads.shape
    ranks = np.tile(np.arange(1, known + 1, dtype=np.float64), points)
    entries = (ranks, heads.ravel(), known * np.arange(points + 1))
    tree = csgraph.minimum_spanning_tree(scipy.sparse.csr_array(entries, shape=(points, points)))
    return int(tree.data.max()) if tree.nnz == points - 1 else 0


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
