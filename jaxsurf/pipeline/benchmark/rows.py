"""What a suite offers to be measured, and the table that comes of it.

A `Case` describes one measurement before anything of it is built: a `Contest` of ours and a peer's
work. Either's work falls into parts of a kind, each timed by itself, and `Figure`s make rows of
these times. The rows become `benchmarks.json`, and the same in Markdown: times in seconds, memory
in MiB; `ratio` is the peer's time divided by ours. What was not measured is null in JSON and an
empty cell in Markdown. A row that failed has one more entry in JSON, `error`; in Markdown its
first cell without a figure says so.
"""

import dataclasses
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxsurf.workdir import write_json, write_text

# Does all of the work to be timed, and returns when it is done: a device is waited for.
Work = Callable[[], object]
# From what our parts returned and what the peer's did: raises where they are not the same.
Agree = Callable[[Sequence[Any], Sequence[Any]], None]
Where = Literal["anywhere", "cpu", "accelerator"]
Key = tuple[str, str, str]
JSON, MARKDOWN = "benchmarks.json", "benchmarks.md"
HEADER = (
    "| stage | size | ours, s | peer | peer, s | peer / ours | peak of ours, MiB |\n"
    "|---|---|---|---|---|---|---|"
)
LEGEND = (
    "Least times of up to three rounds, ours and the peer alternating, both compiled beforehand."
    " Extrapolated from a part of the work where all of it would have taken the peer too long; of"
    " pairs of ends, the same ones are compared. An empty cell was not measured: there is no peer,"
    " or its package is not installed. Memory is the accelerator's where it does the work, else"
    " that of the whole process, interpreter included."
)


@dataclass(frozen=True, kw_only=True)
class Times:
    """What one side took for its `Parts`, in seconds; a slow peer may have done some only."""

    first: float = 0.0
    parts: Sequence[float]
    number: float

    @property
    def partial(self) -> bool:
        """Whether other than all parts were done."""
        return len(self.parts) != self.number

    @property
    def whole(self) -> float:
        """What all parts take, as far as it can be told from those that were done."""
        return self.first + sum(self.parts) * self.number / len(self.parts)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number for either side, from our times and the peer's, None where there are none.

    Its name ends the row's `size`.
    """

    name: str = ""
    of: Callable[[Times, Times | None], tuple[float, float | None]]


def _median(ours: Times, peer: Times | None) -> tuple[float, float | None]:
    # Over the same parts.
    if peer is None:
        return statistics.median(ours.parts), None
    both = list(zip(ours.parts, peer.parts, strict=False))
    return statistics.median(mine for mine, _ in both), statistics.median(its for _, its in both)


def _worst(ours: Times, peer: Times | None) -> tuple[float, float | None]:
    # The part on which ours gains least; without a peer the one that takes it longest.
    if peer is None:
        return max(ours.parts), None
    return min(zip(ours.parts, peer.parts, strict=False), key=lambda both: both[1] / both[0])


WHOLE = Figure(of=lambda ours, peer: (ours.whole, peer and peer.whole))
MEDIAN = Figure(name="median", of=_median)
WORST = Figure(name="worst, where ours gains least", of=_worst)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Work that falls into parts of a kind, in an order that means nothing.

    Attributes:
        parts: at least one; each is timed by itself.
        first: what has to be done before them, once, and is timed as well.
        number: how many parts there are in all, where `parts` are only some of them; the last may
            be a fraction of one.
    """

    parts: Sequence[Work]
    first: Work | None = None
    number: float = 0


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Work to be timed, ready to begin.

    Attributes:
        ours: the work as jaxsurf does it.
        make_peer: makes the same work as the peer does it, and all that it needs; None where there
            is no peer. It is called after our memory was read, so that the peer's is not in it.
        rounds: how often both are timed; the least time of each part counts.
        calls: how often each is done within one timing.
        limit_s: how long the peer may take in all rounds together, in seconds. Its first round ends
            after the part that exceeds it; no further round is begun that would.
        warm: what is done before ours is timed, where that is less than the whole of it.
        agree: compares what the parts of both returned, those that the peer has done.
        least_s: what a part of ours would take if the chip did its most all the time; None where
            that isn't known.
    """

    ours: Work | Parts
    make_peer: Callable[[], Work | Parts] | None = None
    rounds: int = 3
    calls: int = 1
    limit_s: float = 60.0
    warm: Work | None = None
    agree: Agree | None = None
    least_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row to be measured, or several that come of one measurement.

    Attributes:
        stage: of the pipeline.
        size: what is measured and how much of it, in words; tells it from others of its stage.
        prepare: builds it; called in a process of its own.
        peer: what it is compared with; empty for nothing.
        needs: packages that the peer is made of, as they are imported; where one isn't installed,
            the row has our figures alone.
        where: the machines on which it is worth the time.
        figures: one a row.
    """

    stage: str
    size: str
    prepare: Callable[[], Contest]
    peer: str = ""
    needs: Collection[str] = ()
    where: Where = "anywhere"
    figures: Sequence[Figure] = (WHOLE,)

    def sizes(self) -> list[str]:
        """Return the `size` of each row."""
        return [": ".join(filter(None, (self.size, figure.name))) for figure in self.figures]


