"""Principal components of latent codes: the directions in which they vary most, in order.

Means and covariances are summed up chunk by chunk in float64, so that a million codes need no
second copy. A direction points where its largest entry is positive.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from jaxsurf.images.storage import chunks


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
    size = codes.shape[1]
    mean, scatter = np.zeros(size), np.zeros((size, size))
    for some in chunks(codes):
        mean += some.sum(axis=0, dtype=np.float64) / len(codes)
    for some in chunks(codes):
        centred = some.astype(np.float64) - mean
        scatter += centred.T @ centred
    variances, directions = np.linalg.eigh(scatter)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(size)]
    whole = max(variances.sum(), np.finfo(float).tiny)
    return Components(mean, directions * np.where(largest < 0, -1.0, 1.0), variances / whole)
