"""igraph's Dijkstra: it searches small graphs, and other engines must agree with it."""

import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.shortest_paths.node_path import NodePath

if TYPE_CHECKING:
    import igraph

_engines: "weakref.WeakKeyDictionary[LatentGraph, igraph.Graph]" = weakref.WeakKeyDictionary()


def paths(graph: LatentGraph, pairs: Sequence[tuple[int, int]]) -> list[NodePath]:
    """Return a shortest path for each pair of nodes; pairs of one source share one search.

    Args:
        graph: where to look.
        pairs: sources and targets, joined by some path.
    """
    places: dict[int, list[int]] = defaultdict(list)
    for place, (source, _) in enumerate(pairs):
        places[source].append(place)
    found: dict[int, NodePath] = {}
    for source, mine in places.items():
        walks = engine(graph).get_shortest_paths(
            source, to=[pairs[place][1] for place in mine], weights="weight", output="vpath"
        )
        for place, nodes in zip(mine, walks, strict=True):
            walk = np.asarray(nodes, dtype=np.int64)
            found[place] = NodePath(walk, float(graph.weights_along(walk).sum()), "igraph")
    return [found[place] for place in range(len(pairs))]


def lengths(
    graph: LatentGraph, sources: Int[np.ndarray, "source"]
) -> Float[np.ndarray, "source node"]:
    """Return the length of a shortest path from each source to every node; inf where none leads."""
    unique, places = np.unique(sources, return_inverse=True)  # igraph refuses repeated sources
    found = engine(graph).distances(unique.tolist(), weights="weight")
    return np.reshape(np.asarray(found, dtype=np.float64), (-1, graph.num_nodes))[places]


def engine(graph: LatentGraph) -> "igraph.Graph":
    """Return the same graph for igraph, its edge weights as the attribute `weight`.

    It is made at the first call and kept as long as `graph` lives.
    """
    import igraph  # here, since it brings a part of matplotlib along

    if graph not in _engines:
        ends, weights = graph.edges()
        # From pairs as they are made: igraph takes longer over a list of them, or over an array.
        made = igraph.Graph(
            graph.num_nodes, zip(ends[:, 0].tolist(), ends[:, 1].tolist(), strict=True)
        )
        made.es["weight"] = weights.tolist()
        _engines[graph] = made
    return _engines[graph]
