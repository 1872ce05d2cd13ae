"""Points of a latent space: what is one, and how far two of them are apart.

Points are rows of any finite real array; distances are Euclidean, in float64, computed as the
square root of the sum of squared differences, never by a shortcut. The squares are added up axis
after axis, in order, so that compiled code can round as NumPy does.
"""

import numpy as np
from jaxtyping import Float, Real

from jaxsurf.errors import UserError

# Squares of larger values do not fit in float64.
_MAX_VALUE = 1e150


def between(
    first: Float[np.ndarray, "*#shape latent"], second: Float[np.ndarray, "*#shape latent"]
) -> Float[np.ndarray, "..."]:
    """Return Euclidean distances between corresponding points; the one formula in use.

    Leading axes are broadcast against each other.
    """
    total = np.square(first[..., 0] - second[..., 0])
    for axis in range(1, first.shape[-1]):
        total = total + np.square(first[..., axis] - second[..., axis])
    return np.sqrt(total)


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
