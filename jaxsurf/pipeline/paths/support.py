"""How far a way is from the codes: what a model was never shown, it may decode to anything."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold import knn
from jaxsurf.manifold.neighbours import within
from jaxsurf.pipeline.paths.way import NONE, Way


@dataclass(frozen=True, kw_only=True, eq=False)
class Support:
    """What lies around the points of a way.

    Attributes:
        away: the distance from each point to the nearest code.
        counts: how many codes lie within a radius of each; None where none was asked for.
    """

    away: Float[np.ndarray, "point"]
    counts: Int[np.ndarray, "point"] | None


def measure(way: Way, index: knn.Index, *, radius: float) -> Support:
    """Return what lies around the points of a way.

    Args:
        way: its points are looked at.
        index: of the codes.
        radius: codes that near are counted; 0 for no count.
    """
    away, loose = np.zeros(len(way.points)), way.rows == NONE
    if loose.any():
        away[loose] = index.nearest_to(way.points[loose], k=1).distances[:, 0]
    counts = within.counts(index.codes, way.points, radius=radius) if radius else None
    return Support(away=away, counts=counts)
