"""Neighbours that are nearly the nearest, for those who ask for it: quicker in many dimensions.

They come from a navigable small-world graph (Malkov and Yashunin 2018, HNSW) by faiss, an optional
library. It misses some; how many is measured: the recall is the share of the true neighbours of
some points, drawn from a seed, that were found. A tie counts as found. Distances are exact.
"""

import logging
from types import ModuleType

import numpy as np
from jaxtyping import Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid, knn

# Links of a node, and nodes looked at when linking and when searching. With these, 50,000 codes of
# 16 dimensions without any structure have a recall of about 0.95.
_LINKS, _LINKING, _SEARCHING = 16, 80, 96
# Points that the recall is measured on, and what draws them.
_SAMPLE, _SEED = 256, 0
# Distances in memory at once.
_CHUNK = 2_000_000

_log = logging.getLogger(__name__)


class Approximate(knn.Index):
    """An index whose neighbours of all points are approximate; all else is exact.

    Attributes:
        recall: the measured one of the neighbours last asked for.
    """

    def __init__(self, codes: Real[np.ndarray, "point latent"]) -> None:
        """Take a set of codes.

        Args:
            codes: at least one point.

        Raises:
            UserError: faiss is not installed, or the codes are not a finite array of this shape.
        """
        super().__init__(codes)
        self._faiss, self.recall = _faiss(), 1.0

    def nearest(self, *, k: int) -> knn.Neighbours:
        """Return `k` points near every point, nearest first, and measure the recall.

        Args:
            k: from 1 to the number of points less one.

        Raises:
            UserError: `k` is out of range, or faiss found too few.
        """
        if not 1 <= k < len(self.codes):
            return super().nearest(k=k)  # which refuses
        centred = self.codes - self.codes.mean(axis=0)
        # Within what float32 can square.
        codes = (centred / (np.abs(centred).max() or 1.0)).astype(np.float32)
        links = self._faiss.IndexHNSWFlat(codes.shape[1], _LINKS)
        links.hnsw.efConstruction, links.hnsw.efSearch = _LINKING, max(_SEARCHING, 2 * (k + 1))
        links.add(codes)
        found = self._ranked(links.search(codes, k + 1)[1])
        self.recall = self._measured(found)
        _log.info(
            "approximate search for %d neighbours of %d codes: recall %.3f, measured on %d of them",
            *(k, len(codes), self.recall, min(_SAMPLE, len(codes))),
        )
        return found

    def _ranked(self, heads: Int[np.ndarray, "point candidate"]) -> knn.Neighbours:
        """Leave out the points themselves, and rank the others exactly."""
        number, k = len(heads), heads.shape[1] - 1
        indices, distances = np.empty((number, k), dtype=np.int64), np.empty((number, k))
        rows = max(1, _CHUNK // (self.codes.shape[1] * (k + 1)))
        for start in range(0, number, rows):
            some = heads[start : start + rows]
            own = np.arange(start, start + len(some))
            away = euclid.between(self.codes[some], self.codes[own][:, None])
            away[(some == own[:, None]) | (some < 0)] = np.inf
            order = np.lexsort((some, away))[:, :k]
            indices[own] = np.take_along_axis(some, order, axis=1)
            distances[own] = np.take_along_axis(away, order, axis=1)
        if not np.isfinite(distances).all():
            raise UserError(
                f"the approximate search found fewer than {k} neighbours of some points",
                cure="use graph.search=exact (--search=exact)",
            )
        return knn.Neighbours(indices, distances)

    def _measured(self, found: knn.Neighbours) -> float:
        """Return the recall on a sample."""
        number, k = found.indices.shape
        drawn = np.random.default_rng(_SEED).choice(number, min(_SAMPLE, number), replace=False)
        # One more, since each finds itself, or one that coincides with it, at a distance of 0.
        exact = self.nearest_to(self.codes[drawn], k=k + 1)
        return float(np.mean(found.distances[drawn] <= exact.distances[:, -1:]))


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            "approximate search for neighbours needs faiss, which is not installed",
            cure='pip install "jaxsurf[approximate]", or use graph.search=exact (--search=exact)',
        ) from error
    return faiss
