"""Latent codes -> nearest neighbours, exactly.

Codes are any finite real array, one row a point; distances are Euclidean, in float64, computed as
the square root of the sum of squared differences, never by a shortcut. A point is never its own
neighbour, though a coincident one may be. Neighbours stand in order of distance; at equal
distance the lowest index comes first, also where equals are cut off by `k`. The same codes give
the same neighbours on every machine.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real
from scipy.spatial import KDTree

from jaxsurf.errors import UserError
from jaxsurf.manifold import candidates

# Candidates asked for beyond k: the point itself, and one to see that the last is not tied.
_MARGIN = 2
# Values (candidates x latent) in memory at once while candidates are ranked.
_CHUNK = 2_000_000
# A graph of more edges than this is a mistake in the radius, and would not fit in memory.
MAX_PAIRS = 50_000_000
# Squares of larger values do not fit in float64.
_MAX_VALUE = 1e150


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest points of each point (or query), nearest first."""

    indices: Int[np.ndarray, "point neighbour"]
    distances: Float[np.ndarray, "point neighbour"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of points and their distance; in each pair the lower index comes first."""

    ends: Int[np.ndarray, "pair 2"]
    distances: Float[np.ndarray, "pair"]


def nearest(codes: Real[np.ndarray, "point latent"], *, k: int) -> Neighbours:
    """Return the `k` nearest other points of every point.

    Args:
        codes: at least two points.
        k: from 1 to the number of points less one.

    Raises:
        UserError: `k` is out of range, or the codes are not a finite array of this shape.
    """
    codes = check(codes)
    if len(codes) < 2:
        raise UserError("one point has no neighbours", cure="give at least two latent codes")
    _check_k(k, len(codes) - 1, f"{len(codes)} points have {len(codes) - 1} neighbours each")
    kept = _lowest_duplicates(codes, k + 1)
    return _search(codes[kept], codes, k, ids=kept, own=np.arange(len(codes)))


def nearest_to(
    codes: Real[np.ndarray, "point latent"], queries: Real[np.ndarray, "query latent"], *, k: int
) -> Neighbours:
    """Return the `k` points nearest to each query; a point that coincides with it counts.

    Args:
        codes: where neighbours are looked for.
        queries: where they are looked for from, such as ends that are not in the data set.
        k: from 1 to the number of points.

    Raises:
        UserError: `k` is out of range, an array is not finite or not of this shape, or the
            numbers of dimensions differ.
    """
    codes, queries = check(codes), check(queries, origin="queries")
    if codes.shape[1] != queries.shape[1]:
        raise UserError(
            f"queries have {queries.shape[1]} dimensions, but latent codes {codes.shape[1]}",
            cure="encode both with the same model",
        )
    _check_k(k, len(codes), f"there are {len(codes)} points")
    kept = _lowest_duplicates(codes, k)
    return _search(codes[kept], queries, k, ids=kept, own=np.full(len(queries), -1))


def within(codes: Real[np.ndarray, "point latent"], *, radius: float) -> Pairs:
    """Return all pairs of points at most `radius` apart, in order of their indices.

    Args:
        codes: at least one point.
        radius: in latent units; 0 gives the coincident points.

    Raises:
        UserError: the radius is negative, not finite, or gives more than `MAX_PAIRS` pairs, or
            the codes are not a finite array of this shape.
    """
    codes = check(codes)
    if not (np.isfinite(radius) and radius >= 0):
        raise UserError(f"radius is {radius}", cure="use a finite number of 0 or more")
    tree = KDTree(codes)
    # A little wider than asked, since KDTree rounds differently; exact distances decide below.
    reach = radius * (1 + 1e-12)
    pairs = (int(tree.count_neighbors(tree, reach)) - len(codes)) // 2
    if pairs > MAX_PAIRS:
        raise UserError(
            f"radius {radius} joins {pairs:,} pairs of {len(codes):,} points, more than the "
            f"{MAX_PAIRS:,} allowed",
            cure="choose a smaller radius",
        )
    ends = np.sort(tree.query_pairs(reach, output_type="ndarray").astype(np.int64), axis=1)
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    distances = between(codes[ends[:, 0]], codes[ends[:, 1]])
    return Pairs(ends[distances <= radius], distances[distances <= radius])


def between(
    first: Float[np.ndarray, "*#shape latent"], second: Float[np.ndarray, "*#shape latent"]
) -> Float[np.ndarray, "..."]:
    """Return Euclidean distances between corresponding points; the one formula used here.

    Leading axes are broadcast against each other.
    """
    return np.sqrt(np.square(first - second).sum(axis=-1))


def check(
    codes: Real[np.ndarray, "point latent"], *, origin: str = "latent codes"
) -> Float[np.ndarray, "point latent"]:
    """Return codes as float64 if distances between them can be computed.

    Args:
        codes: the array to look at.
        origin: what it is, in the plural, for the message.

    Raises:
        UserError: the array is not real, not two-dimensional, empty, not finite, or too large.
    """
    if codes.ndim != 2 or not codes.size:
        raise UserError(
            f"{origin} have shape {codes.shape}, not (point, latent)",
            cure="give one row a point, with at least one point and one dimension",
        )
    if codes.dtype.kind not in "fiu":
        raise UserError(f"{origin} are of type {codes.dtype}", cure="give real numbers")
    codes = np.ascontiguousarray(codes, dtype=np.float64)
    bad = np.flatnonzero(~(np.abs(codes) <= _MAX_VALUE).all(axis=1))
    if bad.size:
        raise UserError(
            f"{bad.size} of {len(codes)} {origin} are not finite (or beyond {_MAX_VALUE:g}), the "
            f"first in row {bad[0]}",
            cure="look at where they come from: a diverged model gives such codes",
        )
    return codes


def _check_k(k: int, most: int, reason: str) -> None:
    if not 1 <= k <= most:
        raise UserError(f"k is {k}, but {reason}", cure=f"use a k from 1 to {most}")


def _lowest_duplicates(codes: np.ndarray, most: int) -> Int[np.ndarray, "kept"]:
    """Return the points without those that have `most` coincident points of lower index.

    No ranking to `most` ever reaches them, and without them ties stay few.
    """
    order = np.lexsort(codes.T)  # stable: coincident points stay in the order of their indices
    fresh = np.append(True, (codes[order[1:]] != codes[order[:-1]]).any(axis=1))
    starts = np.flatnonzero(fresh)
    place = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    return np.sort(order[place < most])


def _search(
    points: np.ndarray, queries: np.ndarray, k: int, *, ids: np.ndarray, own: np.ndarray
) -> Neighbours:
    """Rank candidates exactly; ask for twice as many wherever the ranking is not yet final."""
    engine = candidates.make_engine(points)
    indices = np.empty((len(queries), k), dtype=np.int64)
    distances = np.empty((len(queries), k))
    pending, count = candidates.spatial_order(queries), k + _MARGIN
    while len(pending):
        count = min(count, len(points))
        rows = max(1, _CHUNK // (count * points.shape[1]))
        unsure = []
        for chunk in np.split(pending, range(rows, len(pending), rows)):
            found, bound = engine.find(queries[chunk], count=count)
            indices[chunk], distances[chunk] = _rank(
                points[found], ids[found], queries[chunk], own[chunk], k
            )
            unsure.append(chunk[~(distances[chunk, -1] < bound)])
        pending, count = np.concatenate(unsure), 2 * count
    return Neighbours(indices, distances)


def _rank(
    found: Float[np.ndarray, "query candidate latent"],
    ids: Int[np.ndarray, "query candidate"],
    queries: Float[np.ndarray, "query latent"],
    own: Int[np.ndarray, "query"],
    k: int,
) -> tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]:
    """Return the k candidates that come first by exact distance, then by index."""
    distances = between(found, queries[:, None])
    distances[ids == own[:, None]] = np.inf
    order = np.lexsort((ids, distances))[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)
