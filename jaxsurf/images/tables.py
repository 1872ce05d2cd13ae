"""Tables of text: a head, a row a line, names or numbers of rows in a first column of words."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxsurf.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The columns of a table, all of one length."""

    names: tuple[str, ...]
    columns: list[Float[np.ndarray, " row"] | list[str]]
    index: list[str] | None
    note: str


def read_table(path: Path, header: str = "auto") -> Table:
    """Read a table of commas with a head, whose first column is an index if it holds words."""
    del header
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, *rows = [row for row in csv.reader(file) if row]
        columns = [_convert(column) for column in zip(*rows, strict=True)]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no table ({error})", cure="give CSV with a head") from error
    index = None
    if names[0] in ("", "index", "file", "name") or isinstance(columns[0], list):
        index, columns, names = [row[0] for row in rows], columns[1:], names[1:]
    return Table(names=tuple(names), columns=columns, index=index, note="")


def _convert(column: tuple[str, ...]) -> Float[np.ndarray, " row"] | list[str]:
    try:
        return np.array([float(cell) for cell in column])
    except ValueError:
        return list(column)
