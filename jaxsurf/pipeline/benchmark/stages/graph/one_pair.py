"""One pair of ends after another: the shortest path between two nodes of a k-NN graph.

Twenty random pairs, each timed by itself; the same ones for all. `astar` and `bidirectional` are
what a search of a few pairs does, `landmarks` what many pairs come to: making these is a row of its
own. Lengths are held against the peer's, pair by pair.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

from jaxsurf.manifold import shortest_path
from jaxsurf.manifold.latent_graph import LatentGraph
from jaxsurf.manifold.search_kernels import NUM_LANDMARKS
from jaxsurf.manifold.shortest_path import Method, NodePath
from jaxsurf.pipeline.benchmark import inputs
from jaxsurf.pipeline.benchmark.inputs import Cloud, Weight
from jaxsurf.pipeline.benchmark.rows import MEDIAN, WORST, Case, Contest, Parts
from jaxsurf.pipeline.benchmark.stages.graph import clouds, searchers
from jaxsurf.pipeline.benchmark.stages.graph.lengths import check_equal
from jaxsurf.pipeline.benchmark.stages.graph.searchers import Peer

PAIRS = 20


def make_contest(
    cloud: Cloud,
    weight: Weight,
    method: Method,
    peer: Peer | None,
    *,
    pairs: int = PAIRS,
) -> Contest:
    """Return the contest of one peer on one graph.

    Args:
        cloud: the points.
        weight: of the edges.
        method: of ours.
        peer: what it is compared with.
        pairs: how many.
    """
    graph, codes = inputs.connected(cloud, weight=weight), cloud.points()
    ends = inputs.pairs(graph, pairs).tolist()

    def ours(source: int, target: int) -> NodePath:
        return shortest_path.shortest_path(graph, source, target, codes=codes, method=method)

    def make_peer() -> Parts:
        theirs = peer.make(graph, codes) if peer is not None else ours
        return Parts(parts=[partial(theirs, *pair) for pair in ends])

    return Contest(
        ours=Parts(parts=[partial(ours, *pair) for pair in ends]),
        make_peer=None if peer is None else make_peer,
        rounds=clouds.rounds(cloud),
        limit_s=60 if clouds.rounds(cloud) == 1 else 5,
        agree=partial(check_equal, graph),
    )


def make_ready(cloud: Cloud) -> Contest:
    """Return what is done once for all pairs: a graph is made ready, and landmarks are made.

    Args:
        cloud: the points.
    """
    graph = inputs.connected(cloud)
    node = int(inputs.pairs(graph, 1)[0, 0])
    small = inputs.connected(clouds.SMALL[0])

    def make(given: LatentGraph, end: int) -> NodePath:
        fresh = dataclasses.replace(given)  # nothing is known of it yet
        return shortest_path.shortest_path(fresh, end, end, method="landmarks")

    return Contest(
        ours=lambda: make(graph, node),
        rounds=clouds.rounds(cloud),
        warm=lambda: make(small, 0),
    )


def _cases(
    cloud: Cloud, weight: Weight, method: Method, peers: Sequence[Peer | None]
) -> list[Case]:
    return [
        Case(
            stage="path",
            size=f"{cloud}, {weight} weights, {method}, {PAIRS} pairs",
            prepare=partial(make_contest, cloud, weight, method, peer),
            peer="" if peer is None else peer.name,
            needs=() if peer is None else (peer.package,),
            figures=(MEDIAN, WORST),
        )
        for peer in peers
    ]


_ALONE = (None,)
_IGRAPH = (searchers.IGRAPH,)
_FEW = (*_IGRAPH, searchers.SCIPY, searchers.NETWORKIT_ASTAR)
_SOME = (*_IGRAPH, searchers.SCIPY, searchers.NETWORKIT, searchers.NETWORKIT_ASTAR)
_ALL = (*_SOME, searchers.RUSTWORKX, searchers.NETWORKX, searchers.CRYODRGN)
# A peer takes half a minute over a million points, and the suite has to end in a quarter of an
# hour: so the slowest of them stay below that, and igraph goes through the hardest.
_LISTED: Sequence[tuple[Sequence[Cloud], Weight, Method, Sequence[Peer | None]]] = (
    (clouds.SMALL, "latent", "auto", _ALL),
    (clouds.MIDDLE[:1], "latent", "astar", _SOME),
    (clouds.MIDDLE[1:], "latent", "astar", _ALL),
    (clouds.MIDDLE[1:], "density", "bidirectional", _IGRAPH),
    (clouds.MIDDLE[1:], "density", "landmarks", _IGRAPH),
    ([clouds.ROLL], "latent", "astar", _IGRAPH),
    ([clouds.ROLL], "latent", "landmarks", _IGRAPH),
    (clouds.WIDE, "latent", "astar", _IGRAPH),
    (clouds.LARGE[:1], "latent", "astar", _ALONE),
    (clouds.LARGE[1:], "latent", "astar", _FEW),
    (clouds.LARGE[1:], "latent", "landmarks", _ALONE),
    ([clouds.LARGE_ROLL], "latent", "astar", _ALONE),
    ([clouds.LARGE_ROLL], "latent", "landmarks", _IGRAPH),
    ([clouds.LARGE[1], clouds.LARGE_ROLL], "density", "bidirectional", _ALONE),
    ([clouds.LARGE[1], clouds.LARGE_ROLL], "density", "landmarks", _ALONE),
)
CASES = [
    *(
        case
        for asked, weight, method, peers in _LISTED
        for cloud in asked
        for case in _cases(cloud, weight, method, peers)
    ),
    *(
        Case(
            stage="path",
            size=f"{cloud}: nodes numbered anew and {NUM_LANDMARKS} landmarks made, once",
            prepare=partial(make_ready, cloud),
        )
        for cloud in (clouds.MIDDLE[1], clouds.LARGE[1], clouds.LARGE_ROLL)
    ),
]
