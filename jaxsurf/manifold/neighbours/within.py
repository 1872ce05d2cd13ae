"""Latent codes -> all pairs at most a radius apart, and how many are that near; exactly.

Distances are those of `jaxsurf.manifold.euclid`; a pair as far apart as the radius is within it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid

# A graph of more edges than this is a mistake in the radius, and would not fit in memory.
MAX_PAIRS = 50_000_000
# Numbers that a count looks at together.
_PORTION = 1 << 22


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of points and their distance; in each pair the lower index comes first."""

    ends: Int[np.ndarray, "pair 2"]
    distances: Float[np.ndarray, "pair"]


def pairs(codes: Real[np.ndarray, "point latent"], *, radius: float) -> Pairs:
    """Return all pairs of points at most `radius` apart, in order of their indices.

    Args:
        codes: at least one point.
        radius: in latent units; 0 gives the coincident points.

    Raises:
        UserError: the radius is negative, not finite, or gives more than `MAX_PAIRS` pairs, or
            the codes are not a finite array of this shape.
    """
    codes = euclid.check(codes)
    if not (np.isfinite(radius) and radius >= 0):
        raise UserError(f"radius is {radius}", cure="use a finite number of 0 or more")
    from scipy.spatial import KDTree

    tree = KDTree(codes)
    # A little wider than asked, since KDTree rounds differently; exact distances decide below.
    reach = radius * (1 + 1e-12)
    number = (int(tree.count_neighbors(tree, reach)) - len(codes)) // 2
    if number > MAX_PAIRS:
        raise UserError(
            f"radius {radius} joins {number:,} pairs of {len(codes):,} points, more than the "
            f"{MAX_PAIRS:,} allowed",
            cure="choose a smaller radius",
        )
    ends = np.sort(tree.query_pairs(reach, output_type="ndarray").astype(np.int64), axis=1)
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    distances = euclid.between(codes[ends[:, 0]], codes[ends[:, 1]])
    return Pairs(ends[distances <= radius], distances[distances <= radius])


def counts(
    codes: Real[np.ndarray, "point latent"],
    queries: Real[np.ndarray, "query latent"],
    *,
    radius: float,
) -> Int[np.ndarray, "query"]:
    """Return how many of the codes lie at most `radius` from each query.

    Args:
        codes: at least one point.
        queries: where to look from: a few, since each looks at all codes.
        radius: in latent units.
    """
    found = np.zeros(len(queries), dtype=np.int64)
    several = max(1, _PORTION // codes[:1].size)
    for start in range(0, len(codes), several):
        some = np.asarray(codes[start : start + several], np.float64)
        for place, query in enumerate(queries):
            found[place] += np.count_nonzero(euclid.between(some, query) <= radius)
    return found
