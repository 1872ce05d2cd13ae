"""What is asked of `launch/paths.py`, and what a path is sought through: codes, rows, anchors.

Rows keep their numbers in the file, whatever is left out. An anchor is a row number, a file of them
(`centers_ind.txt`), a code that is none of the rows (`code:0.1,-2`) or a file of such codes, one a
row (`codes:path.txt`), mixed at will with commas, white space or line breaks between.
"""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Real

from jaxsurf.errors import UserError, printable
from jaxsurf.images.tables import Header
from jaxsurf.manifold import codes_file, neighbors
from jaxsurf.manifold.graph import KINDS, GraphConfig, Trimming
from jaxsurf.manifold.path import PATHS, Timing
from jaxsurf.manifold.tour import GRAPH as GRAPH  # for launch scripts
from jaxsurf.manifold.tour import Order

# Those of `PATHS`, and cryoDRGN's `pc`.
Method = Literal["linear", "surfing", "pc"]
# What cryoDRGN's users are used to.
LINEAR_POINTS, PC_POINTS, PERCENTILES = 6, 10, (5.0, 95.0)
_CODE, _CODES, _WHOLE = "code:", "codes:", r"[+-]?[0-9]+"


@dataclass(frozen=True, kw_only=True)
class PathsConfig:
    """Which path through which codes; all but `graph` and `trimming` are flags of these names.

    Attributes:
        latents: file of codes: .npy, .npz, .pkl, .txt or .csv.
        header: whether the first line of a table names its columns; `auto` finds out.
        anchors: where to pass: rows, files of rows, code:0.1,-2 or codes:FILE, commas between.
        method: `surfing`: shortest path in the graph; `linear`: straight from anchor to anchor;
            `pc`: along principal components, past the mean or past one anchor.
        loop: go back to the first anchor.
        order: of the anchors: `given`, or `best`, which starts at the first one and is as short as
            possible.
        graph: for surfing.
        trimming: edges that the graph shall not have.
        frames: points on the path, evenly spaced along it; for `pc` 10 if nothing is given.
        points_per_edge: points on each edge of the path, both ends counted; 2, the codes alone, if
            nothing is given. For `linear`, where an edge leads from anchor to anchor, 6.
        components: which principal components, counted from 1; all if nothing is given.
        percentiles: of the codes along a component: where its line starts and stops; 5,95 if
            nothing is given.
        limits: start and stop as distances from the mean, instead of percentiles.
        percentile_spacing: space points evenly in percentiles, not in distance.
        snap: move each point to the nearest code (linear, pc).
        support_radius: count the codes that near to each point of the path.
        index_file: file of the rows that take part: row numbers, or a truth value for each row.
        stride: use every so many of these rows, and the anchors.
        subset: use so many of these rows at random, and the anchors.
        seed: of `--subset`.
        verbose: print every step of the path.
    """

    latents: str
    header: Header = "auto"
    anchors: tuple[str, ...] = ()
    method: Method = "surfing"
    loop: bool = False
    order: Order = "given"
    graph: GraphConfig | None = None
    trimming: Trimming = field(default_factory=Trimming)
    frames: int | None = None
    points_per_edge: int | None = None
    components: tuple[int, ...] = ()
    percentiles: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    percentile_spacing: bool = False
    snap: bool = False
    support_radius: float = 0.0
    index_file: str = ""
    stride: int = 1
    subset: int = 0
    seed: int = 0
    verbose: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", tuple(_split_anchors(self.anchors)))
        by_percent = self.percentiles or self.percentile_spacing
        for name, bad, cure in (
            ("components", len({*self.components}) < len(self.components), "each but once"),
            ("percentiles", not _is_span(self.percentiles, 0, 100), "two numbers such as 5,95"),
            ("limits", not _is_span(self.limits, -np.inf, np.inf), "two numbers such as -1,1"),
            ("limits", bool(self.limits and by_percent), "them alone: they exclude percentiles"),
            ("support_radius", not 0 <= self.support_radius < np.inf, "a finite number above 0"),
            ("stride", self.stride < 1, "1 or more"),
            ("subset", self.subset < 0 or self.subset == 1, "2 or more, or leave it out"),
            ("seed", self.seed < 0, "0 or more"),
        ):
            if bad:
                raise UserError(f"--{name} is {getattr(self, name)}", cure=f"give {cure}")
        _ = self.timing  # which checks itself
        along_lines = self.components or self.limits or by_percent
        for flags, given, owners in (
            ("--graph, with what belongs to it,", self.graph, ["surfing"]),
            ("--max_edge or --avg_neighbors", self.trimming, ["surfing"]),
            ("--loop", self.loop, PATHS),
            ("--order=best", self.order == "best", PATHS),
            ("--points_per_edge", self.points_per_edge is not None, PATHS),
            ("--components, --percentiles or --limits", along_lines, ["pc"]),
            ("--snap", self.snap, ("linear", "pc")),
        ):
            if given and self.method not in owners:
                raise UserError(
                    f"{flags} has no meaning with --method={self.method}",
                    cure=f"leave it out, or use --method={' or '.join(owners)}",
                )
        if self.trimming and self.graph and KINDS[self.graph.kind].connects:
            cause = "--max_edge and --avg_neighbors have no meaning with a graph that is to connect"
            cure = "use --graph=knn, mutual or radius, and --repair to bridge the gaps"
            raise UserError(cause, cure=cure)

    @property
    def timing(self) -> Timing:
        """How many points there are on a path from anchor to anchor."""
        each = self.points_per_edge
        if each is None:
            each = LINEAR_POINTS if self.method == "linear" else 2
        speed = "latent" if self.frames else None  # codes alone have no images
        return Timing(frames=self.frames, points_per_edge=each, speed=speed)


