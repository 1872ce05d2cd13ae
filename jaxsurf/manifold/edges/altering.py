"""A graph out of a graph: with other weights, further edges, or further nodes.

Nothing that stays as it is gets sorted or looked up again.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.edges import csr, edge_lists
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.weighting import Weight

# What a graph finds out about itself once, and what does not depend on weights.
_STRUCTURAL = ("rows", "components")


def reweighed(
    graph: LatentGraph, weights: Float[np.ndarray, "edge"], *, weight: Weight
) -> LatentGraph:
    """Return a graph whose edges weigh something else.

    Args:
        graph: the graph with its old weights.
        weights: of the edges, in the order of `graph.edges()`.
        weight: what they are.

    Raises:
        UserError: a weight is negative or not finite, or there is not one of them an edge.
    """
    ends, _ = graph.edges()
    csr.check_weights(ends, weights)
    upwards = graph.rows < graph.indices
    entries = np.empty(len(graph.indices))
    entries[upwards] = weights
    entries[~upwards] = weights[edge_lists.stable_order(ends[:, 1], graph.num_nodes)]
    made = replace(graph, weights=entries, weight=weight)
    # Both follow from which nodes are joined.
    vars(made).update({name: vars(graph)[name] for name in _STRUCTURAL if name in vars(graph)})
    return made


def with_edges(
    graph: LatentGraph, ends: Int[np.ndarray, "edge 2"], weights: Float[np.ndarray, "edge"]
) -> LatentGraph:
    """Return a graph with further edges; those that it has keep their weight.

    Args:
        graph: the graph without them.
        ends: the nodes that they join.
        weights: what they weigh, as the graph's own do.

    Raises:
        UserError: see `csr.from_edges`.
    """
    if not len(ends):
        return graph
    old_ends, old_weights = graph.edges()
    made = csr.from_edges(
        np.concatenate([old_ends, ends]),
        np.concatenate([old_weights, weights]),
        num_nodes=graph.num_nodes,
    )
    return replace(graph, indptr=made.indptr, indices=made.indices, weights=made.weights)


def with_nodes(
    graph: LatentGraph,
    heads: Int[np.ndarray, "new neighbour"],
    weights: Float[np.ndarray, "new neighbour"],
    *,
    description: str,
) -> LatentGraph:
    """Return a graph with further nodes, which are not joined to one another.

    It takes one pass over the arrays: a further node has a higher number than all others, so it
    stands last in the rows of its neighbours.

    Args:
        graph: the graph without them.
        heads: the nodes that each of them is joined to, all different.
        weights: what these edges weigh, as the graph's own do.
        description: kept with the new graph.

    Raises:
        UserError: a weight is negative or not finite.
    """
    new, neighbours = heads.shape
    tails = np.repeat(graph.num_nodes + np.arange(new), neighbours)
    csr.check_weights(np.stack([heads.ravel(), tails], axis=1), weights.ravel())
    ranks = np.argsort(heads, axis=1)
    own_heads = np.take_along_axis(heads, ranks, axis=1).ravel()
    own_weights = np.take_along_axis(weights, ranks, axis=1).ravel()
    order = np.argsort(own_heads, kind="stable")
    end = len(graph.indices)
    places = np.append(graph.indptr[own_heads[order] + 1], np.full(len(order), end))
    added = np.cumsum(np.bincount(own_heads, minlength=graph.num_nodes))
    indptr = np.append(graph.indptr, end + neighbours * np.arange(1, new + 1))
    indptr[1 : len(added) + 1] += added
    indptr[len(added) + 1 :] += added[-1]
    made = replace(
        graph,
        indptr=indptr,
        indices=np.insert(graph.indices, places, np.append(tails[order], own_heads)),
        weights=np.insert(graph.weights, places, np.append(own_weights[order], own_weights)),
        description=description,
    )
    _keep_components(graph, made, heads)
    return made


def _keep_components(
    graph: LatentGraph, made: LatentGraph, heads: Int[np.ndarray, "new neighbour"]
) -> None:
    """Spare a graph with further nodes the search for its components, where they are known."""
    if "components" not in vars(graph):
        return
    theirs = graph.components[heads]
    if (theirs == theirs[:, :1]).all():
        vars(made)["components"] = np.append(graph.components, theirs[:, 0])
