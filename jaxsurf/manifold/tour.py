"""Codes of any model in, the path past some of them out: neither model nor images are needed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid, knn, outside, path, search
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.manifold.path import LatentPath
from jaxsurf.manifold.search import Order

# Neighbours that join a code from outside the set to the graph.
OUTSIDE_NEIGHBOURS = 4


def find_paths(
    codes: Real[np.ndarray, "point latent"],
    anchors: Sequence[int | Real[np.ndarray, "latent"] | Sequence[float]],
    *,
    loop: bool = False,
    order: Order = "given",
    graph: GraphConfig | None = None,
    frames: int | None = None,
    points_per_edge: int = 2,
) -> LatentPath:
    """Return the shortest path past anchors in the graph over codes.

    Args:
        codes: one row a point.
        anchors: two or more to pass: row numbers, counted from 0, or codes that are not among the
            rows.
        loop: whether the path goes back to the first anchor.
        order: `given`, or `best`, which starts at the first anchor and is as short as possible.
        graph: which one; None is the k-NN graph of the smallest k that connects all
            points, whose edges weigh their lengths.
        frames: so many points at constant speed along the path.
        points_per_edge: without `frames`, points on each edge, both ends counted; with 2, the
            codes on the path and nothing between.

    Raises:
        UserError: there are too few anchors, one is no row and no code, there is no such graph, or
            no path in it.
    """
    config = graph or GraphConfig(weight="latent")
    if len(anchors) < 2:
        raise UserError(f"{len(anchors)} anchors were given", cure="give at least two")
    index = knn.Index(euclid.check(np.asarray(codes), origin="codes"))
    num_points, size = index.codes.shape
    nodes: list[int] = []
    added: list[np.ndarray] = []
    for place, anchor in enumerate(anchors):
        if np.ndim(anchor) == 0 and np.issubdtype(np.asarray(anchor).dtype, np.integer):
            if not 0 <= int(anchor) < num_points:  # pyright: ignore[reportArgumentType]
                raise UserError(
                    f"anchor {anchor} is out of range: there are {num_points} codes",
                    cure=f"give rows from 0 to {num_points - 1}",
                )
            nodes.append(int(anchor))  # pyright: ignore[reportArgumentType]
        elif np.shape(anchor) == (size,):
            nodes.append(num_points + len(added))
            added.append(np.asarray(anchor, np.float64))
        else:
            raise UserError(
                f"anchor {place} is {anchor!r}, neither a row number nor a code of {size} numbers",
                cure=f"give rows from 0 to {num_points - 1}, or codes of {size} numbers",
            )
    built, all_codes = graphs.build(index, config), index.codes
    if added:
        k = min(OUTSIDE_NEIGHBOURS, num_points)
        built = outside.attach(built, index, np.stack(added), k=k)
        all_codes = np.concatenate([all_codes, np.stack(added)])
    connectivity.check_joined(built, nodes)
    visit = search.through(built, nodes, loop=loop, order=order, codes=all_codes)
    corners = all_codes[visit.nodes]
    if frames is not None:
        return path.constant_speed(corners, frames=frames)
    return path.per_edge(corners, points_per_edge=points_per_edge)
