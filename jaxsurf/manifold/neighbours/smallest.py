"""The smallest values in the rows of a product of two matrices, compiled.

The product is never held as a whole: a few columns of a row are computed, looked through and
forgotten. Columns come in blocks, term after term, as wide as some vector registers.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import inlined, kernel

# Columns of a block.
WIDTH = 64
# Terms that are added up at once; there have to be whole groups of so many.
TERMS = 8
# Blocks that all rows are multiplied with before the next ones: as many as stay in the cache.
_BLOCKS = 16


@inlined
def _multiply(
    blocks: Float[np.ndarray, "block term column"],
    block: int,
    factor: Float[np.ndarray, "row term"],
    row: int,
    products: Float[np.ndarray, "column"],
) -> None:
    """Add the products of a row with the columns of a block."""
    for at in range(0, blocks.shape[1], TERMS):
        a, b, c, d = (
            factor[row, at],
            factor[row, at + 1],
            factor[row, at + 2],
            factor[row, at + 3],
        )
        e, f, g, h = (
            factor[row, at + 4],
            factor[row, at + 5],
            factor[row, at + 6],
            factor[row, at + 7],
        )
        for column in range(WIDTH):
            products[column] += (
                a * blocks[block, at, column]
                + b * blocks[block, at + 1, column]
                + c * blocks[block, at + 2, column]
                + d * blocks[block, at + 3, column]
                + e * blocks[block, at + 4, column]
                + f * blocks[block, at + 5, column]
                + g * blocks[block, at + 6, column]
                + h * blocks[block, at + 7, column]
            )


@inlined
def _any_below(products: Float[np.ndarray, "column"], limit: float) -> bool:
    """Return what holds for few blocks, and is found out in vectors."""
    below = False
    for column in range(WIDTH):
        below |= products[column] < limit
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
        rows: those to go through.
        values: infinite; the smallest values are written to it.
        columns: is written to.
    """
    last, products = values.shape[1] - 1, np.empty(WIDTH, np.float32)
    for start in range(0, len(blocks), _BLOCKS):
        for row in rows:
            limit = values[row, last]
            for block in range(start, min(start + _BLOCKS, len(blocks))):
                for column in range(WIDTH):
                    products[column] = shares[row] * squares[block, column]
                _multiply(blocks, block, factor, row, products)
                if _any_below(products, limit):
                    for column in range(WIDTH):
                        if products[column] < limit:
                            _insert(values, columns, row, products[column], WIDTH * block + column)
                            limit = values[row, last]
