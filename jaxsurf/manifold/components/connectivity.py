"""Whether a graph is of one piece, and whether a path can join some nodes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from jaxsurf.errors import UserError
from jaxsurf.manifold.edges.csr import LatentGraph

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
    graph: LatentGraph, nodes: Sequence[int], *, names: Sequence[str] | None = None
) -> None:
    """Refuse nodes that no path passes all of.

    Args:
        graph: where a path is looked for.
        nodes: at least one.
        names: what to call each in the message; None for their numbers.

    Raises:
        UserError: one lies in another component than the first.
    """
    theirs = graph.components[np.asarray(nodes)]
    apart = np.flatnonzero(theirs != theirs[0])
    if apart.size:
        called, sizes = names or [str(node) for node in nodes], np.bincount(graph.components)
        raise UserError(
            f"no path joins {called[0]} and {called[apart[0]]}: they lie in different components "
            f"of the graph, of {sizes[theirs[0]]} and {sizes[theirs[apart[0]]]} nodes; it has "
            f"{of(graph)}",
            cure="use graph.repair (--repair), which bridges the gaps, a larger k or radius, or "
            "graph.kind=smallest, which always connects",
        )
