"""Points from outside a set join its graph as further nodes.

A point belongs to the component of the code nearest to it. An edge of its that leads to another
component is a bridge, as those of a repair are, so that a path can tell where it crosses a gap.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Real

from jaxsurf.manifold import knn
from jaxsurf.manifold.edges import altering, weighting
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.weighting import Distance

# Neighbours that join what is from outside a set to its graph: as many as the report's k.
OUTSIDE_NEIGHBOURS = 4


def attach(
    graph: LatentGraph,
    codes: Real[np.ndarray, "point latent"] | knn.Index,
    added: Real[np.ndarray, "new latent"],
    *,
    k: int,
    distance: Distance | None = None,
) -> LatentGraph:
    """Return a graph with further nodes, each joined to the k codes nearest to it.

    Nothing is built anew: the nodes are put into the rows of their neighbours.

    Args:
        graph: the graph over `codes`; its own edges stay as they are.
        codes: the points of its nodes, or the index of these.
        added: points that become the nodes from `graph.num_nodes` on; not joined to one another.
            Their edges weigh as the graph's own do.
        k: neighbours of each.
        distance: as for `graph.build`, for the nodes of the new graph.

    Raises:
        UserError: the new points are not finite, `k` is larger than the graph, or `distance` is
            missing or gives something negative or not finite.
    """
    weighting.check(graph.weight, distance)
    near = knn.index_of(codes).nearest_to(added, k=k)
    tails = np.repeat(graph.num_nodes + np.arange(len(added)), k)
    weights = weighting.weigh(
        np.stack([near.indices.ravel(), tails], axis=1),
        near.distances.ravel(),
        weight=graph.weight,
        distance=distance,
    )
    components = graph.components[near.indices]
    across = (components != components[:, :1]).ravel()
    bridging = ", which bridges its components" if across.any() else ""
    told = f"{graph.description}, and {len(added)} more joined to their nearest {k}{bridging}"
    made = altering.with_nodes(
        graph, near.indices, np.reshape(weights, near.indices.shape), description=told
    )
    if not bridging:
        return made
    bridges = np.stack([near.indices.ravel()[across], tails[across]], axis=1)
    return replace(made, bridges=np.concatenate([graph.bridges, bridges]))
