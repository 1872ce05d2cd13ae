"""Candidates by matrix products: every distance, a tile of queries at a time.

|q - p|^2 - |q|^2 = |p|^2 - 2 q.p = (-2 q, 1).(p, |p|^2) cancels catastrophically far from the
origin, so points are centred first; they are scaled too, so that squares fit in any precision. The
bound allows for what rounding is left. In float32 that may be more than neighbours differ by: then
the bound is low, and whoever ranks candidates goes on with float64.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from jaxsurf.manifold.compilation import in_threads, num_cores
from jaxsurf.manifold.neighbours.candidates import SMALLEST, Codes, Found, Queries, everything

# Columns whose smallest value stands for all of them when blocks are compared.
_BLOCK = 64
# Values in memory at once.
_TILE = 8_000_000
# Stretches of rows that each thread takes in turn, so that all end at about the same time.
_TURNS = 4

Smallest = tuple[Int[np.ndarray, "query count"], Float[np.ndarray, "query"]]


class Table(Protocol):
    """The product of two matrices, one row a query and one column a point.

    Attributes:
        dtype: what is computed in.
        rows: queries that suit it at once.
    """

    dtype: type[np.floating]
    rows: int

    def smallest(self, factor: Float[np.ndarray, "query term"], count: int) -> Smallest:
        """Return the columns of the `count` smallest values of each row, and the next value.

        Args:
            factor: one factor, of at most `rows` rows.
            count: fewer than there are points.
        """
        ...


class Tiles:
    """Every distance, a tile of queries at a time."""

    def __init__(
        self, codes: Codes, table: Callable[[Float[np.ndarray, "term point"]], Table] | None = None
    ) -> None:
        """Prepare the points.

        Args:
            codes: the points.
            table: makes what multiplies and compares; in float64 if None.
        """
        self._size = len(codes)
        self._centre = codes.mean(axis=0)
        centred = codes - self._centre
        self._scale = float(np.abs(centred).max()) or 1.0
        points = centred / self._scale
        squares = np.square(points).sum(axis=1)
        self._largest = squares.max()
        self._table = (table or Doubles)(np.vstack([points.T, squares]))

    def find(self, queries: Queries, *, count: int) -> Found:
        """See `candidates.Engine.find`."""
        if count >= self._size:
            return everything(len(queries), self._size)
        rows = self._table.rows
        tiles = [
            self._find_tile(queries[start : start + rows] - self._centre, count)
            for start in range(0, len(queries), rows)
        ]
        indices, bounds = zip(*tiles, strict=True)
        return np.concatenate(indices), np.concatenate(bounds)

    def _find_tile(self, queries: Queries, count: int) -> Found:
        """Return the `count` smallest of each row, and the smallest of the others as the bound."""
        # Queries may lie much farther out than the points.
        scale = max(self._scale, float(np.abs(queries).max()))
        queries, share = queries / scale, self._scale / scale
        squares = np.square(queries).sum(axis=1)
        last_term = np.full((len(queries), 1), share**2)
        factor = np.concatenate([-2 * share * queries, last_term], axis=1)
        nearest, last = self._table.smallest(factor, count)
        # Each sum has `latent + 1` terms, each off by a few eps of at most this size.
        precision = np.finfo(self._table.dtype)
        size = squares + share**2 * self._largest
        error = 4 * (factor.shape[1] + 1) * (precision.eps * size + precision.tiny)
        bound = scale * np.sqrt(np.maximum(last + squares - error, 0.0))
        # Whoever ranks does not scale, and where squares nearly vanish rounds as coarsely as this.
        return nearest, np.where(bound < SMALLEST, 0.0, bound)


class Doubles:
    """A `Table` in float64, by NumPy."""

    dtype = np.float64

    def __init__(self, columns: Float[np.ndarray, "term point"]) -> None:
        # Filled up to whole blocks with columns that are infinitely far away.
        width = -(-columns.shape[1] // _BLOCK) * _BLOCK
        self._columns = np.zeros((len(columns), width))
        self._columns[:, : columns.shape[1]] = columns
        self._beyond = columns.shape[1]
        self.rows = max(1, _TILE // width)

    def smallest(self, factor: Float[np.ndarray, "query term"], count: int) -> Smallest:
        """See `Table.smallest`.

        A block whose smallest value is not among the `count + 1` smallest of all blocks holds none
        of the `count + 1` smallest values: one quick pass leaves few blocks to look into.
        """
        values = factor @ self._columns
        values[:, self._beyond :] = np.inf
        blocks = values.reshape(len(values), _BLOCK, -1)
        columns = np.broadcast_to(np.arange(values.shape[1]), values.shape)
        if 2 * (count + 1) < blocks.shape[2]:
            best = np.argpartition(blocks.min(axis=1), count, axis=1)[:, None, : count + 1]
            values = np.take_along_axis(blocks, best, axis=2).reshape(len(values), -1)
            columns = best + blocks.shape[2] * np.arange(_BLOCK)[:, None]
            columns = columns.reshape(len(values), -1)
        order = np.argpartition(values, count, axis=1)[:, : count + 1]
        last = np.take_along_axis(values, order[:, -1:], axis=1)[:, 0]
        return np.take_along_axis(columns, order[:, :-1], axis=1), last


class Singles:
    """A `Table` in float32, multiplied and looked through by a kernel in threads."""

    dtype = np.float32
    rows = 8192

    def __init__(self, columns: Float[np.ndarray, "term point"]) -> None:
        from jaxsurf.manifold.neighbours import smallest

        self._kernel, width = smallest, smallest.WIDTH
        terms, number = len(columns) - 1, columns.shape[1]
        blocks = -(-number // width)
        self._terms = -(-terms // smallest.TERMS) * smallest.TERMS
        filled = np.zeros((self._terms + 1, blocks * width), np.float32)
        filled[-1] = np.inf
        filled[:terms, :number], filled[-1, :number] = columns[:-1], columns[-1]
        filled = filled.reshape(self._terms + 1, blocks, width).swapaxes(0, 1)
        self._blocks = np.ascontiguousarray(filled[:, :-1])
        self._squares = np.ascontiguousarray(filled[:, -1])

    def smallest(self, factor: Float[np.ndarray, "query term"], count: int) -> Smallest:
        """See `Table.smallest`."""
        number, terms = factor.shape
        group = self._kernel.ROWS
        rows = -(-number // group) * group
        filled, shares = np.zeros((rows, self._terms), np.float32), np.zeros(rows, np.float32)
        filled[:number, : terms - 1], shares[:number] = factor[:, :-1], factor[:, -1]
        values = np.full((rows, count + 1), np.inf, np.float32)
        values[number:] = -np.inf
        columns = np.tile(np.arange(count + 1), (rows, 1))
        in_threads(
            lambda groups: self._kernel.take(
                self._blocks, self._squares, filled, shares, groups, values, columns
            ),
            np.array_split(np.arange(0, rows, group), _TURNS * num_cores()),
        )
        return columns[:number, :-1], values[:number, -1].astype(np.float64)
