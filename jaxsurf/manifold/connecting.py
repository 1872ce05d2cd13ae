"""Which k connects: the smallest whose k-NN graph joins all points.

Edge (i, j) enters the k-NN graph at k = min(rank of j from i, rank of i from j). The smallest
connecting k is the bottleneck: the largest entering rank on a minimum spanning tree by entering
rank. So neighbours ranked once tell, and no graph is built for a k that is too small.
"""

import numpy as np
import scipy.sparse
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
