"""Principal components of latent codes: the directions in which they vary most, in order.

Everything is in float64. A direction points where its largest entry is positive.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real


@dataclass(frozen=True, eq=False)
class Components:
    """The principal components of a set of codes.

    Attributes:
        mean: of the codes.
        directions: of length 1, one a column, by falling variance.
        shares: of the whole variance; zeros where there is none.
    """

    mean: Float[np.ndarray, "latent"]
    directions: Float[np.ndarray, "latent component"]
    shares: Float[np.ndarray, "component"]

    def values(
        self, codes: Real[np.ndarray, "point latent"], component: int
    ) -> Float[np.ndarray, "point"]:
        """Return where codes lie along a component, counted from 0; the mean lies at 0."""
        direction = self.directions[:, component]
        return np.asarray(codes, np.float64) @ direction - self.mean @ direction


def of(codes: Real[np.ndarray, "point latent"]) -> Components:
    """Return the principal components of codes, as many as they have dimensions."""
    mean = codes.mean(axis=0, dtype=np.float64)
    centred = codes - mean
    variances, directions = np.linalg.eigh(centred.T @ centred)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(len(mean))]
    whole = max(variances.sum(), np.finfo(float).tiny)
    return Components(mean, directions * np.where(largest < 0, -1.0, 1.0), variances / whole)
