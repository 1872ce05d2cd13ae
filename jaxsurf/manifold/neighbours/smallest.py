"""The smallest values in the rows of a product of two matrices, compiled.

The product is never held as a whole: a few columns of a few rows are computed, looked through and
forgotten. Columns come in blocks, term after term, as wide as some vector registers; what is read
of a block is used for several rows at once.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import inlined, kernel

# Columns of a block.
WIDTH = 64
# Rows that are multiplied, and terms that are added up, at once; there have to be whole groups of
# so many. `_multiply` is written out for these numbers.
ROWS, TERMS = 4, 4
# Blocks that all rows are multiplied with before the next ones: as many as stay in the cache.
_BLOCKS = 16


@inlined
def _four(
    factor: Float[np.ndarray, "row term"], row: int, at: int
) -> tuple[float, float, float, float]:
    return factor[row, at], factor[row, at + 1], factor[row, at + 2], factor[row, at + 3]


@inlined
def _multiply(
    blocks: Float[np.ndarray, "block term column"],
    block: int,
    factor: Float[np.ndarray, "row term"],
    row: int,
    products: Float[np.ndarray, "some column"],
) -> None:
    """Add the products of `ROWS` rows with the columns of a block."""
    for at in range(0, blocks.shape[1], TERMS):
        a, b = _four(factor, row, at), _four(factor, row + 1, at)
        c, d = _four(factor, row + 2, at), _four(factor, row + 3, at)
        for column in range(WIDTH):
            w, x = blocks[block, at, column], blocks[block, at + 1, column]
            y, z = blocks[block, at + 2, column], blocks[block, at + 3, column]
            products[0, column] += a[0] * w + a[1] * x + a[2] * y + a[3] * z
            products[1, column] += b[0] * w + b[1] * x + b[2] * y + b[3] * z
            products[2, column] += c[0] * w + c[1] * x + c[2] * y + c[3] * z
            products[3, column] += d[0] * w + d[1] * x + d[2] * y + d[3] * z


@inlined
def _any_below(products: Float[np.ndarray, "some column"], some: int, limit: float) -> bool:
    """Return what holds for few blocks, and is found out in vectors."""
    below = False
    for column in range(WIDTH):
        below |= products[some, column] < limit
    return below


@inlined
def _insert(
    values: Float[np.ndarray, "row count"],
    columns: Int[np.ndarray, "row count"],
    row: int,
    value: float,
    column: int,
) -> None:
    """Put a value among the smallest of a row, which are in order; the last of them is lost."""
    place = values.shape[1] - 1
    while place > 0 and values[row, place - 1] > value:
        values[row, place] = values[row, place - 1]
        columns[row, place] = columns[row, place - 1]
        place -= 1
    values[row, place], columns[row, place] = value, column


@inlined
def _keep(
    products: Float[np.ndarray, "some column"],
    some: int,
    values: Float[np.ndarray, "row count"],
    columns: Int[np.ndarray, "row count"],
    row: int,
    before: int,
    last: int,
) -> None:
    """Put those products of a row among its smallest values that belong there."""
    limit = values[row, last]
    if _any_below(products, some, limit):
        for column in range(WIDTH):
            if products[some, column] < limit:
                _insert(values, columns, row, products[some, column], before + column)
                limit = values[row, last]


@kernel
def take(
    blocks: Float[np.ndarray, "block term column"],
    squares: Float[np.ndarray, "block column"],
    factor: Float[np.ndarray, "row term"],
    shares: Float[np.ndarray, "row"],
    rows: Int[np.ndarray, "some"],
    values: Float[np.ndarray, "row count"],
    columns: Int[np.ndarray, "row count"],
) -> None:
    """Write the smallest values of some rows, in order, and their columns.

    Args:
        blocks: one factor.
        squares: what is added to the product in each column, ...
        factor: the other factor.
        shares: ... times a number of the row's own.
        rows: the first of each group of `ROWS` to go through.
        values: infinite; the smallest values are written to it. Of a row that only fills up a
            group, minus infinite.
        columns: is written to.
    """
    last, products = values.shape[1] - 1, np.empty((ROWS, WIDTH), np.float32)
    for start in range(0, len(blocks), _BLOCKS):
        for first in rows:
            for block in range(start, min(start + _BLOCKS, len(blocks))):
                for some in range(ROWS):
                    for column in range(WIDTH):
                        products[some, column] = shares[first + some] * squares[block, column]
                _multiply(blocks, block, factor, first, products)
                for some in range(ROWS):
                    _keep(products, some, values, columns, first + some, WIDTH * block, last)