@dataclass(frozen=True, kw_only=True)
class Total:
    """A row that is extrapolated: `times` what rows of the same stage, by size, took together."""

    stage: str
    size: str
    parts: Collection[str]
    times: float
    where: Where = "anywhere"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        stage, size, peer: as in `Case`.
        ours_s, peer_s: the times.
        peak_mib: the most memory that ours took.
        extrapolated: whether a time was computed from others: ours from those of other rows, or the
            peer's from a part of its work.
        share: of the operations that the chip could have done in our time at most.
        error: what went wrong; empty where nothing did.
    """

    stage: str
    size: str
    ours_s: float | None = None
    peer: str = ""
    peer_s: float | None = None
    peak_mib: float | None = None
    extrapolated: bool = False
    share: float | None = None
    error: str = ""

    @property
    def ratio(self) -> float | None:
        """The peer's time divided by ours; None where one is not known."""
        return self.peer_s / self.ours_s if self.peer_s is not None and self.ours_s else None

    @property
    def content(self) -> dict[str, Any]:
        """The row as `benchmarks.json` has it."""
        content = dataclasses.asdict(self) | {"ratio": self.ratio}
        names = ("stage", "size", "ours_s", "peer", "peer_s", "ratio", "peak_mib", "extrapolated")
        further = [name for name in ("share", "error") if content[name]]
        return {name: content[name] for name in (*names, *further)}

    @property
    def key(self) -> Key:
        """What no other row has all of: stage, size and peer."""
        return self.stage, self.size, self.peer

    def __str__(self) -> str:
        ours, peers = _figure(self.ours_s), _figure(self.peer_s)
        if self.error:
            failed = f"failed: {self.error}"
            ours, peers = (ours, failed) if ours else (failed, peers)
        if self.extrapolated and self.peer_s is not None:
            peers += " (extrapolated)"
        elif self.extrapolated and self.ours_s is not None:
            ours += " (extrapolated)"
        if self.share is not None:
            ours += f" ({100 * self.share:.2g} % of the chip's peak)"
        ends = _figure(self.ratio), _figure(self.peak_mib)
        cells = (self.stage, self.size, ours, self.peer, peers, *ends)
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def from_content(content: object) -> Row:
    """Return the row that an entry of `benchmarks.json` describes.

    Raises:
        TypeError, OverflowError: it describes none.
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"{content!r} is no row")
    # A whole number is a figure as any other.
    values: dict[str, Any] = {n: float(v) if type(v) is int else v for n, v in content.items()}
    row = Row(**{name: value for name, value in values.items() if name != "ratio"})
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(row)}
    for name, kind in kinds.items():
        if not isinstance(getattr(row, name), kind):
            raise TypeError(f"{name} of a row is {content.get(name)!r}")
    return row


def write(
    folder: Path, machine: Mapping[str, Any], rows: Sequence[Row], left_out: Sequence[str]
) -> str:
    """Write both files, and return the Markdown.

    Args:
        folder: of the files.
        machine: what `process.facts` returned.
        rows: those measured so far.
        left_out: names of those that are not measured on this machine.

    Raises:
        UserError: a file cannot be written.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = ", ".join(
        f"{name.replace('_gib', ' in GiB')} {value}"
        for name, value in machine.items()
        if name != "versions" and value is not None
    )
    lines = [HEADER, *map(str, rows), "", LEGEND, "", f"Machine: {where}; {versions}."]
    if left_out:
        kind = "an accelerator" if machine["accelerator"] is None else "a machine without one"
        lines += ["", f"Not measured here, since they are for {kind}:", ""]
        lines += [f"- {name}" for name in left_out]
    text = "\n".join(lines)
    write_json(folder / JSON, {"machine": dict(machine), "rows": [row.content for row in rows]})
    write_text(folder / MARKDOWN, text + "\n")
    return text


def _figure(value: float | None) -> str:
    # Three digits, or all before the point.
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"
