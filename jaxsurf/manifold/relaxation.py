"""Lengths from many sources at once, on whatever device JAX computes: for accelerators.

A step looks from every node at all its neighbours and keeps the shortest path (Bellman-Ford); the
last step is the one that changes nothing. Work is a multiple of Dijkstra's, but it is the same for
all nodes and all sources, which is what such devices are made for. Everything is in float64:
lengths are those of paths, up to the order in which weights are added up. A step holds about four
arrays with an entry a node and source: whoever has very many sources asks for some at a time.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxsurf.manifold.latent_graph import LatentGraph

# Somewhat above the mean number of neighbours in a symmetric graph of 10 nearest ones.
_WIDTH = 16


def lengths(
    graph: LatentGraph, sources: Int[np.ndarray, "source"]
) -> Float[np.ndarray, "source node"]:
    """Return the lengths of shortest paths from each source to every node; inf where none leads."""
    nodes = np.arange(graph.num_nodes)
    # Neighbours in rows of one width: a row for each node, then more for those with many. Slots
    # that are left over hold the node itself.
    further = np.maximum(0, -(-np.diff(graph.indptr) // _WIDTH) - 1)
    owners = np.repeat(nodes, further)
    first = graph.num_nodes + np.cumsum(further) - further
    part, slots = np.divmod(np.arange(len(graph.indices)) - graph.indptr[graph.rows], _WIDTH)
    rows = np.where(part == 0, graph.rows, first[graph.rows] + part - 1)
    neighbours = np.repeat(np.append(nodes, owners)[:, None], _WIDTH, axis=1).astype(np.int32)
    weights = np.zeros(neighbours.shape)
    neighbours[rows, slots], weights[rows, slots] = graph.indices, graph.weights
    with jax.enable_x64(True):
        table = jax.device_put((neighbours, weights, owners.astype(np.int32), sources))
        return np.array(_relax(*table, graph.num_nodes)).T


@jax.jit(static_argnums=4)
def _relax(
    neighbours: Int[Array, "row slot"],
    weights: Float[Array, "row slot"],
    owners: Int[Array, "further_row"],  # the node of each further row
    sources: Int[Array, "source"],
    num_nodes: int,
) -> Float[Array, "node source"]:
    def step(
        state: tuple[Float[Array, "node source"], Bool[Array, ""]],
    ) -> tuple[Float[Array, "node source"], Bool[Array, ""]]:
        lengths, _ = state
        best = jnp.full((len(neighbours), len(sources)), jnp.inf)
        for slot in range(_WIDTH):
            through = lengths[neighbours[:, slot]] + weights[:, slot, None]
            best = jnp.minimum(best, through)
        shorter = jnp.minimum(lengths, best[:num_nodes])
        shorter = shorter.at[owners].min(best[num_nodes:])
        return shorter, (shorter < lengths).any()

    start = jnp.full((num_nodes, len(sources)), jnp.inf)
    start = start.at[sources, jnp.arange(len(sources))].set(0.0)
    return jax.lax.while_loop(lambda state: state[1], step, (start, jnp.asarray(num_nodes > 1)))[0]