def _split_anchors(texts: Sequence[str]) -> Iterator[str]:
    """Yield each word of the texts, or a file's name whole, which may have spaces in it."""
    for line in "\n".join(texts).replace("\ufeff", "").splitlines():
        words = re.sub(rf"\b({_CODE}|{_CODES})\s+", r"\1", line).split()
        first = words[0] if words else ""
        several = re.fullmatch(_WHOLE, first) or first.startswith(_CODE) or _is_file(first)
        name = codes_file.split(line.strip().removeprefix(_CODES))[0]
        # Path.exists() raises where a name is too long.
        if several and not os.path.exists(name):  # noqa: PTH110
            yield from words
        elif words:
            yield line.strip()


def _is_file(name: str) -> bool:
    return codes_file.split(name)[0].suffix.lower() in codes_file.SUFFIXES


def _is_span(span: tuple[float, ...], lowest: float, highest: float) -> bool:
    """Return whether these are two different finite numbers in a range, or none."""
    inside = all(lowest <= number <= highest and abs(number) < np.inf for number in span)
    return not span or (len(span) == 2 and span[0] != span[1] and inside)


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchor:
    """A place to pass, called by its row number or as it was given; `row` is None for a code."""

    label: str
    code: Float[np.ndarray, "latent"]
    row: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a path is sought through: a file's codes, and the rows of those that take part."""

    name: str
    values: Real[np.ndarray, "row latent"]
    codes: Float[np.ndarray, "point latent"]
    rows: Int[np.ndarray, "point"]
    anchors: Sequence[Anchor]


def open_inputs(config: PathsConfig) -> Inputs:
    """Read the codes that take part, and the anchors; these take part whatever is thinned out."""
    values = codes_file.read(config.latents, header=config.header)
    path, part = codes_file.split(config.latents)
    name = printable(path.name + f":{part}" * bool(part))
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise UserError(
            f"{name} holds an array of type {values.dtype} and shape {values.shape}, not real "
            "numbers of shape (point, latent)",
            cure="give one row a point; codes of one number each have shape (point, 1)",
        )
    rows = np.arange(len(values))
    if config.index_file:
        found = _find_rows(config.index_file, name, len(values), config.header)
        rows, times = np.unique(found, return_counts=True)
        if len(rows) < len(found):
            often = f"row {rows[times.argmax()]} {times.max()} times"
            raise UserError(f"{config.index_file} names {often}", cure="name each row once")
    anchors = _parse_anchors(config, values, name)
    if (len(anchors) > 1) == (config.method == "pc"):
        named = " and ".join(anchor.label for anchor in anchors[:3])
        raise UserError(
            f"{len(anchors)} anchors were given{': ' * bool(anchors)}{named}",
            cure="a line along a component passes one or none; other methods take at least two, "
            f"such as --anchors=3,17; a code has {values.shape[1]} numbers",
        )
    needed = np.array([anchor.row for anchor in anchors if anchor.row is not None], np.int64)
    if len(lacking := np.setdiff1d(needed, rows)):
        raise UserError(
            f"anchor {lacking[0]} is not among the {len(rows)} rows of --index_file",
            cure="choose another, or add it there: anchors are rows of the whole file",
        )
    rows = rows[:: config.stride]
    if config.subset > len(rows):
        raise UserError(
            f"--subset is {config.subset}, but {len(rows)} rows of {name} are there to draw from",
            cure="give fewer, or leave it out",
        )
    if config.subset:
        rows = np.random.default_rng(config.seed).choice(rows, config.subset, replace=False)
    rows = np.union1d(rows, needed)
    if len(rows) < 2:
        raise UserError(
            f"{len(rows)} of the codes in {name} takes part, and one alone has no neighbours",
            cure="give at least two",
        )
    codes = np.asarray(values if len(rows) == len(values) else values[rows], dtype=np.float64)
    bad = rows[~np.isfinite(codes).all(axis=1)]
    if bad.size:
        raise UserError(
            f"{bad.size} of {len(codes)} codes in {name} are not finite, the first in row {bad[0]}",
            cure="mend these rows, or leave them out with --index_file",
        )
    return Inputs(name=name, values=values, codes=codes, rows=rows, anchors=anchors)


