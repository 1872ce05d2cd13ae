"""Bridges over the gaps of a graph: the shortest edges that join all its components.

They are the minimum spanning tree of the components, two of which are as far apart as their nearest
points (see `jaxsurf.manifold.components.spanning`). The graph keeps them as its `bridges`, so that
a path can tell where it crosses a gap.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Real

from jaxsurf.manifold import knn
from jaxsurf.manifold.components import connectivity, spanning
from jaxsurf.manifold.edges import altering, weighting
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.weighting import Distance


def bridged(
    graph: LatentGraph,
    codes: Real[np.ndarray, "point latent"] | knn.Index,
    *,
    distance: Distance | None = None,
) -> LatentGraph:
    """Return a graph whose components are joined by the shortest bridges between them.

    Args:
        graph: the graph over `codes`; as it is if it is connected.
        codes: the points of its nodes, or the index of these.
        distance: as for `graph.build`; bridges weigh as the graph's own edges do.

    Raises:
        UserError: it needs a bridge that can't be weighed, or the codes are not finite.
    """
    number = connectivity.of(graph).num_components
    if number <= 1:
        return graph
    found = spanning.bridges(codes, graph.components)
    weights = weighting.weigh(found.ends, found.distances, weight=graph.weight, distance=distance)
    bridges = "a bridge" if number == 2 else f"{number - 1} bridges"
    return replace(
        altering.with_edges(graph, found.ends, weights),
        bridges=np.concatenate([graph.bridges, found.ends]),
        description=f"{graph.description}, its {number} components joined by {bridges}",
    )
