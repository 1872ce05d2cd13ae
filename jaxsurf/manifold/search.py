"""Shortest paths in a `LatentGraph`.

Ends are node numbers. A path lists its nodes from source to target, both counted; its length is
the sum of the weights of its edges. Two ends in different components are an error, never an empty
path. Where several paths are equally short, any one of them comes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import plain, visiting
from jaxsurf.manifold.csr import LatentGraph
from jaxsurf.manifold.node_path import Engine, NodePath

Codes = Real[np.ndarray, "node latent"]
Method = Literal["auto", "igraph"]
Order = Literal["given", "best"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Visit:
    """A way past several anchors.

    There is one entry a stop in `order` and `places`; in a loop, the first anchor is the last stop
    as well.

    Attributes:
        nodes: the whole way; a node where two legs meet comes once.
        length: the sum of the weights of its edges, in float64.
        order: which of the given anchors each stop is, counted from 0.
        places: where in `nodes` each stop stands.
        method: how the legs were searched for.
        proven: whether no other order is shorter; None where the order was given.
    """

    nodes: Int[np.ndarray, "step"]
    length: float
    order: tuple[int, ...]
    places: tuple[int, ...]
    method: Engine
    proven: bool | None


def shortest_path(
    graph: LatentGraph,
    source: int,
    target: int,
    *,
    codes: Codes | None = None,
    method: Method = "auto",
) -> NodePath:
    """Return a shortest path between two nodes.

    Args:
        graph: where to look.
        source: the first node.
        target: the last node; if it is the source, the path is that node, of length 0.
        codes: as for `shortest_paths`.
        method: as for `shortest_paths`.

    Raises:
        UserError: as `shortest_paths` does.
    """
    return shortest_paths(graph, [(source, target)], codes=codes, method=method)[0]


def shortest_paths(
    graph: LatentGraph,
    pairs: Sequence[tuple[int, int]],
    *,
    codes: Codes | None = None,
    method: Method = "auto",
) -> list[NodePath]:
    """Return a shortest path for each pair of nodes.

    Args:
        graph: where to look.
        pairs: sources and targets.
        codes: the latent codes of the nodes, where they are known: they may speed up the search.
        method: how to search; the paths say how it was done.

    Returns:
        The paths in the order of the pairs.

    Raises:
        UserError: an end is no node of the graph, or two ends are in different components.
    """
    _check_method(method)
    for source, target in pairs:
        _check_joined(graph, {"source": source, "target": target})
    return plain.paths(graph, [(int(source), int(target)) for source, target in pairs])


def through(
    graph: LatentGraph,
    anchors: Sequence[int],
    *,
    loop: bool = False,
    order: Order = "given",
    codes: Codes | None = None,
    method: Method = "auto",
) -> Visit:
    """Return a shortest way past several nodes.

    Args:
        graph: where to look.
        anchors: the nodes to pass, at least one; a node may come more than once.
        loop: whether the way goes back from the last anchor to the first.
        order: `given`, or `best`, which still starts at the first anchor and, unless it is a loop,
            ends where that is shortest. The best order is exact for up to `visiting.MOST_PROVEN`
            anchors; for more, it is bettered until small changes don't shorten it.
        codes: as for `shortest_paths`.
        method: as for `shortest_paths`.

    Raises:
        UserError: there are no anchors, one is no node of the graph, or two are in different
            components.
    """
    if order not in get_args(Order):
        raise UserError(f"order {order!r} is not known", cure=f"use {' or '.join(get_args(Order))}")
    if not len(anchors):
        raise UserError("no anchors were given", cure="give at least one node to pass")
    _check_joined(graph, {f"anchor {place}": node for place, node in enumerate(anchors)})
    nodes = [int(node) for node in anchors]
    stops, proven = np.arange(len(nodes)), None
    if order == "best":
        stops, proven = visiting.best_order(
            _pairwise(graph, nodes, codes=codes, method=method), loop=loop
        )
    stops = np.append(stops, stops[:1] if loop else stops[:0])
    ends = [nodes[stop] for stop in stops]
    legs = shortest_paths(
        graph, list(zip(ends, ends[1:] or ends, strict=False)), codes=codes, method=method
    )
    return _joined(legs, stops, proven)


def distances(
    graph: LatentGraph, sources: Sequence[int], *, method: Literal["auto", "igraph"] = "auto"
) -> Float[np.ndarray, "source node"]:
    """Return the lengths of shortest paths from several nodes to every node.

    Args:
        graph: where to look.
        sources: the nodes to start from.
        method: how to search.

    Returns:
        One row a source; inf where no path leads.

    Raises:
        UserError: a source is no node of the graph.
    """
    _check_method(method)
    for place, source in enumerate(sources):
        _check_node(graph, f"source {place}", source)
    return plain.lengths(graph, np.asarray(sources, dtype=np.int64))


def _pairwise(
    graph: LatentGraph, nodes: Sequence[int], *, codes: Codes | None, method: Method
) -> Float[np.ndarray, "anchor anchor"]:
    """Return the lengths of shortest paths between all anchors."""
    lower, upper = np.triu_indices(len(nodes), 1)
    pairs = [(nodes[a], nodes[b]) for a, b in zip(lower, upper, strict=True)]
    lengths = np.zeros((len(nodes), len(nodes)))
    found = shortest_paths(graph, pairs, codes=codes, method=method)
    lengths[lower, upper] = [path.length for path in found]
    return lengths + lengths.T


def _joined(legs: Sequence[NodePath], stops: Int[np.ndarray, "stop"], proven: bool | None) -> Visit:
    """Return legs one behind the other, each starting where the one before it ends."""
    places = np.append(0, np.cumsum([len(leg.nodes) - 1 for leg in legs]))
    return Visit(
        nodes=np.concatenate([legs[0].nodes[:1], *(leg.nodes[1:] for leg in legs)]),
        length=sum(leg.length for leg in legs),
        order=tuple(stops.tolist()),
        places=tuple(places[: len(stops)].tolist()),
        method=legs[0].method,
        proven=proven,
    )


def _check_method(method: str) -> None:
    if method not in get_args(Method):
        raise UserError(
            f"search method {method!r} is not known",
            cure=f"use one of: {', '.join(get_args(Method))}",
        )


def _check_joined(graph: LatentGraph, ends: dict[str, int]) -> None:
    """Refuse ends that are no nodes or can't be reached from the first; keys say what they are."""
    for name, node in ends.items():
        _check_node(graph, name, node)
    components = graph.components
    (first, here), *others = ends.items()
    for name, there in others:
        if components[here] != components[there]:
            sizes = np.bincount(components)
            raise UserError(
                f"no path joins {here} ({first}) and {there} ({name}): they lie in different "
                f"components of the graph, of {sizes[components[here]]} and "
                f"{sizes[components[there]]} nodes",
                cure="use a larger k or radius, or graph.kind=smallest, which always connects",
            )


def _check_node(graph: LatentGraph, name: str, node: int) -> None:
    whole = np.asarray(node).ndim == 0 and np.asarray(node).dtype.kind in "iu"
    if not (whole and 0 <= node < graph.num_nodes):
        raise UserError(
            f"{name} is {node}, but the graph has {graph.num_nodes} nodes",
            cure=f"use a number from 0 to {graph.num_nodes - 1}",
        )
