"""The graph over latent codes as three arrays.

A `LatentGraph` is undirected and without loops; edges have a weight of 0 or more. It is kept in
compressed sparse rows, each edge once in the row of either end, columns ascending: node i is
joined to `indices[indptr[i]:indptr[i + 1]]`. An edge of weight 0 (between coincident codes, or
equal images) is an edge like any other, which SciPy's graph routines do not promise of explicit
zeros: whatever asks SciPy about structure hands it ones for weights.
"""

import functools
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from scipy.sparse import csgraph

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges import edge_lists
from jaxsurf.manifold.edges.weighting import Given, Weight


def _no_edges() -> Int[np.ndarray, "bridge 2"]:
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentGraph:
    """An undirected weighted graph, nodes 0 .. num_nodes - 1."""

    indptr: Int[np.ndarray, "node_plus_1"]
    indices: Int[np.ndarray, "entry"]
    weights: Float[np.ndarray, "entry"]
    k: int = 0
    """The k of a k-NN graph; 0 for any other graph."""
    description: str = ""
    """How the graph was made, in words."""
    weight: Weight | Given = "given"
    """What the weights are (see `jaxsurf.manifold.edges.weighting`); further nodes are joined
    alike. It is `latent` only where each weight is the Euclidean length of the edge between the
    codes of its ends, so that no path is shorter than the straight line; of `given` ones nothing
    is known."""
    recall: float = 1.0
    """The measured share of true neighbours among those that edges were made from; less than 1
    only of an approximate search."""
    bridges: Int[np.ndarray, "bridge 2"] = field(default_factory=_no_edges)
    """The edges that a repair added, lower end first (see
    `jaxsurf.manifold.components.repair`), and those that join points from outside to further
    components (see `jaxsurf.manifold.outside`)."""

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
        matrix = scipy.sparse.csr_array(
            (ones, self.indices, self.indptr), shape=(self.num_nodes, self.num_nodes)
        )
        return csgraph.connected_components(matrix, directed=False)[1]

    def edges(self) -> tuple[Int[np.ndarray, "edge 2"], Float[np.ndarray, "edge"]]:
        """Return each edge once, lower end first, in order of the ends, and the weights."""
        once = self.rows < self.indices
        return np.stack([self.rows[once], self.indices[once]], axis=1), self.weights[once]

    def facts(self) -> dict[str, str | int | float]:
        """Return what is written down about the graph beside a result that it led to."""
        return {
            "description": self.description,
            "k": self.k,
            "weight": self.weight,
            "recall": self.recall,
            "nodes": self.num_nodes,
            "edges": self.num_edges,
            "components": int(self.components.max(initial=-1)) + 1,
            "bridges": len(self.bridges),
        }

    def bridges_along(self, nodes: Int[np.ndarray, "step"]) -> Int[np.ndarray, "bridge 2"]:
        """Return the edges of a walk that are bridges, in the order and direction it takes."""
        walk, digits = np.asarray(nodes, dtype=np.int64), [self.num_nodes, 1]
        steps = np.stack([walk[:-1], walk[1:]], axis=1)
        return steps[np.isin(np.sort(steps, axis=1) @ digits, self.bridges @ digits)]

    def weights_along(self, nodes: Int[np.ndarray, "step"]) -> Float[np.ndarray, "edge"]:
        """Return the weights of the edges that a walk takes.

        Args:
            nodes: the walk; each node is joined to the next.

        Raises:
            ValueError: it is not a walk in this graph.
        """
        tails, heads = np.asarray(nodes)[:-1], np.asarray(nodes)[1:]
        entries = [
            start + np.searchsorted(self.indices[start:stop], head)
            for start, stop, head in zip(
                self.indptr[tails], self.indptr[tails + 1], heads, strict=True
            )
        ]
        found = np.asarray(entries, dtype=np.int64)
        if (found >= self.indptr[tails + 1]).any() or (self.indices[found] != heads).any():
            raise ValueError(f"{nodes} is not a walk in this graph")
        return self.weights[found]


