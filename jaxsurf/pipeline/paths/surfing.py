"""The shortest way past anchors in the graph over codes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import graph, knn, outside, search
from jaxsurf.manifold.components import connectivity
from jaxsurf.manifold.edges.csr import LatentGraph
from jaxsurf.manifold.search import Visit
from jaxsurf.pipeline.paths.anchors import Anchor
from jaxsurf.pipeline.paths.config import GRAPH, PathsConfig
from jaxsurf.pipeline.paths.sample import Points
from jaxsurf.pipeline.paths.way import NONE, Way, legs_between, timed


def surf(
    points: Points, index: knn.Index, anchors: Sequence[Anchor], config: PathsConfig, num_rows: int
) -> tuple[Way, LatentGraph]:
    """Return the way past anchors, and the graph that it follows.

    Args:
        points: the codes that take part.
        index: of these.
        anchors: where to pass.
        config: which graph, in which order, how many points.
        num_rows: rows in the file; codes from outside are numbered behind them.

    Raises:
        UserError: there is no such graph, or no path in it.
    """
    trim = config.trimming if config.trimming else None
    built = graph.build(index, config.graph or GRAPH, trim=trim)
    own = {anchor.label: anchor.code for anchor in anchors if anchor.row is None}
    codes, rows = points.codes, points.rows
    if own:
        added = np.stack(list(own.values()))
        built = outside.attach(built, index, added, k=min(outside.OUTSIDE_NEIGHBOURS, len(codes)))
        codes = np.concatenate([codes, added])
        rows = np.append(rows, num_rows + np.arange(len(own)))
    fresh = {label: len(points.codes) + place for place, label in enumerate(own)}
    nodes = [fresh[a.label] if a.row is None else points.node(a.row) for a in anchors]
    connectivity.check_joined(built, nodes, names=[anchor.label for anchor in anchors])
    visit = search.through(built, nodes, loop=config.loop, order=config.order, codes=codes)
    return _way(built, visit, codes, rows, anchors, config, len(points.codes)), built


def _way(
    built: LatentGraph,
    visit: Visit,
    codes: Float[np.ndarray, "node latent"],
    rows: Int[np.ndarray, "node"],
    anchors: Sequence[Anchor],
    config: PathsConfig,
    num_codes: int,
) -> Way:
    """Return what was found, told in rows of the file."""
    corners, weights = codes[visit.nodes], built.weights_along(visit.nodes)
    labels = [anchors[stop].label for stop in visit.order]
    points, at_corner = timed(
        corners, frames=config.frames, points_per_edge=config.points_per_edge or 2
    )
    found, met = np.full(len(points), NONE), at_corner != NONE
    found[at_corner[met]] = np.where(visit.nodes < num_codes, rows[visit.nodes], NONE)[met]
    stopped = zip(at_corner[list(visit.places)].tolist(), labels, strict=True)
    return Way(
        name="surfing",
        legs=legs_between(corners, visit.places, labels, weights),
        points=points,
        rows=found,
        stops={step: label for step, label in stopped if step != NONE},
        nodes=rows[visit.nodes],
        facts={
            "edge_weights": weights.tolist(),
            "bridges": rows[built.bridges_along(visit.nodes)].tolist(),
            "search": visit.method,
            "order_proven": visit.proven,
            "order": list(visit.order),
            "places": list(visit.places),
        },
    )
