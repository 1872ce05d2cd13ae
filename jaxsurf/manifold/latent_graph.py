"""The graph over latent codes as three arrays: how it is made, checked, changed and kept on disk.

A `LatentGraph` is undirected and without loops; edges have a weight of 0 or more. It is kept in
compressed sparse rows, each edge once in the row of either end, columns ascending: node i is
joined to `indices[indptr[i]:indptr[i + 1]]`.

An edge of weight 0 (between equal codes, or equal images) is an edge like any other. SciPy drops
zeros when it adds matrices, and takes them for no edge when it looks for trees. So it is given
ones, or numbers counted from 1, never weights.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from jaxsurf.errors import UserError
from jaxsurf.workdir import read_cache, write_arrays

_FACTS = ("description", "k", "weight", "recall")
# Sizes of components that are spelled out; a graph may fall into thousands.
_SPELLED = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentGraph:
    """An undirected weighted graph, nodes 0 .. num_nodes - 1."""

    indptr: Int[np.ndarray, "node_plus_1"]
    indices: Int[np.ndarray, "entry"]
    weights: Float[np.ndarray, "entry"]
    k: int = 0  # of a k-NN graph; 0 for any other graph
    description: str = ""  # how the graph was made, in words
    weight: str = "given"
    """What the weights are (see `jaxsurf.manifold.graph`); further nodes are joined alike. It is
    `latent` only where each weight is the Euclidean length of the edge between the codes of its
    ends, so that no path is shorter than the straight line; of `given` ones nothing is known."""
    recall: float = 1.0  # the measured share of true neighbours among those it was made from
    bridges: Int[np.ndarray, "bridge 2"] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    """The edges that a repair added, lower end first, of those between images the ones over gaps
    alone, and those that join points from outside to further components."""

    @property
    def num_nodes(self) -> int:
        """The number of nodes."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """The number of edges, each counted once."""
        return len(self.indices) // 2

    @functools.cached_property
    def rows(self) -> Int[np.ndarray, "entry"]:
        """The node in whose row each entry stands."""
        return np.repeat(np.arange(self.num_nodes), np.diff(self.indptr))

    @functools.cached_property
    def components(self) -> Int[np.ndarray, "node"]:
        """The number of the connected component of each node, counted from 0."""
        ones = np.ones(len(self.indices), dtype=np.int8)
        return scipy.sparse.csgraph.connected_components(self.matrix(ones), directed=False)[1]

    def matrix(self, entries: np.ndarray) -> "scipy.sparse.csr_array":
        """Return SciPy's matrix with these entries in place of the weights."""
        shape = (self.num_nodes, self.num_nodes)
        return scipy.sparse.csr_array((entries, self.indices, self.indptr), shape=shape)

    def edges(self) -> tuple[Int[np.ndarray, "edge 2"], Float[np.ndarray, "edge"]]:
        """Return each edge once, lower end first, in order of the ends, and the weights."""
        once = self.rows < self.indices
        return np.stack([self.rows[once], self.indices[once]], axis=1), self.weights[once]

    def own_facts(self) -> dict[str, Any]:
        """Return the fields that say how the graph was made."""
        return {name: getattr(self, name) for name in _FACTS}

    def facts(self) -> dict[str, Any]:
        """Return what is written down about the graph beside a result that it led to."""
        return {
            **self.own_facts(),
            "nodes": self.num_nodes,
            "edges": self.num_edges,
            "components": int(self.components.max(initial=-1)) + 1,
            "bridges": len(self.bridges),
        }

    def bridges_along(self, nodes: Int[np.ndarray, "step"]) -> Int[np.ndarray, "bridge 2"]:
        """Return the edges of a walk that are bridges, in the order and direction it takes."""
        steps = np.stack([nodes[:-1], nodes[1:]], axis=1)
        return steps[are_among(np.sort(steps, axis=1), self.bridges)]

    def weights_along(self, nodes: Int[np.ndarray, "step"]) -> Float[np.ndarray, "edge"]:
        """Return the weights of the edges that a walk takes."""
        tails, heads = np.asarray(nodes)[:-1], np.asarray(nodes)[1:]
        bounds = zip(self.indptr[tails], self.indptr[tails + 1], heads, strict=True)
        places = [start + np.searchsorted(self.indices[start:end], h) for start, end, h in bounds]
        found = np.array(places, dtype=np.int64)
        if (found >= self.indptr[tails + 1]).any() or (self.indices[found] != heads).any():
            raise ValueError(f"{nodes} is not a walk in this graph")
        return self.weights[found]


