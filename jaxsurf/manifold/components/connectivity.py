"""Whether a graph is of one piece, and what to do where it is not.

A repair adds the shortest bridges that join all components: the minimum spanning tree of the
components, two of which are as far apart as their nearest points (see
`jaxsurf.manifold.components.spanning`). The graph keeps them as its `bridges`, so that a path can
tell where it crosses a gap.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import knn
from jaxsurf.manifold.components import spanning
from jaxsurf.manifold.edges import altering, weighting
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.edges.weighting import Distance

# Sizes of components that are spelled out; a graph may fall into thousands.
_SPELLED = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class Connectivity:
    """The components of a graph.

    Attributes:
        sizes: the number of nodes of each component, largest first.
        isolated: the nodes without an edge, each a component of its own.
    """

    sizes: Int[np.ndarray, "component"]
    isolated: Int[np.ndarray, "isolated"]

    @property
    def num_components(self) -> int:
        """The number of components; a graph is connected if it is 1."""
        return len(self.sizes)

    def __str__(self) -> str:
        if self.num_components == 1:
            return f"connected: one component of {self.sizes[0]:,} nodes"
        sizes = [f"{size:,}" for size in self.sizes[:_SPELLED]]
        more = ["..."] if self.num_components > _SPELLED else []
        alone = f", {len(self.isolated):,} of them isolated points" if len(self.isolated) else ""
        return f"{self.num_components:,} components of {', '.join(sizes + more)} nodes{alone}"


def of(graph: LatentGraph) -> Connectivity:
    """Return what components a graph has."""
    return Connectivity(
        sizes=np.sort(np.bincount(graph.components))[::-1],
        isolated=np.flatnonzero(np.diff(graph.indptr) == 0),
    )


def check_joined(
    graph: LatentGraph, source: int, target: int, *, names: tuple[str, str] | None = None
) -> None:
    """Refuse ends that no path joins.

    Args:
        graph: where a path is looked for.
        source: a node.
        target: a node.
        names: what to call them in the message; None for their numbers.

    Raises:
        UserError: they lie in different components.
    """
    components = graph.components
    here, there = components[source], components[target]
    if here != there:
        sizes = np.bincount(components)
        first, last = names or (str(source), str(target))
        raise UserError(
            f"no path joins {first} and {last}: they lie in different components of the graph, "
            f"of {sizes[here]} and {sizes[there]} nodes; it has {of(graph)}",
            cure="use graph.repair (--repair), which bridges the gaps, a larger k or radius, or "
            "graph.kind=smallest, which always connects",
        )


def repaired(
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
    number = of(graph).num_components
    if number <= 1:
        return graph
    found = spanning.bridges(codes, graph.components)
    weights = weighting.weigh(found.ends, found.distances, weight=graph.weight, distance=distance)
    bridged = "a bridge" if number == 2 else f"{number - 1} bridges"
    return replace(
        altering.with_edges(graph, found.ends, weights),
        bridges=np.concatenate([graph.bridges, found.ends]),
        description=f"{graph.description}, its {number} components joined by {bridged}",
    )
