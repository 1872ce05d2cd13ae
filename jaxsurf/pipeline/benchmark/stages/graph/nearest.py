"""The ten nearest neighbours of every point, from the bare array on: indexes are made anew.

Peers look for eleven, since a point is its own nearest to them. All use as many threads as there
are cores. What a peer can't do in time is told by a portion of the queries, against all points.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxsurf.manifold import neighbors
from jaxsurf.pipeline.benchmark.inputs import Cloud, K
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Parts
from jaxsurf.pipeline.benchmark.stages.graph.clouds import ALL, WIDE

Points = Float[np.ndarray, "point latent"]
# From points to what answers queries.
Found = tuple[Float[np.ndarray, "query neighbour"], Any]
MakeIndex = Callable[[Points], Callable[[Points], Found]]

# For each of the peers, so that the suite ends in time; in many dimensions all need seconds.
LIMIT_S, LIMIT_WIDE_S = 5, 6
# Points that are enough to load whatever all of them need, in few dimensions and in many.
WARM, WARM_WIDE = 100_000, 25_000
# Queries in a portion, unless there are fewer.
LEAST = 1024
# Beyond that, more portions would only cost the threads' starts.
PORTIONS = 16
# Distances to all points: one portion of the largest cloud takes seconds.
BRUTE_PORTIONS = 512


def make_contest(cloud: Cloud, make_index: MakeIndex, portions: int, precision: float) -> Contest:
    """Return the contest of one peer on one cloud.

    Args:
        cloud: the points.
        make_index: the peer.
        portions: that the queries are split into.
        precision: how far distances may be off that ours are compared with.
    """
    points = cloud.points()
    wide = cloud in WIDE
    warm = points[: WARM_WIDE if wide else WARM]
    return Contest(
        ours=lambda: neighbors.Index(points).nearest(k=K),
        make_peer=lambda: _in_portions(points, make_index, 4 * portions if wide else portions),
        limit_s=LIMIT_WIDE_S if wide else LIMIT_S,
        warm=lambda: neighbors.Index(warm).nearest(k=K),
        agree=partial(_agree, precision=precision),
    )


def _in_portions(points: Points, make_index: MakeIndex, portions: int) -> Parts:
    made: list[Callable[[Points], Found]] = []

    def make() -> None:
        made[:] = [make_index(points)]

    def ask(queries: Points) -> Found:
        return made[0](queries)

    split = np.array_split(points, min(portions, 1 + len(points) // LEAST))
    return Parts(first=make, parts=[partial(ask, queries) for queries in split])


def _agree(
    ours: Sequence[neighbors.Neighbors], theirs: Sequence[Found], *, precision: float
) -> None:
    distances = np.concatenate([found[0] for found in theirs])[:, 1:]
    off = np.abs(distances - ours[0].distances[: len(distances)]).max()
    if not off <= precision:
        raise ValueError(f"distances differ by up to {off:g}")


def _scikit_learn(points: Points) -> Callable[[Points], Found]:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=K + 1, n_jobs=-1).fit(points)
    return lambda queries: index.kneighbors(queries)


def _scipy(points: Points) -> Callable[[Points], Found]:
    from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

    tree = cKDTree(points)
    return lambda queries: tree.query(queries, k=K + 1, workers=-1)


def _faiss(points: Points) -> Callable[[Points], Found]:
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points.astype(np.float32))  # pyright: ignore[reportCallIssue]

    def ask(queries: Points) -> Found:
        squares, indices = index.search(queries.astype(np.float32), K + 1)  # pyright: ignore[reportCallIssue]
        return np.sqrt(np.maximum(squares, 0)), indices

    return ask


def _pykdtree(points: Points) -> Callable[[Points], Found]:
    from pykdtree.kdtree import KDTree

    tree = KDTree(points)
    return lambda queries: tree.query(queries, k=K + 1)


# Name, package, maker, portions, and by how much its distances may be off: faiss has float32 only,
# and squares that cancel.
PEERS = (
    ("scipy cKDTree", "scipy", _scipy, PORTIONS, 1e-9),
    ("scikit-learn NearestNeighbors", "sklearn", _scikit_learn, PORTIONS, 1e-6),
    ("pykdtree", "pykdtree", _pykdtree, PORTIONS, 1e-9),
    ("faiss Flat", "faiss", _faiss, BRUTE_PORTIONS, 0.01),
)

CASES = [
    Case(
        stage="knn",
        size=f"{cloud}, k = {K}",
        prepare=partial(make_contest, cloud, make_index, portions, precision),
        peer=name,
        needs=(package,),
    )
    for cloud in ALL
    for name, package, make_index, portions, precision in PEERS
]