def are_among(
    ends: Int[np.ndarray, "pair 2"], others: Int[np.ndarray, "edge 2"]
) -> Bool[np.ndarray, "pair"]:
    """Return which pairs of nodes are among others; all have the lower end first."""
    digits = [1 + int(max(ends.max(initial=0), others.max(initial=0))), 1]
    return np.isin(ends @ digits, others @ digits)


def from_edges(
    ends: Int[np.ndarray, "listed 2"],
    weights: Float[np.ndarray, "listed"],
    *,
    num_nodes: int,
    mutual: bool = False,
    **facts: Any,  # noqa: ANN401 - fields of several types
) -> LatentGraph:
    """Return the graph of these edges.

    Args:
        ends: two different nodes an edge, in either order; an edge may come twice.
        weights: finite, 0 or more; of an edge that comes twice, the first counts.
        num_nodes: how many nodes there are.
        mutual: whether to leave out edges that come only once.
        **facts: other fields of the graph, such as `k` and `description`.
    """
    ends, weights = np.asarray(ends, dtype=np.int64), np.asarray(weights, dtype=np.float64)
    _check_weights(ends, weights)
    shape, (tails, heads) = (num_nodes, num_nodes), ends.T
    places = (np.arange(len(ends)), (np.maximum(tails, heads), np.minimum(tails, heads)))
    listed = scipy.sparse.coo_array(places, shape=shape)
    listed.has_canonical_format = True  # else the places of equal edges would be added up
    # Two counting sorts, first by upper, then by lower ends; equals stay in order.
    by_lower: Any = listed.tocsr().tocsc()
    upper, first = by_lower.indices, by_lower.data
    lower = np.repeat(np.arange(num_nodes), np.diff(by_lower.indptr))
    again = (lower[1:] == lower[:-1]) & (upper[1:] == upper[:-1])
    fresh, repeated = np.append(True, ~again)[: len(ends)], np.append(again, False)[: len(ends)]
    kept = np.flatnonzero(fresh & repeated if mutual else fresh)
    starts = np.append(0, np.cumsum(np.bincount(lower[kept], minlength=num_nodes)))
    numbers = np.arange(1, len(kept) + 1)  # from 1: SciPy drops zeros as it adds
    half = scipy.sparse.csr_array((numbers, upper[kept], starts), shape=shape)
    both: Any = (half + half.T).tocsr()
    return LatentGraph(
        indptr=both.indptr.astype(np.int64),
        indices=both.indices.astype(np.int64),
        weights=weights[first[kept]][both.data - 1],
        **facts,
    )


def reweighed(
    graph: LatentGraph, weights: Float[np.ndarray, "edge"], *, weight: str
) -> LatentGraph:
    """Return a graph with other weights, in the order of `graph.edges()`; `weight` names them."""
    once = graph.rows < graph.indices
    _check_weights(np.stack([graph.rows[once], graph.indices[once]], axis=1), weights)
    entries = np.zeros(len(graph.indices))
    entries[once] = weights
    # The transposed matrix has its entries at the same places: in the row of the other end.
    return replace(graph, weights=entries + graph.matrix(entries).tocsc().data, weight=weight)


