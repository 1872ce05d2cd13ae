"""The rule that cryoDRGN's `graph_traversal` follows, written anew from its description.

Each code is joined to its ten nearest, one way, and of all these edges the longest are left out, by
one cut for all of them, until five a code are left on average. Dijkstra's algorithm in pure Python
searches that graph (Zhong et al., "CryoDRGN: reconstruction of heterogeneous cryo-EM structures
using neural networks", 2021). Where codes lie thinly nothing is left to go along:

    python -m jaxsurf.pipeline.benchmark.stages.graph.cryodrgn

prints which share of random pairs has no path, and the same of a symmetric k-NN graph with k = 10.
"""

import heapq
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csgraph, csr_array

from jaxsurf.manifold import graph, neighbors

MOST, AVERAGE = 10, 5
# Of what is printed: as many codes as a small data set, in the dimensions that cryoDRGN is used in.
CODES, DIMENSIONS, PAIRS = 20_000, (2, 8), 1000

Codes = Float[np.ndarray, "point latent"]
# A node's neighbours, each with the length of the edge to it.
Adjacency = Sequence[Sequence[tuple[int, float]]]


def neighbours(codes: Codes, *, most: int = MOST, average: int = AVERAGE) -> Adjacency:
    """Return what each code is joined to.

    Args:
        codes: more than `most`.
        most: neighbours of any code.
        average: neighbours of a code on average, at most `most`.
    """
    found = neighbors.Index(codes).nearest(k=most)
    cut = np.sort(found.distances, axis=None)[average * len(codes) - 1]
    rows = zip(found.indices.tolist(), found.distances.tolist(), strict=True)
    return [[(o, d) for o, d in zip(*row, strict=True) if d <= cut] for row in rows]


def shortest_path(joined: Adjacency, source: int, target: int) -> list[int]:
    """Return the nodes of a shortest path, both ends counted; an empty list where there is none.

    Args:
        joined: what each node is joined to, perhaps one way only.
        source: the first node.
        target: the last node.
    """
    best, before, done = {source: 0.0}, {source: source}, set()
    queue = [(0.0, source)]
    while queue and target not in done:
        length, node = heapq.heappop(queue)
        if node in done:
            continue
        done.add(node)
        for other, step in joined[node]:
            if other not in best or length + step < best[other]:
                best[other], before[other] = length + step, node
                heapq.heappush(queue, (length + step, other))
    return _traced(before, source, target) if target in done else []


def share_apart(codes: Codes, pairs: Int[np.ndarray, "pair 2"]) -> tuple[float, float]:
    """Return which share of pairs has no path: by the rule, and in the symmetric k-NN graph.

    Args:
        codes: of all nodes.
        pairs: sources and targets.
    """
    joined = neighbours(codes)
    starts = np.cumsum([0, *map(len, joined)])
    heads = np.array([other for row in joined for other, _ in row])
    shape = (len(codes), len(codes))
    matrix = csr_array((np.ones(len(heads), np.int8), heads, starts), shape=shape)
    by_rule = [
        target not in csgraph.breadth_first_order(matrix, source, return_predecessors=False)
        for source, target in pairs
    ]
    components = graph.knn_graph(neighbors.Index(codes).nearest(k=MOST), k=MOST).components
    return float(np.mean(by_rule)), float(np.mean(np.diff(components[pairs]) != 0))


def _traced(before: dict[int, int], source: int, target: int) -> list[int]:
    nodes = [target]
    while nodes[-1] != source:
        nodes.append(before[nodes[-1]])
    return nodes[::-1]


if __name__ == "__main__":
    for dimensions in DIMENSIONS:
        rng = np.random.default_rng(0)
        drawn = rng.normal(size=(CODES, dimensions))
        apart = share_apart(drawn, rng.integers(CODES, size=(PAIRS, 2)))
        sys.stdout.write(
            f"{CODES:,} codes of a normal distribution in {dimensions} dimensions: of {PAIRS:,} "
            f"pairs have no path {apart[0]:.1%} by cryoDRGN's rule, {apart[1]:.1%} by ours\n"
        )
