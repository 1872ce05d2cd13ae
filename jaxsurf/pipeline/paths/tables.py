"""Tables of a way: its legs and its steps, as rows of values."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxsurf.manifold.path import piece_lengths
from jaxsurf.pipeline.paths.support import Support
from jaxsurf.pipeline.paths.way import NONE, Way

LENGTHS = ("way", "leg", "from", "to", "edges", "length", "cost", "straight", "detour")
STEPS = ("way", "step", "row", "stop", "distance", "along", "away", "support")

Row = tuple[str | int | float | None, ...]


def lengths(way: Way) -> list[Row]:
    """Return a row a leg, under the names in `LENGTHS`; detour is length over straight."""
    return [
        (
            way.name,
            number,
            *leg.describe().values(),
            leg.length / leg.straight if leg.straight else None,
        )
        for number, leg in enumerate(way.legs, start=1)
    ]


def steps(way: Way, support: Support) -> list[Row]:
    """Return a row a point, under the names in `STEPS`.

    `distance` is that from the point before, `along` the sum of these, `away` the distance to the
    nearest code, `support` the codes that are counted around it.
    """
    distances = np.append(0.0, piece_lengths(way.points))
    along = np.cumsum(distances)
    counts = [None] * len(along) if support.counts is None else support.counts.tolist()
    return [
        (
            *(way.name, step),
            None if way.rows[step] == NONE else int(way.rows[step]),
            way.stops.get(step),
            *(float(distances[step]), float(along[step]), float(support.away[step])),
            counts[step],
        )
        for step in range(len(along))
    ]


def write(path: Path, names: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a table as .csv; what there is not is left empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def text(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Return a table for people: columns in line, numbers short."""
    cells = [list(names), *([_short(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in cells]
    return "\n".join(f"  {line}" for line in lines)


def _short(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
