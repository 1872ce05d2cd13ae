"""Lengths from many sources at once, on whatever device JAX computes: for accelerators.

A step looks from every node at all its neighbours and keeps the shortest path (Bellman-Ford); the
last step is the one that changes nothing. Work is a multiple of Dijkstra's, but it is the same for
all nodes and all sources, which is what such devices are made for. Everything is in float64:
lengths are those of paths, up to the order in which weights are added up. A step holds about four
arrays with an entry a node and source: whoever has very many sources asks for some at a time.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxsurf.manifold.latent_graph import LatentGraph

# Somewhat above the mean number of neighbours in a symmetric graph of 10 nearest ones.
_WIDTH = 16


class _Table(NamedTuple):
    """Neighbours in rows of one width: a row for each node, then more for those with many."""

    neighbours: Int[np.ndarray, "row slot"]  # the node itself in slots that are left over
    weights: Float[np.ndarray, "row slot"]
    owners: Int[np.ndarray, "further_row"]  # the node of each further row


def lengths(
    graph: LatentGraph, sources: Int[np.ndarray, "source"]
) -> Float[np.ndarray, "source node"]:
    """Return the lengths of shortest paths from each source to every node; inf where none leads."""
    nodes = np.arange(graph.num_nodes)
    further = np.maximum(0, -(-np.diff(graph.indptr) // _WIDTH) - 1)
    owners = np.repeat(nodes, further)
    first = graph.num_nodes + np.cumsum(further) - further
    part, slots = np.divmod(np.arange(len(graph.indices)) - graph.indptr[graph.rows], _WIDTH)
    rows = np.where(part == 0, graph.rows, first[graph.rows] + part - 1)
    neighbours = np.repeat(np.append(nodes, owners)[:, None], _WIDTH, axis=1).astype(np.int32)
    weights = np.zeros(neighbours.shape)
    neighbours[rows, slots], weights[rows, slots] = graph.indices, graph.weights
    table = _Table(neighbours, weights, owners.astype(np.int32))
    with jax.enable_x64(True):
        found = _relax(jax.device_put(table), jnp.asarray(sources), graph.num_nodes)
        return np.array(found).T


@jax.jit(static_argnums=2)
def _relax(
    table: _Table, sources: Int[Array, "source"], num_nodes: int
) -> Float[Array, "node source"]:
    def step(
        state: tuple[Float[Array, "node source"], Bool[Array, ""]],
    ) -> tuple[Float[Array, "node source"], Bool[Array, ""]]:
        lengths, _ = state
        best = jnp.full((len(table.neighbours), len(sources)), jnp.inf)
        for slot in range(_WIDTH):
            through = lengths[table.neighbours[:, slot]] + table.weights[:, slot, None]
            best = jnp.minimum(best, through)
        shorter = jnp.minimum(lengths, best[:num_nodes])
        shorter = shorter.at[table.owners].min(best[num_nodes:])
        return shorter, (shorter < lengths).any()

    start = jnp.full((num_nodes, len(sources)), jnp.inf)
    start = start.at[sources, jnp.arange(len(sources))].set(0.0)
    return jax.lax.while_loop(lambda state: state[1], step, (start, jnp.asarray(num_nodes > 1)))[0]
