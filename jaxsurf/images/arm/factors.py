"""The seven factors of MPI3D: their names, sizes, values, and slices of their grid.

A row of factors holds seven numbers in the order of `FACTOR_NAMES`, each from 0 to its size - 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jaxsurf.errors import UserError
from jaxsurf.images.factors import (
    DEFAULT_FIXED,
    DEFAULT_FREE,
    MPI3D,
    check_names,
    check_stride,
    thinned,
    undecided,
)

FACTOR_NAMES = MPI3D.names
FACTOR_SIZES = MPI3D.sizes
# Raised when images change to the eye: trained runs are bound to the edition of their images.
EDITION = 1
CONTINUOUS: tuple[str, ...] = ("object_size", "horizontal_axis", "vertical_axis")


def grid(
    fixed: Mapping[str, float] | None = None,
    free: Sequence[str] | None = None,
    *,
    stride: int = 1,
) -> Float[np.ndarray, "image factor"]:
    """Return the factors of a slice of the full grid, in the data set's C-order.

    Args:
        fixed: the value of every factor that is not free; None means `DEFAULT_FIXED`.
        free: the factors that take all their values, in any order; None means `DEFAULT_FREE`.
        stride: keeps every stride-th value of each free factor, as `images.factors.thinned` does.

    Returns:
        One row an image; the last free factor of `FACTOR_NAMES` varies fastest.

    Raises:
        UserError: a name is unknown, a factor is both fixed and free or neither, or a value or the
            stride is bad.
    """
    fixed = DEFAULT_FIXED if fixed is None else fixed
    free = DEFAULT_FREE if free is None else free
    check_names(FACTOR_NAMES, fixed, free)
    for name, size in zip(FACTOR_NAMES, FACTOR_SIZES, strict=True):
        if name not in fixed and name not in free:
            raise undecided(name, size)
    check_stride(stride, [FACTOR_SIZES[FACTOR_NAMES.index(name)] for name in free])
    values = [
        thinned(np.arange(size), stride) if name in free else np.array([fixed[name]])
        for name, size in zip(FACTOR_NAMES, FACTOR_SIZES, strict=True)
    ]
    mesh = np.meshgrid(*values, indexing="ij")
    return check(np.stack([axis.ravel() for axis in mesh], axis=-1))


def check(factors: np.ndarray) -> Float[np.ndarray, "image factor"]:
    """Return the factors as float32 if every one is a value of its range.

    Raises:
        UserError: not two-dimensional with seven columns, empty, not finite, out of range, or a
            fraction where only whole numbers have a meaning.
    """
    factors = np.asarray(factors)
    if factors.ndim != 2 or factors.shape[1] != len(FACTOR_NAMES) or not len(factors):
        raise UserError(
            f"factors have shape {factors.shape}, but must be (images, {len(FACTOR_NAMES)})",
            cure=f"one row an image: {', '.join(FACTOR_NAMES)}",
        )
    if not np.issubdtype(factors.dtype, np.number) or np.iscomplexobj(factors):
        raise UserError(f"factors hold {factors.dtype} values, but must be real numbers")
    factors = factors.astype(np.float32)
    for column, name, size in zip(factors.T, FACTOR_NAMES, FACTOR_SIZES, strict=True):
        whole = name not in CONTINUOUS
        good = (column >= 0) & (column <= size - 1)  # false for NaN
        if whole:
            good &= column == np.round(column)
        if not good.all():
            row = int(np.argmin(good))
            kind = "a whole number" if whole else "any number"
            raise UserError(
                f"{name} is {column[row]:g} in row {row}, but must be {kind} from 0 to {size - 1}"
            )
    return factors
