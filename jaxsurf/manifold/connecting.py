"""Which k and which radius connect: the smallest whose graph joins all points.

Edge (i, j) enters the k-NN graph at k = min(rank of j from i, rank of i from j). The smallest
connecting k is the bottleneck: the largest entering rank on a minimum spanning tree by entering
rank. So neighbours ranked once tell, and no graph is built for a k that is too small.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Real
from scipy.sparse import csgraph

from jaxsurf.manifold import csr, knn


def smallest_k(neighbours: knn.Neighbours) -> int:
    """Return the smallest k that connects all points, or 0 if these neighbours do not."""
    points, known = neighbours.indices.shape
    tails = np.tile(np.arange(points), known)
    heads = neighbours.indices.T.ravel()
    ranks = np.repeat(np.arange(1.0, known + 1), points)
    # Ranks ascend, so the first of an edge that comes twice is its entering rank.
    entering = csr.from_edges(np.stack([tails, heads], axis=1), ranks, num_nodes=points)
    tree = csgraph.minimum_spanning_tree(_matrix(entering))
    return int(tree.data.max()) if tree.nnz == points - 1 else 0


def _matrix(graph: csr.LatentGraph) -> scipy.sparse.csr_array:
    shape = (graph.num_nodes, graph.num_nodes)
    return scipy.sparse.csr_array((graph.weights, graph.indices, graph.indptr), shape=shape)


def smallest_radius(codes: Real[np.ndarray, "point latent"]) -> float:
    """Return the smallest radius whose graph joins all points.

    The edges of a connected k-NN graph bound it from above, and within that bound all pairs are
    looked at.

    Args:
        codes: at least two points.

    Raises:
        UserError: the codes are not finite or too few.
    """
    k, bound = 1, None
    while bound is None:
        neighbours = knn.nearest(codes, k=min(k, len(codes) - 1))
        points, known = neighbours.indices.shape
        ends = np.stack([np.repeat(np.arange(points), known), neighbours.indices.ravel()], axis=1)
        bound = _longest_needed(ends, neighbours.distances.ravel(), points)
        k *= 2
    pairs = knn.within(codes, radius=bound)
    exact = _longest_needed(pairs.ends, pairs.distances, points)
    assert exact is not None, "a radius that holds a connected graph connects"
    return exact


def _longest_needed(
    ends: Int[np.ndarray, "edge 2"], lengths: Float[np.ndarray, "edge"], num_nodes: int
) -> float | None:
    """Return the length up to which edges connect all nodes; None if all of them do not."""
    order = np.argsort(lengths, kind="stable")
    ends, lengths = ends[order], lengths[order]
    too_few, enough = num_nodes - 2, len(lengths)
    if not _connected(ends, num_nodes):
        return None
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _connected(ends[:middle], num_nodes):
            enough = middle
        else:
            too_few = middle
    return float(lengths[enough - 1])


def _connected(ends: Int[np.ndarray, "edge 2"], num_nodes: int) -> bool:
    joined = (np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1]))
    matrix = scipy.sparse.coo_array(joined, shape=(num_nodes, num_nodes))
    return int(csgraph.connected_components(matrix, directed=False)[0]) == 1
