"""The smallest values of the rows of a matrix that comes in strips, compiled."""

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import kernel

# Values that are compared at once: a few vector registers of float32.
_STEP = 64


@kernel
def take(
    strip: Float[np.ndarray, "row column"],
    rows: Int[np.ndarray, "some"],
    first: int,
    values: Float[np.ndarray, "row count"],
    columns: Int[np.ndarray, "row count"],
) -> None:
    """Put the values of a strip among the smallest of each row, which are in order.

    Args:
        strip: some columns of the matrix.
        rows: the rows to go through.
        first: the number of the first column.
        values: the smallest values so far, to be written to.
        columns: their columns, to be written to.
    """
    last, width = values.shape[1] - 1, strip.shape[1]
    for row in rows:
        limit = values[row, last]
        for start in range(0, width, _STEP):
            stop = min(start + _STEP, width)
            # A sum of truth values is computed in vectors, a smallest value is not.
            below = 0
            for column in range(start, stop):
                below += strip[row, column] < limit
            if below == 0:
                continue
            for column in range(start, stop):
                value = strip[row, column]
                if value < limit:
                    place = last
                    while place > 0 and values[row, place - 1] > value:
                        values[row, place] = values[row, place - 1]
                        columns[row, place] = columns[row, place - 1]
                        place -= 1
                    values[row, place], columns[row, place] = value, first + column
                    limit = values[row, last]
