"""A graph in memory, from a NumPy array of its edges, beside igraph's object.

Edges come as the search for neighbours lists them, ten for each point, or each once. igraph keeps
an edge that is listed twice as two; ours is symmetric, sorted, weighed and checked in either case.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from jaxsurf.manifold import latent_graph
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.pipeline.benchmark import inputs
from jaxsurf.pipeline.benchmark.inputs import Cloud, K
from jaxsurf.pipeline.benchmark.rows import Case, Contest
from jaxsurf.pipeline.benchmark.stages.graph import clouds


def make_contest(cloud: Cloud, *, listed_once: bool) -> Contest:
    """Return the contest on one cloud.

    Args:
        cloud: the points.
        listed_once: whether each edge comes once.
    """
    found = inputs.neighbours(cloud)
    ends = np.stack([np.repeat(np.arange(cloud.number), K), found.indices.ravel()], axis=1)
    lengths = found.distances.ravel()
    if listed_once:
        ends, lengths = latent_graph.from_edges(ends, lengths, num_nodes=cloud.number).edges()

    def make_peer() -> Any:  # noqa: ANN401 - work that returns a library's own object
        import igraph

        return lambda: igraph.Graph(cloud.number, ends)

    return Contest(
        ours=lambda: latent_graph.from_edges(ends, lengths, num_nodes=cloud.number),
        make_peer=make_peer,
        limit_s=5,
        agree=partial(_agree, len(ends)),
    )


def _agree(num_listed: int, ours: Sequence[LatentGraph], theirs: Sequence[Any]) -> None:
    """Refuse a peer that did not take all edges, or has other neighbours of some nodes."""
    if theirs[0].ecount() != num_listed:
        raise ValueError(f"{num_listed} edges were given, the peer has {theirs[0].ecount()}")
    for node in np.random.default_rng(2).integers(ours[0].num_nodes, size=100).tolist():
        mine = ours[0].indices[slice(*ours[0].indptr[node : node + 2])]
        if not np.array_equal(mine, np.unique(theirs[0].neighbors(node))):
            raise ValueError(f"node {node} has other neighbours")


CASES = [
    Case(
        stage="graph",
        size=f"{cloud}, k = {K}, {'each edge listed once' if once else 'as neighbours list them'}",
        prepare=partial(make_contest, cloud, listed_once=once),
        peer="igraph.Graph",
        needs=("igraph",),
    )
    for cloud in clouds.ALL
    for once in (False, True)
    if once or cloud.dimensions == 3
]
