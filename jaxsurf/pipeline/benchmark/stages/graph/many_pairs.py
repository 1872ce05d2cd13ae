"""A thousand random pairs of ends: ours in one call, others one pair after another.

Ours starts from the graph's bare arrays, whatever it makes of them counts; what peers make of them
beforehand does not. They are timed on some of the pairs where all take too long.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

from jaxsurf.manifold import shortest_path
from jaxsurf.manifold.shortest_path import NodePath
from jaxsurf.pipeline.benchmark import inputs
from jaxsurf.pipeline.benchmark.inputs import Cloud
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Parts
from jaxsurf.pipeline.benchmark.stages.graph import clouds, searchers
from jaxsurf.pipeline.benchmark.stages.graph.lengths import check_equal
from jaxsurf.pipeline.benchmark.stages.graph.searchers import Peer

PAIRS = 1000
# Of them, what peers are timed on above some thousand points.
SAMPLE = 20


def make_contest(cloud: Cloud, peer: Peer, *, pairs: int = PAIRS) -> Contest:
    """Return the contest of one peer on one cloud.

    Args:
        cloud: the points.
        peer: what ours is compared with.
        pairs: how many.
    """
    graph, codes = inputs.connected(cloud), cloud.points()
    ends = inputs.pairs(graph, pairs).tolist()

    def ours() -> list[NodePath]:
        fresh = dataclasses.replace(graph)  # nothing is known of it yet
        return shortest_path.shortest_paths(fresh, ends, codes=codes)

    def make_peer() -> Parts:
        theirs = peer.make(graph, codes)
        some = ends if cloud in clouds.SMALL else ends[:SAMPLE]
        return Parts(parts=[partial(theirs, *pair) for pair in some], number=len(ends))

    def agree(mine: Sequence[list[NodePath]], its: Sequence[Sequence[int]]) -> None:
        check_equal(graph, mine[0], its)

    return Contest(
        ours=ours,
        make_peer=make_peer,
        rounds=clouds.rounds(cloud),
        limit_s=60 if clouds.rounds(cloud) == 1 else 4,
        warm=_load_kernels,
        agree=agree,
    )


def _load_kernels() -> None:
    """Search a small graph in every way."""
    cloud = clouds.SMALL[0]
    graph, codes = inputs.connected(cloud), cloud.points()
    for method in ("auto", "dijkstra", "bidirectional", "astar", "landmarks"):
        shortest_path.shortest_path(graph, 0, 1, codes=codes, method=method)


_SOME = (searchers.IGRAPH, searchers.NETWORKIT)
_ALL = (
    *(*_SOME, searchers.NETWORKIT_ASTAR, searchers.SCIPY, searchers.RUSTWORKX),
    *(searchers.NETWORKX, searchers.CRYODRGN),
)
_LISTED: Sequence[tuple[Sequence[Cloud], Sequence[Peer]]] = (
    ([clouds.SMALL[1], clouds.MIDDLE[1]], _ALL),
    ([clouds.SMALL[0], clouds.MIDDLE[0], *clouds.WIDE], _SOME),
    ([clouds.LARGE[1]], [searchers.IGRAPH]),
)
CASES = [
    Case(
        stage="pairs",
        size=f"{PAIRS:,} pairs, {cloud}, latent weights",
        prepare=partial(make_contest, cloud, peer),
        peer=f"{peer.name}, one by one",
        needs=(peer.package,),
    )
    for asked, peers in _LISTED
    for cloud in asked
    for peer in peers
]
