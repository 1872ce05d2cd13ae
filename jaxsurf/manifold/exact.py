"""Which exact search suits a set of points: chosen by their number and dimensions."""

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import candidates
from jaxsurf.manifold.candidates import MAX_TREE_DIMENSIONS, Tiles, Tree
from jaxsurf.manifold.kd_tree import KdTree
from jaxsurf.manifold.ranking import Ranking, Search

# Points from which on a compiled tree saves more time than its compiler takes to load.
_MANY = 100_000


def make_search(
    codes: Float[np.ndarray, "point latent"],
    ids: Int[np.ndarray, "point"],
    *,
    in_order: bool = False,
) -> Search:
    """Return the search that suits points.

    Args:
        codes: the points, few of which coincide.
        ids: their numbers, by which ties are settled.
        in_order: whether they lie in memory as in space already, as `candidates.spatial_order`
            puts them.
    """
    return compiled(codes, ids) or Ranking(codes, ids, [_engine(codes, in_order=in_order)])


def compiled(
    codes: Float[np.ndarray, "point latent"], ids: Int[np.ndarray, "point"] | None = None
) -> KdTree | None:
    """Return a compiled tree if it is the quickest, however many points coincide.

    Args:
        codes: the points.
        ids: their numbers, by which ties are settled; from 0 if None.
    """
    if len(codes) < _MANY or codes.shape[1] > MAX_TREE_DIMENSIONS:
        return None
    return KdTree(codes, ids)


def _engine(codes: Float[np.ndarray, "point latent"], *, in_order: bool) -> candidates.Engine:
    if codes.shape[1] > MAX_TREE_DIMENSIONS:
        return Tiles(codes)
    return Tree(codes, in_order=in_order)
