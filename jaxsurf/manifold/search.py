"""Shortest paths in a `LatentGraph`.

Ends are node numbers. A path lists its nodes from source to target, both counted; its length is
the sum of the weights of its edges. Two ends in different components are an error, never an empty
path. Where several paths are equally short, any one of them comes back.

Every method finds a shortest path; a path says which one found it:

- `igraph`: the library's Dijkstra. `auto` leaves small graphs to it.
- `dijkstra`: compiled, one search for all targets of a source.
- `bidirectional`: from both ends at once.
- `astar`: first towards the target, by the straight line. It needs codes, and a graph that
  promises that no edge is shorter than the straight line (its `weight` is `latent`).
- `landmarks`: the same by distances to some nodes that are made once, whatever edges weigh. `auto`
  makes them when they pay.

Compiled searches run on all cores. Beside the graph they take 32 bytes a node and core (twice that
for `bidirectional`), 12 an entry, and 64 a node for landmarks.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.shortest_paths import ends, plain, visiting
from jaxsurf.manifold.shortest_paths.node_path import Engine, NodePath

Codes = Real[np.ndarray, "node latent"]
Method = Literal["auto", Engine]
Order = Literal["given", "best"]
LengthMethod = Literal["auto", "igraph", "dijkstra", "relaxation"]

# Below so many nodes igraph is done before the compiler is loaded; with many sources, below so many
# nodes in all.
_FEW_NODES = 20_000
_FEW_VISITS = 2_000_000
# Lengths from a thousand anchors to all nodes don't all fit in memory; so many of them do.
_LENGTHS_AT_ONCE = 1 << 24


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
        method: how the legs were searched for; several names if in several ways.
        proven: whether no other order is shorter; None where the order was given.
    """

    nodes: Int[np.ndarray, "step"]
    length: float
    order: tuple[int, ...]
    places: tuple[int, ...]
    method: str
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
        codes: the latent codes of the nodes, where they are known. They may speed up the search,
            most so if the same array is given every time, since it is looked through once.
        method: how to search; with `auto`, the paths say how it was done.

    Returns:
        The paths in the order of the pairs.

    Raises:
        UserError: an end is no node of the graph, two ends are in different components, the method
            is not known, codes are not one a node or not finite, or `astar` lacks what it needs.
    """
    _check_known("method", method, Method)
    for source, target in pairs:
        ends.check(graph, {"source": source, "target": target})
    if codes is not None and codes.shape[:1] != (graph.num_nodes,):
        raise UserError(
            f"{len(codes)} codes for {graph.num_nodes} nodes", cure="give one code a node"
        )
    wanted = [(int(source), int(target)) for source, target in pairs]
    if method == "igraph" or (method == "auto" and _is_small(graph, len(pairs))):
        return plain.paths(graph, wanted)
    # Where it is needed, see `jaxsurf.manifold.compilation`.
    from jaxsurf.manifold.shortest_paths import planning

    if method == "astar":
        planning.check_straight(graph, codes)
    return planning.paths(graph, wanted, method=None if method == "auto" else method, codes=codes)


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
        method: as for `shortest_paths`; what decides an order is found by `distances`.

    Raises:
        UserError: there are no anchors, one is no node of the graph, or two are in different
            components.
    """
    _check_known("order", order, Order)
    if not len(anchors):
        raise UserError("no anchors were given", cure="give at least one node to pass")
    ends.check(graph, {f"anchor {place}": node for place, node in enumerate(anchors)})
    stops, proven = list(range(len(anchors))), None
    if order == "best":
        lengths = _pairwise(graph, anchors)
        stops, proven = visiting.best_order(lengths, loop=loop)
    stops += stops[:1] if loop else []
    # One stop alone is a leg to itself.
    legs = [(anchors[a], anchors[b]) for a, b in zip(stops, stops[1:] or stops, strict=False)]
    return _joined(shortest_paths(graph, legs, codes=codes, method=method), stops, proven)


def distances(
    graph: LatentGraph, sources: Sequence[int], *, method: LengthMethod = "auto"
) -> Float[np.ndarray, "source node"]:
    """Return the lengths of shortest paths from several nodes to every node.

    Args:
        graph: where to look.
        sources: the nodes to start from.
        method: `igraph`; `dijkstra`, compiled, on all cores; `relaxation`, all sources at once, on
            the device where JAX computes. `auto` leaves small graphs to the first, and others to
            the last where there is an accelerator. All of them compute in float64 and differ by
            rounding alone.

    Returns:
        One row a source; inf where no path leads.

    Raises:
        UserError: a source is no node of the graph, or the method is not known.
    """
    _check_known("method", method, LengthMethod)
    for place, source in enumerate(sources):
        ends.check_node(graph, f"source {place}", source)
    starts = np.asarray(sources, dtype=np.int64)
    if method == "igraph" or (method == "auto" and _is_small(graph, len(starts))):
        return plain.lengths(graph, starts)
    # Where they are needed: the compiler and JAX take longer to load than a small graph to search.
    from jaxsurf.manifold.shortest_paths import finder, relaxation

    if method == "relaxation" or (method == "auto" and relaxation.is_quicker()):
        return relaxation.lengths(graph, starts)
    return finder.of(graph).lengths(starts)


def _is_small(graph: LatentGraph, num_searches: int) -> bool:
    """Return whether igraph is likely to be as quick as anything."""
    return graph.num_nodes < _FEW_NODES and graph.num_nodes * num_searches < _FEW_VISITS


def _pairwise(graph: LatentGraph, nodes: Sequence[int]) -> Float[np.ndarray, "anchor anchor"]:
    """Return the lengths of shortest paths between all anchors."""
    step = max(1, _LENGTHS_AT_ONCE // graph.num_nodes)
    rows = [
        distances(graph, nodes[start : start + step])[:, nodes]
        for start in range(0, len(nodes), step)
    ]
    lengths = np.concatenate(rows)
    # There and back, sums are rounded differently.
    return np.minimum(lengths, lengths.T)


def _joined(legs: Sequence[NodePath], stops: Sequence[int], proven: bool | None) -> Visit:
    """Return legs one behind the other, each starting where the one before it ends."""
    places = [0, *itertools.accumulate(len(leg.nodes) - 1 for leg in legs)]
    return Visit(
        nodes=np.concatenate([legs[0].nodes[:1], *(leg.nodes[1:] for leg in legs)]),
        length=sum(leg.length for leg in legs),
        order=tuple(stops),
        places=tuple(places[: len(stops)]),
        method=", ".join(dict.fromkeys(leg.method for leg in legs)),
        proven=proven,
    )


def _check_known(name: str, value: str, known: object) -> None:
    if value not in get_args(known):
        raise UserError(
            f"search {name} {value!r} is not known",
            cure=f"use one of: {', '.join(get_args(known))}",
        )
