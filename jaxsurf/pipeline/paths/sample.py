"""Latent codes from a file, and which of its rows take part.

Rows keep their numbers in the file: whatever is left out, an anchor is named, and a path is told,
by those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError
from jaxsurf.manifold.arrays import array_file


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Which rows take part; what thins them out comes after what chooses them.

    Attributes:
        index_file: a file of row numbers, or of a truth value for each row; empty for all rows.
        stride: every so many of these.
        subset: so many of these, drawn at random; 0 for all.
        seed: of the draw.
    """

    index_file: str = ""
    stride: int = 1
    subset: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise UserError(f"--stride is {self.stride}", cure="give 1 or more")
        if self.subset < 0 or self.subset == 1:
            raise UserError(f"--subset is {self.subset}", cure="give 2 or more, or leave it out")
        if self.seed < 0:
            raise UserError(f"--seed is {self.seed}", cure="give 0 or more")


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What a file of latents holds, before any of it is taken.

    Attributes:
        name: of the file, as in messages.
        values: one code a row, of the file's own type; may lie on disk.
        allowed: the rows that the index file admits, ascending; all without one.
    """

    name: str
    values: Real[np.ndarray, "row latent"]
    allowed: Int[np.ndarray, "allowed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """The codes that take part, and which rows of the file they are, ascending."""

    codes: Float[np.ndarray, "point latent"]
    rows: Int[np.ndarray, "point"]

    def node(self, row: int) -> int:
        """Return which of the points a row is; the row takes part."""
        return int(np.searchsorted(self.rows, row))


def open_source(latents: str, sample: Sample) -> Source:
    """Return what a file of latents holds.

    Args:
        latents: as for `array_file.read`.
        sample: names the index file.

    Raises:
        UserError: the file holds no codes, or the index file no rows of it.
    """
    values = array_file.read(latents)
    name = Path(latents).name
    if values.ndim != 2 or not values.size:
        raise UserError(
            f"{name} holds an array of shape {values.shape}, not (point, latent)",
            cure="give one row a point; codes of one number each have shape (point, 1)",
        )
    if values.dtype.kind not in "fiu":
        raise UserError(f"{name} holds values of type {values.dtype}", cure="give real numbers")
    if sample.index_file:
        allowed = _indexed(sample.index_file, name, len(values))
    else:
        allowed = np.arange(len(values))
    return Source(name=name, values=values, allowed=allowed)


def take(source: Source, sample: Sample, needed: Sequence[int]) -> Points:
    """Return the codes that take part.

    Args:
        source: where from.
        sample: which.
        needed: rows that take part even where a stride or a subset leaves them out.

    Raises:
        UserError: fewer than two rows take part, or a code is not finite.
    """
    rows = source.allowed[:: sample.stride]
    if sample.subset > len(rows):
        raise UserError(
            f"--subset is {sample.subset}, but {len(rows)} rows of {source.name} are there to draw "
            "from",
            cure="give fewer, or leave it out",
        )
    if sample.subset:
        rows = np.random.default_rng(sample.seed).choice(rows, sample.subset, replace=False)
    rows = np.union1d(rows, np.asarray(needed, dtype=np.int64))
    if len(rows) < 2:
        raise UserError(
            f"{len(rows)} code of {source.name} takes part, and one alone has no neighbours",
            cure="give at least two",
        )
    taken = source.values if len(rows) == len(source.values) else source.values[rows]
    codes = np.asarray(taken, dtype=np.float64)
    _check_finite(codes, rows, source.name)
    return Points(codes=codes, rows=rows)


def _check_finite(
    codes: Float[np.ndarray, "point latent"], rows: Int[np.ndarray, "point"], name: str
) -> None:
    bad = np.flatnonzero(~np.isfinite(codes).all(axis=1))
    if bad.size:
        raise UserError(
            f"{bad.size} of {len(codes)} codes in {name} are not finite, the first in row "
            f"{rows[bad[0]]}",
            cure="mend these rows, or leave them out with --index_file",
        )


def _indexed(index_file: str, name: str, number: int) -> Int[np.ndarray, "allowed"]:
    """Return the rows that an index file names, in ascending order."""
    path, _ = array_file.split(index_file)
    if path.suffix.lower() not in array_file.TABLES:
        mask = array_file.read(index_file)
        if mask.dtype == bool:
            if mask.shape != (number,):
                raise UserError(
                    f"{path.name} holds truth values of shape {mask.shape}, but {name} has "
                    f"{number} rows",
                    cure="give one for each row",
                )
            return np.flatnonzero(mask)
    found = array_file.numbers(index_file, meaning="row numbers")
    if not found.size:
        raise UserError(f"{path.name} names no rows", cure="give row numbers")
    rows, times = np.unique(found, return_counts=True)
    if rows[0] < 0 or rows[-1] >= number:
        wrong = rows[0] if rows[0] < 0 else rows[-1]
        raise UserError(
            f"{path.name} names row {wrong}, but {name} has {number} rows",
            cure=f"give rows from 0 to {number - 1}",
        )
    if times.max() > 1:
        raise UserError(
            f"{path.name} names row {rows[times.argmax()]} {times.max()} times",
            cure="name each row once",
        )
    return rows
