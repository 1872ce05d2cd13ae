"""Whether two searches found paths of the same lengths."""

from collections.abc import Sequence

import numpy as np

from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.shortest_path import NodePath

TOLERANCE = 1e-6


def check_equal(
    graph: LatentGraph, ours: Sequence[NodePath], theirs: Sequence[Sequence[int]]
) -> None:
    """Refuse paths that differ in length by more than `TOLERANCE` of it.

    Args:
        graph: in which they lie; lengths are added up from its edges.
        ours: as many as theirs, or more of which these are the first.
        theirs: nodes on the way.

    Raises:
        ValueError: two differ, one is no walk in the graph, or both don't join the same ends.
    """
    for mine, nodes in zip(ours, theirs, strict=False):
        walk = np.asarray(nodes)
        if (walk[0], walk[-1]) != (mine.nodes[0], mine.nodes[-1]):
            raise ValueError(f"a path from {walk[0]} to {walk[-1]} is compared with {mine.nodes}")
        lengths = [graph.weights_along(way).sum() for way in (mine.nodes, walk)]
        lengths.append(mine.length)
        if max(lengths) - min(lengths) > TOLERANCE * min(lengths):
            raise ValueError(
                f"from {walk[0]} to {walk[-1]} the paths are {lengths[0]:.9g} and {lengths[1]:.9g} "
                f"long, ours is said to be {lengths[2]:.9g}"
            )