def _find_rows(text: str, name: str, number: int, header: Header) -> Int[np.ndarray, "row"]:
    """Return the row that a text is, or those that a file holds or marks by truth values."""
    if re.fullmatch(_WHOLE, text):
        origin, found = "--anchors", np.array([text]).astype(float)
    else:
        origin, found = codes_file.split(text)[0], codes_file.read(text, header=header)
        if origin.suffix.lower() in codes_file.TABLES:  # below or beside one another
            found = found.ravel()
    if found.dtype == bool and found.shape == (number,):
        return np.flatnonzero(found)
    if found.ndim != 1 or found.dtype.kind not in "iuf" or not found.size:
        raise UserError(
            f"{origin} holds an array of type {found.dtype} and shape {found.shape}, no rows",
            cure=f"give a list of row numbers, or a truth value for each of the {number} rows",
        )
    wrong = found[~((found >= 0) & (found < number) & (found == np.floor(found)))]
    if wrong.size:
        raise UserError(
            f"{origin} has row {wrong[0]:.15g}, but {name} has {number} rows",
            cure=f"give whole numbers from 0 to {number - 1}",
        )
    return found.astype(np.int64)


def _parse_anchors(
    config: PathsConfig, values: Real[np.ndarray, "row latent"], name: str
) -> list[Anchor]:
    number, size = values.shape
    found: list[Anchor] = []
    parts = iter(config.anchors)
    for part in parts:
        if part.startswith(_CODES):
            file = part.removeprefix(_CODES)
            codes, file = codes_file.read(file, header=config.header), printable(file)
            codes = neighbors.check_codes(codes, origin=f"codes of {file}")
            if codes.shape[1] != size:
                raise UserError(
                    f"codes of {file} have {codes.shape[1]} numbers, but those of {name} {size}",
                    cure=f"give one row a code; a file of row numbers is given without {_CODES}",
                )
            found += [Anchor(label=f"{file}:{at}", code=code) for at, code in enumerate(codes)]
        elif part.startswith(_CODE):
            numbers = [part.removeprefix(_CODE), *itertools.islice(parts, size - 1)]
            label = _CODE + ",".join(numbers)
            try:
                code = np.asarray([[float(each) for each in numbers]]).reshape(1, size)
            except ValueError as error:
                raise UserError(
                    f"{label} is no code of {size} numbers, as those of {name} are",
                    cure=f"behind {_CODE} give {size} numbers with commas between, and then the "
                    f"next anchor; or codes in a file, one a row: {_CODES}path.txt",
                ) from error
            found.append(
                Anchor(label=label, code=neighbors.check_codes(code, origin=f"codes ({label})")[0])
            )
        elif re.fullmatch(_WHOLE, part) or _is_file(part):
            found += [
                Anchor(label=str(row), code=np.asarray(values[row], np.float64), row=row)
                for row in _find_rows(part, name, number, config.header).tolist()
            ]
        else:
            raise UserError(
                f"anchor {part!r} is neither a row number nor a file",
                cure="give rows (3,17), a file of rows (anchors.txt) or a code "
                f"({_CODE}0.1,-2 for two numbers)",
            )
    return found