def with_edges(
    graph: LatentGraph,
    ends: Int[np.ndarray, "edge 2"],
    weights: Float[np.ndarray, "edge"],
    *,
    note: str = "",
    num_nodes: int = 0,
    bridges: Int[np.ndarray, "bridge 2"] | None = None,
) -> LatentGraph:
    """Return a graph with further edges, and nodes if `num_nodes` is given; old weights stay.

    The note is added to the description. Bridges stay too, if no others are given.
    """
    own_ends, own_weights = graph.edges()
    ends, weights = np.concatenate([own_ends, ends]), np.concatenate([own_weights, weights])
    facts: Any = graph.own_facts() | {"description": f"{graph.description}{note}"}
    facts["bridges"] = graph.bridges if bridges is None else bridges
    return from_edges(ends, weights, num_nodes=num_nodes or graph.num_nodes, **facts)


def with_only(graph: LatentGraph, kept: Bool[np.ndarray, "edge"], *, note: str) -> LatentGraph:
    """Return a graph with some of its edges; the note is added to the description."""
    ends, weights = graph.edges()
    facts: Any = graph.own_facts() | {"description": f"{graph.description}{note}"}
    return from_edges(ends[kept], weights[kept], num_nodes=graph.num_nodes, **facts)


def save_graph(path: Path, graph: LatentGraph, *, stamp: str) -> None:
    """Write a graph as a cache bound to `stamp`, which names what it was made from."""
    ends, weights = graph.edges()
    arrays = {"ends": ends, "weights": weights, "bridges": graph.bridges, "nodes": graph.num_nodes}
    write_arrays(path, stamp=stamp, **arrays, **graph.own_facts())


def load_graph(path: Path, *, stamp: str) -> LatentGraph:
    """Return a cached graph; raise a `UserError` where `read_cache` does."""
    names = ("ends", "weights", "nodes", "bridges", *_FACTS)
    ends, weights, nodes, bridges, *facts = read_cache(path, stamp=stamp, names=names).values()
    own: Any = {name: fact.item() for name, fact in zip(_FACTS, facts, strict=True)}
    return from_edges(ends, weights, num_nodes=nodes.item(), bridges=bridges, **own)


def _check_weights(ends: Int[np.ndarray, "edge 2"], weights: Float[np.ndarray, "edge"]) -> None:
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        first = f"the first of edge {ends[bad[0]].tolist()}: {weights[bad[0]]}"
        cause = f"{bad.size} edge weights are negative or not finite, {first}"
        raise UserError(cause, cure="weights are lengths: finite, 0 or more")


def describe_components(graph: LatentGraph) -> str:
    """Return how many components a graph has and how large they are, in words."""
    sizes = np.sort(np.bincount(graph.components))[::-1]
    if len(sizes) == 1:
        return f"connected: one component of {sizes[0]:,} nodes"
    words = [f"{size:,}" for size in sizes[:_SPELLED]] + ["..."] * (len(sizes) > _SPELLED)
    isolated = np.count_nonzero(np.diff(graph.indptr) == 0)
    alone = f", {isolated:,} of them isolated points" if isolated else ""
    return f"{len(sizes):,} components of {', '.join(words)} nodes{alone}"


def check_joined(graph: LatentGraph, nodes: Sequence[int], *, names: Sequence[str]) -> None:
    """Refuse nodes, at least one, that no path passes all of; `names` are for the message."""
    labels = graph.components[np.asarray(nodes)]
    apart = np.flatnonzero(labels != labels[0])
    if apart.size:
        sizes = np.bincount(graph.components)
        raise UserError(
            f"no path joins {names[0]} and {names[apart[0]]}: they lie in different components "
            f"of the graph, of {sizes[labels[0]]} and {sizes[labels[apart[0]]]} nodes; it has "
            f"{describe_components(graph)}",
            cure="use graph.repair (--repair), which bridges the gaps, a larger k or radius, or "
            "graph.kind=smallest, which always connects",
        )
