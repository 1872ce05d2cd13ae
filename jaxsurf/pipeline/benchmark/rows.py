"""What is timed, beside what, and the row of a table that comes of it.

Work is warmed up before it is timed, so that compilation doesn't count. Then jaxsurf (the
candidate) and a baseline take turns, and the least time of each part counts: other work on the
machine can only make a time longer. Times are in seconds, memory in MiB.
"""

import contextlib
import logging
import math
import re
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from jaxsurf.images.storage import MIB
from jaxsurf.workdir import write_json, write_text

# Does all of the work to be timed, and returns when it is done: a device is waited for.
Work = Callable[[], Any]
Make = Callable[[], Sequence[Work]]
JSON = "benchmarks.json"
_HEADER = (
    "| stage | size | jaxsurf, s | baseline | baseline, s | baseline / jaxsurf | peak, MiB |\n"
    "|---|---|---|---|---|---|---|"
)
_LEGEND = (
    "Least times of several rounds, jaxsurf and the baseline in turn, both compiled beforehand. An"
    " empty cell was not measured. Extrapolated: the baseline did a part of the work. Memory is"
    " jaxsurf's: the accelerator's where it does the work, else that of the whole process."
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contest:
    """The candidate's work, ready to begin, and its baselines; one row for each of these."""

    stage: str
    size: str  # what is measured and how much of it, in words
    work: Sequence[Work]  # the candidate's, part by part
    # What makes the work of each, by its name in the table; called after the candidate's memory was
    # read. Where a library is missing, the candidate is timed alone.
    baselines: Mapping[str, Make] = field(default_factory=dict)
    limit_s: float = 30.0  # no part of a baseline is begun after that; the rest is extrapolated
    median: bool = False  # whether the median part is the figure, and not the sum of all
    warm: Work | None = None  # what is done before the candidate is timed, instead of all its work
    # Raises where parts of both, as far as the baseline came, returned different things.
    agree: Callable[[Sequence[Any], Sequence[Any]], None] | None = None
    scale: float = 1.0  # what times are multiplied with, such as from some steps to an epoch
    rounds: int = 3  # at most, where the limit allows it


@dataclass(frozen=True)
class Row:
    """A row; `peer` is the baseline's name and `error` what went wrong."""

    stage: str
    size: str
    ours_s: float | None = None
    peer: str = ""
    peer_s: float | None = None
    peak_mib: float | None = None
    extrapolated: bool = False
    error: str = ""
    case: str = ""

    @property
    def ratio(self) -> float | None:
        """The baseline's time divided by the candidate's."""
        return self.peer_s / self.ours_s if self.peer_s is not None and self.ours_s else None

    def __str__(self) -> str:
        times = (self.ours_s, self.peer_s, self.ratio, self.peak_mib)
        ours, theirs, ratio, peak = map(_digits, times)
        theirs += " (extrapolated)" * self.extrapolated
        cells = [self.stage, self.size, ours, self.peer, theirs, ratio, peak]
        if self.error:
            cells[4 if self.ours_s else 2] = f"failed: {self.error}"
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

    def failed(self, failure: Exception) -> "Row":
        """Return the same row with what was raised, in one line."""
        traceback.print_exception(failure)
        error = " ".join(f"{type(failure).__name__}: {failure}".split())
        return replace(self, error=error[:300])


def measure(contest: Contest) -> Iterator[Row]:
    """Time a contest; what either side raises, or different results, are the row's error."""
    row = Row(contest.stage, contest.size)
    try:
        with contextlib.suppress(OSError):  # Linux then forgets the peak of memory until now
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        for work in contest.work if contest.warm is None else [contest.warm]:
            work()
        times, answers = _play(contest.work)
    except Exception as failure:  # noqa: BLE001  (one defect is no reason to lose other rows)
        yield row.failed(failure)
        return
    row = replace(row, peak_mib=_peak_mib())
    for name, make in (contest.baselines or {"": list}).items():
        its_row = replace(row, ours_s=_figure(contest, times), peer=name)
        try:
            yield _measure_beside(make, contest, its_row, times, answers)
        except Exception as failure:  # noqa: BLE001  (a foreign library may raise anything)
            yield its_row.failed(failure)


def _measure_beside(
    make: Make, contest: Contest, row: Row, mine: list[float], answers: list[Any]
) -> Row:
    """Return the row with the times of both, in turn; the candidate's first round is done."""
    try:
        parts = make()
        for part in parts[:1]:
            part()
    except ModuleNotFoundError as missing:
        _log.warning("%s: %s", row.peer, missing)
        parts = []
    theirs, spent = [math.inf] * len(parts), 0.0
    for turn in range(contest.rounds):
        if turn:
            mine = list(map(min, mine, _play(contest.work)[0]))
        times, found = _play(parts, limit_s=contest.limit_s - spent)
        theirs = list(map(min, theirs, times))
        spent += math.fsum(times)
        if parts and not turn and contest.agree is not None:
            contest.agree(answers, found)
        if spent * (turn + 2) / (turn + 1) > contest.limit_s:
            break
    if parts:
        mine = mine[: len(theirs)] if contest.median else mine  # the same parts
        whole = 1.0 if contest.median else len(parts) / len(theirs)
        figure = _figure(contest, theirs) * whole
        row = replace(row, peer_s=figure, extrapolated=len(theirs) < len(parts))
    return replace(row, ours_s=_figure(contest, mine))


def _figure(contest: Contest, times: Sequence[float]) -> float:
    return (statistics.median(times) if contest.median else math.fsum(times)) * contest.scale


def _play(parts: Sequence[Work], *, limit_s: float = math.inf) -> tuple[list[float], list[Any]]:
    """Return how long parts took, at least one, until the limit was reached, and their results."""
    times, answers = [], []
    for part in parts:
        start = time.perf_counter()
        answers.append(part())
        times.append(time.perf_counter() - start)
        if math.fsum(times) > limit_s:
            break
    return times, answers


def _peak_mib() -> float | None:
    """Return the peak of the accelerator's memory where JAX uses one, else of the process."""
    stats = [device.memory_stats() or {} for device in jax.devices() if device.platform != "cpu"]
    if taken := sum(each.get("peak_bytes_in_use", 0) for each in stats):
        return taken / MIB
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if found := re.search(r"VmHWM:\s*(\d+) kB", status):
            return int(found[1]) / 1024
    return None


def write(folder: Path, machine: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Write `benchmarks.json` and the same in Markdown, and return the latter."""
    content = [asdict(row) | {"ratio": row.ratio} for row in rows]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    facts = ", ".join(f"{k} {v}" for k, v in machine.items() if v is not None and k != "versions")
    lines = [_HEADER, *map(str, rows), "", _LEGEND, "", f"Machine: {facts}; {versions}."]
    write_json(folder / JSON, {"machine": dict(machine), "rows": content})
    write_text(folder / "benchmarks.md", "\n".join(lines) + "\n")
    return "\n".join(lines)


def _digits(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"
