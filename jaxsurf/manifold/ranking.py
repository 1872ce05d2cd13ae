"""Candidates of an engine -> the nearest points, exactly.

Candidates are ranked by `euclid.between`, then by number; more of them are asked for until the
engine's bound says that no other point can come before the last that is kept.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import candidates, euclid

# Candidates asked for beyond k: the point itself, and one to see that the last is not tied.
_MARGIN = 2
# Values (candidates x latent) in memory at once while candidates are ranked.
_CHUNK = 2_000_000

Ranked = tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]


@dataclass(frozen=True, eq=False)
class Searched:
    """Where neighbours are looked for: points, and an engine over them.

    Attributes:
        most: rankings to this k are right.
        points: those that can be reached.
        ids: their numbers, by which ties are settled.
        engine: finds candidates among them.
    """

    most: int
    points: Float[np.ndarray, "kept latent"]
    ids: Int[np.ndarray, "kept"]
    engine: candidates.Engine


def nearest(
    searched: Searched,
    queries: Float[np.ndarray, "query latent"],
    k: int,
    *,
    own: Int[np.ndarray, "query"],
) -> Ranked:
    """Return the k points nearest to each query, and their distances.

    Args:
        searched: where to look; `most` at least `k`, and `k` points besides `own`.
        queries: where to look from.
        k: how many.
        own: the number of the point that is not to be found, for each query; -1 for none.
    """
    indices = np.empty((len(queries), k), dtype=np.int64)
    distances = np.empty((len(queries), k))
    size, dimensions = searched.points.shape
    pending, count = candidates.spatial_order(queries), k + _MARGIN
    while len(pending):
        count = min(count, size)
        rows = max(1, _CHUNK // (count * dimensions))
        unsure = []
        for chunk in np.split(pending, range(rows, len(pending), rows)):
            found, bound = searched.engine.find(queries[chunk], count=count)
            indices[chunk], distances[chunk] = _rank(
                searched.points[found], searched.ids[found], queries[chunk], own[chunk], k
            )
            unsure.append(chunk[~(distances[chunk, -1] < bound)])
        pending, count = np.concatenate(unsure), 2 * count
    return indices, distances


def _rank(
    found: Float[np.ndarray, "query candidate latent"],
    ids: Int[np.ndarray, "query candidate"],
    queries: Float[np.ndarray, "query latent"],
    own: Int[np.ndarray, "query"],
    k: int,
) -> Ranked:
    """Return the k candidates that come first by exact distance, then by index."""
    distances = euclid.between(found, queries[:, None])
    distances[ids == own[:, None]] = np.inf
    order = np.lexsort((ids, distances))[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)
