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
from jaxsurf.manifold import knn, spanning


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
