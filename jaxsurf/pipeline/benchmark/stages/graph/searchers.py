"""Shortest paths between two nodes, as others find them.

A searcher is made of a graph and answers pairs of ends with the nodes on the way, both ends
counted. What it makes of the graph beforehand isn't timed, for ours neither.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import neighbors
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.pipeline.benchmark.stages.graph import cryodrgn

Codes = Float[np.ndarray, "node latent"]
Searcher = Callable[[int, int], Sequence[int]]


@dataclass(frozen=True)
class Peer:
    """A library's search.

    Attributes:
        name: of both.
        package: as it is imported.
        make: makes the searcher.
    """

    name: str
    package: str
    make: Callable[[LatentGraph, Codes], Searcher]


def _igraph(graph: LatentGraph, codes: Codes) -> Searcher:
    import igraph

    del codes
    ends, weights = graph.edges()
    made = igraph.Graph(graph.num_nodes, ends.tolist())
    made.es["weight"] = weights.tolist()
    return lambda source, target: made.get_shortest_path(
        source, to=target, weights="weight", output="vpath"
    )


def _scipy(graph: LatentGraph, codes: Codes) -> Searcher:
    """Return SciPy's search, which can't stop at a target."""
    from scipy.sparse import csgraph, csr_array

    del codes
    shape = (graph.num_nodes, graph.num_nodes)
    matrix = csr_array((graph.weights, graph.indices, graph.indptr), shape=shape)

    def search(source: int, target: int) -> Sequence[int]:
        _, before = csgraph.dijkstra(matrix, indices=source, return_predecessors=True)
        return _traced(before, source, target)

    return search


def _networkx(graph: LatentGraph, codes: Codes) -> Searcher:
    import networkx

    del codes
    ends, weights = graph.edges()
    made = networkx.Graph()
    made.add_weighted_edges_from(zip(*ends.T.tolist(), weights.tolist(), strict=True))
    return lambda source, target: networkx.shortest_path(made, source, target, weight="weight")


def _rustworkx(graph: LatentGraph, codes: Codes) -> Searcher:
    import rustworkx

    del codes
    ends, weights = graph.edges()
    made = rustworkx.PyGraph(multigraph=False)
    made.add_nodes_from(range(graph.num_nodes))
    made.add_edges_from(list(zip(*ends.T.tolist(), weights.tolist(), strict=True)))
    return lambda source, target: list(
        rustworkx.dijkstra_shortest_paths(made, source, target=target, weight_fn=float)[target]
    )


def _networkit_from_both_ends(graph: LatentGraph, codes: Codes) -> Searcher:
    import networkit

    del codes
    made = _for_networkit(graph)

    def search(source: int, target: int) -> Sequence[int]:
        run = networkit.distance.BidirectionalDijkstra(made, source, target).run()
        return [source, *run.getPath(), target]

    return search


def _networkit_astar(graph: LatentGraph, codes: Codes) -> Searcher:
    """Return networkit's A*; it takes the heuristic of every node as a list."""
    import networkit

    made = _for_networkit(graph)

    def search(source: int, target: int) -> Sequence[int]:
        straight = neighbors.distances(codes, codes[target])
        run = networkit.distance.AStar(made, straight.tolist(), source, target).run()
        return [source, *run.getPath(), target]

    return search


def _for_networkit(graph: LatentGraph) -> object:
    import networkit

    ends, weights = graph.edges()
    coordinates = (weights, (ends[:, 0], ends[:, 1]))
    return networkit.GraphFromCoo(coordinates, n=graph.num_nodes, weighted=True)


def _in_python(graph: LatentGraph, codes: Codes) -> Searcher:
    """Return cryoDRGN's search on our graph; on its own, most pairs have no path."""
    del codes
    steps = list(zip(graph.indices.tolist(), graph.weights.tolist(), strict=True))
    bounds = graph.indptr.tolist()
    neighbours = [steps[start:stop] for start, stop in itertools.pairwise(bounds)]
    return lambda source, target: cryodrgn.shortest_path(neighbours, source, target)


def _traced(before: Int[np.ndarray, "node"], source: int, target: int) -> list[int]:
    """Return the nodes on the way, from the node that each was reached from."""
    nodes = [target]
    while nodes[-1] != source:
        nodes.append(int(before[nodes[-1]]))
    return nodes[::-1]


IGRAPH = Peer("igraph", "igraph", _igraph)
NETWORKIT = Peer("networkit, from both ends", "networkit", _networkit_from_both_ends)
# It needs edges that are no shorter than the straight line.
NETWORKIT_ASTAR = Peer("networkit, A*", "networkit", _networkit_astar)
SCIPY = Peer("scipy", "scipy", _scipy)
RUSTWORKX = Peer("rustworkx", "rustworkx", _rustworkx)
NETWORKX = Peer("networkx", "networkx", _networkx)
CRYODRGN = Peer("cryoDRGN's search, in Python", "heapq", _in_python)
