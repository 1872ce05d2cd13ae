"""Codes of any model in, the path past some of them out: neither model nor images are needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid, knn, outside, path, search
from jaxsurf.manifold import graph as graphs
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.graph_config import GraphConfig
from jaxsurf.manifold.outside import OUTSIDE_NEIGHBOURS
from jaxsurf.manifold.path import LatentPath
from jaxsurf.manifold.search import Order, Visit

# The row of a code, or a code that is none of them.
Anchor = int | Real[np.ndarray, "latent"] | Sequence[float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tour:
    """A shortest path past anchors.

    Attributes:
        graph: the graph over the codes; anchors from outside are its last nodes.
        codes: of its nodes.
        visit: the path in it.
    """

    graph: LatentGraph
    codes: Float[np.ndarray, "node latent"]
    visit: Visit


def make_tour(
    index: knn.Index,
    anchors: Sequence[Anchor],
    config: GraphConfig,
    *,
    loop: bool = False,
    order: Order = "given",
    trim: Callable[[LatentGraph], LatentGraph] | None = None,
    names: Sequence[str] | None = None,
) -> Tour:
    """Return the shortest path past anchors in the graph over codes.

    Args:
        index: of the codes.
        anchors: two or more; equal codes from outside are one node.
        config: which graph.
        loop: as for `find_paths`.
        order: as for `find_paths`.
        trim: as for `graph.build`.
        names: what messages call the anchors; None for their nodes' numbers.

    Raises:
        UserError: a code is not finite, there is no such graph, or no path in it.
    """
    built, codes = graphs.build(index, config, trim=trim), index.codes
    fresh: dict[tuple[float, ...], int] = {}
    nodes = [
        int(anchor)  # pyright: ignore[reportArgumentType]
        if np.ndim(anchor) == 0
        else fresh.setdefault(tuple(np.asarray(anchor, float)), len(codes) + len(fresh))
        for anchor in anchors
    ]
    if fresh:
        added = np.asarray(list(fresh))
        built = outside.attach(built, index, added, k=min(OUTSIDE_NEIGHBOURS, len(codes)))
        codes = np.concatenate([codes, added])
    connectivity.check_joined(built, nodes, names=names)
    visit = search.through(built, nodes, loop=loop, order=order, codes=codes)
    return Tour(graph=built, codes=codes, visit=visit)


def find_paths(
    codes: Real[np.ndarray, "point latent"],
    anchors: Sequence[Anchor],
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
    if len(anchors) < 2:
        raise UserError(f"{len(anchors)} anchors were given", cure="give at least two")
    index = knn.Index(euclid.check(np.asarray(codes), origin="codes"))
    number, size = index.codes.shape
    for place, anchor in enumerate(anchors):
        is_row = np.ndim(anchor) == 0 and np.issubdtype(np.asarray(anchor).dtype, np.integer)
        if is_row and not 0 <= int(anchor) < number:  # pyright: ignore[reportArgumentType]
            raise UserError(
                f"anchor {anchor} is out of range: there are {number} codes",
                cure=f"give rows from 0 to {number - 1}",
            )
        if not is_row and np.shape(anchor) != (size,):
            raise UserError(
                f"anchor {place} is {anchor!r}, neither a row number nor a code of {size} numbers",
                cure=f"give rows from 0 to {number - 1}, or codes of {size} numbers",
            )
    config = graph or GraphConfig(weight="latent")
    tour = make_tour(index, anchors, config, loop=loop, order=order)
    corners = tour.codes[tour.visit.nodes]
    if frames is not None:
        return path.constant_speed(corners, frames=frames)
    return path.per_edge(corners, points_per_edge=points_per_edge)