def from_edges(
    ends: Int[np.ndarray, "edge 2"],
    weights: Float[np.ndarray, "edge"],
    *,
    num_nodes: int,
    k: int = 0,
    description: str = "",
    weight: Weight | Given = "given",
) -> LatentGraph:
    """Return the graph of these edges.

    Args:
        ends: the nodes that each edge joins, in either order; an edge may come twice.
        weights: 0 or more; of an edge that comes twice, the first counts.
        num_nodes: the number of nodes.
        k: kept with the graph.
        description: kept with the graph.
        weight: what the weights are, kept with the graph.

    Raises:
        UserError: an end is no node, an edge joins a node to itself, or a weight is negative or
            not finite.
    """
    ends, weights = np.asarray(ends, dtype=np.int64), np.asarray(weights, dtype=np.float64)
    check_weights(ends, weights)
    _check_ends(ends, num_nodes)
    once = edge_lists.once(ends, num_nodes=num_nodes)
    indptr, indices, edges = edge_lists.mirrored(once.lower, once.upper, num_nodes)
    return LatentGraph(
        indptr=indptr,
        indices=indices,
        weights=weights[once.first][edges],
        k=k,
        description=description,
        weight=weight,
    )


def check(graph: LatentGraph, *, origin: str) -> LatentGraph:
    """Return a graph as it is if its arrays keep the contract of this module.

    Args:
        graph: the graph to look at.
        origin: where it came from, for the message.

    Raises:
        UserError: they do not.
    """
    indptr, indices, weights = graph.indptr, graph.indices, graph.weights
    whole = (
        indptr.ndim == indices.ndim == weights.ndim == 1
        and len(indptr) > 0
        and indptr[0] == 0
        and bool((np.diff(indptr) >= 0).all())
        and indptr[-1] == len(indices) == len(weights)
        and bool(((indices >= 0) & (indices < graph.num_nodes)).all())
    )
    if whole:
        ends, weights = graph.edges()
        again = from_edges(ends, weights, num_nodes=graph.num_nodes)
        digits = [graph.num_nodes, 1]
        whole = (
            all(
                np.array_equal(getattr(graph, name), getattr(again, name))
                for name in ("indptr", "indices", "weights")
            )
            and graph.bridges.shape == (len(graph.bridges), 2)
            and bool(np.isin(graph.bridges @ digits, ends @ digits).all())
        )
    if not whole:
        raise UserError(f"{origin} is not a symmetric graph", cure="remove it and make it again")
    return graph


def check_weights(ends: Int[np.ndarray, "edge 2"], weights: Float[np.ndarray, "edge"]) -> None:
    """Refuse weights that are none.

    Args:
        ends: the nodes that each edge joins.
        weights: what each edge is said to weigh.

    Raises:
        UserError: there is not one of them an edge, one is negative or not finite, or all of them
            add up to what a path can't be as long as.
    """
    if ends.ndim != 2 or ends.shape[1] != 2 or weights.shape != ends.shape[:1]:
        raise UserError(
            f"edges of shape {ends.shape} with weights of shape {weights.shape}",
            cure="give two ends and one weight an edge",
        )
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise UserError(
            f"{bad.size} edge weights are negative or not finite, the first of edge "
            f"{ends[bad[0]].tolist()}: {weights[bad[0]]}",
            cure="weights are lengths: finite, 0 or more",
        )
    with np.errstate(over="ignore"):
        most = 4 * weights.sum()  # searches add up and double lengths
    if not np.isfinite(most):
        raise UserError(
            f"edge weights up to {weights.max():g} add up to more than float64 holds",
            cure="measure in a larger unit: divide the codes by a number",
        )


def _check_ends(ends: np.ndarray, num_nodes: int) -> None:
    if ends.size and not (ends.min() >= 0 and ends.max() < num_nodes):
        raise UserError(
            f"edges join nodes {ends.min()} to {ends.max()}, but nodes are 0 to {num_nodes - 1}"
        )
    loops = np.flatnonzero(ends[:, 0] == ends[:, 1])
    if loops.size:
        raise UserError(f"edge {loops[0]} joins node {ends[loops[0], 0]} to itself")
