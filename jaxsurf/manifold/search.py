"""Shortest paths in a `LatentGraph`.

Ends are node numbers. A path lists its nodes from source to target, both counted; its length is
the sum of the weights of its edges. Two ends in different components are an error, never an empty
path. Where several paths are equally short, any one of them comes back.
"""

import weakref
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import igraph
import numpy as np
from jaxtyping import Int

from jaxsurf.errors import UserError
from jaxsurf.manifold.csr import LatentGraph

_engines: weakref.WeakKeyDictionary[LatentGraph, igraph.Graph] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class NodePath:
    """A path through a graph."""

    nodes: Int[np.ndarray, "step"]
    length: float


def shortest_path(graph: LatentGraph, source: int, target: int) -> NodePath:
    """Return a shortest path between two nodes.

    Args:
        graph: where to look.
        source: the first node.
        target: the last node; if it is the source, the path is that node, of length 0.

    Raises:
        UserError: an end is no node of the graph, or they are in different components.
    """
    return shortest_paths(graph, [(source, target)])[0]


def shortest_paths(graph: LatentGraph, pairs: Sequence[tuple[int, int]]) -> list[NodePath]:
    """Return a shortest path for each pair of nodes; pairs of one source share one search.

    Args:
        graph: where to look.
        pairs: sources and targets.

    Returns:
        The paths in the order of the pairs.

    Raises:
        UserError: an end is no node of the graph, or two ends are in different components.
    """
    places: dict[int, list[int]] = defaultdict(list)
    for place, (source, target) in enumerate(pairs):
        _check_ends(graph, source, target)
        places[int(source)].append(place)
    paths: dict[int, NodePath] = {}
    for source, mine in places.items():
        # Components are checked above: igraph only warns of a target that it cannot reach.
        found = engine(graph).get_shortest_paths(
            source, to=[int(pairs[place][1]) for place in mine], weights="weight", output="vpath"
        )
        paths |= {place: _node_path(graph, nodes) for place, nodes in zip(mine, found, strict=True)}
    return [paths[place] for place in range(len(pairs))]


def engine(graph: LatentGraph) -> igraph.Graph:
    """Return the same graph for igraph, its edge weights as the attribute `weight`.

    It is made at the first call and kept as long as `graph` lives.
    """
    if graph not in _engines:
        ends, weights = graph.edges()
        # From a list: igraph takes seven times as long over an array.
        made = igraph.Graph(graph.num_nodes, ends.tolist())
        made.es["weight"] = weights.tolist()
        _engines[graph] = made
    return _engines[graph]


def _node_path(graph: LatentGraph, nodes: list[int]) -> NodePath:
    walk = np.asarray(nodes, dtype=np.int64)
    return NodePath(walk, float(graph.weights_along(walk).sum()))


def _check_ends(graph: LatentGraph, source: int, target: int) -> None:
    for name, node in (("source", source), ("target", target)):
        if not 0 <= node < graph.num_nodes:
            raise UserError(
                f"{name} is {node}, but the graph has {graph.num_nodes} nodes",
                cure=f"use a number from 0 to {graph.num_nodes - 1}",
            )
    components = graph.components
    here, there = components[source], components[target]
    if here != there:
        sizes = np.bincount(components)
        raise UserError(
            f"no path joins {source} and {target}: they lie in different components of the graph, "
            f"of {sizes[here]} and {sizes[there]} nodes",
            cure="use a larger k or radius, or graph.kind=smallest, which always connects",
        )
