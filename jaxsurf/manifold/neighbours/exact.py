"""Which exact search suits points: chosen by their number, dimensions and what is at hand."""

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.neighbours import candidates, kd_tree
from jaxsurf.manifold.neighbours.candidates import MAX_TREE_DIMENSIONS, Tree
from jaxsurf.manifold.neighbours.device_table import DeviceTable
from jaxsurf.manifold.neighbours.kd_tree import KdTree
from jaxsurf.manifold.neighbours.ranking import Ranking, Search
from jaxsurf.manifold.neighbours.tiles import Singles, Tiles

# Points from which on compiled code saves more time than the compiler takes to load: where a tree
# does without it, and where all pairs would be looked at.
_MANY, _MANY_WIDE = 100_000, 20_000
# A tree of many dimensions is used if it looks at no more than this share of the points, found out
# from so many of them. Looking at one in a tree takes as long as at ten in a matrix product.
_SHARE, _SAMPLE, _SEED = 0.1, 32, 0
# Neighbours that the sample looks for.
_K = 10


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
    return compiled(codes, ids) or ranked(codes, ids, in_order=in_order)


def ranked(
    codes: Float[np.ndarray, "point latent"],
    ids: Int[np.ndarray, "point"],
    *,
    in_order: bool = False,
) -> Search:
    """Return the search that suits points for which no compiled tree does, `compiled` says.

    Args:
        codes: as in `make_search`.
        ids: as in `make_search`.
        in_order: as in `make_search`.
    """
    return Ranking(codes, ids, _engines(codes, in_order=in_order))


def compiled(
    codes: Float[np.ndarray, "point latent"], ids: Int[np.ndarray, "point"] | None = None
) -> KdTree | None:
    """Return a compiled tree if it is the quickest, however many points coincide.

    Codes of many dimensions often lie near a surface of few, and are then found as quickly.

    Args:
        codes: the points.
        ids: their numbers, by which ties are settled; from 0 if None.
    """
    narrow = codes.shape[1] <= MAX_TREE_DIMENSIONS
    least = _MANY if narrow else _MANY_WIDE
    if narrow and kd_tree.is_loaded(codes.shape[1]):
        least = 1
    if not least <= len(codes) <= np.iinfo(np.int32).max:
        return None
    tree = KdTree(codes, ids)
    drawn = np.random.default_rng(_SEED).choice(len(codes), min(_SAMPLE, len(codes)), replace=False)
    if narrow or tree.share(codes[drawn], k=_K) <= _SHARE:
        return tree
    return None


def _engines(
    codes: Float[np.ndarray, "point latent"], *, in_order: bool
) -> list[candidates.Engine]:
    if codes.shape[1] <= MAX_TREE_DIMENSIONS:
        return [Tree(codes, in_order=in_order)]
    if len(codes) < _MANY_WIDE:
        return [Tiles(codes)]
    table = Singles if jax.default_backend() == "cpu" else DeviceTable
    return [Tiles(codes, table), Tiles(codes)]
