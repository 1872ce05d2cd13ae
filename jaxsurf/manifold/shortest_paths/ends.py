"""What may be an end of a path: the door of every search."""

from collections.abc import Mapping

import numpy as np

from jaxsurf.errors import UserError
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.edges.csr import LatentGraph


def check(graph: LatentGraph, ends: Mapping[str, int]) -> None:
    """Refuse what is no node of a graph, and ends that no path joins.

    Args:
        graph: where a path is asked for.
        ends: nodes, by what they are called.

    Raises:
        UserError: one is no node of the graph, or not in the component of the first one.
    """
    for name, node in ends.items():
        check_node(graph, name, node)
    names = [f"{node} ({name})" for name, node in ends.items()]
    connectivity.check_joined(graph, list(ends.values()), names=names)


def check_node(graph: LatentGraph, name: str, node: int) -> None:
    """Refuse what is no node of a graph.

    Args:
        graph: the graph.
        name: what the node is called.
        node: a whole number.

    Raises:
        UserError: it is none, or too large, or negative.
    """
    given = np.asarray(node)
    if given.ndim or given.dtype.kind not in "iu" or not 0 <= node < graph.num_nodes:
        raise UserError(
            f"{name} is {node}, but the graph has {graph.num_nodes} nodes",
            cure=f"use a whole number from 0 to {graph.num_nodes - 1}",
        )
