"""What is timed, beside what, and the row of a table that comes of it.

Work is warmed up before it is timed, so that compilation doesn't count. Then jaxsurf (the
candidate) and a baseline take turns, and the least time of each part counts: other work on the
machine can only make a time longer. Times are in seconds, memory in MiB; `ratio` is the baseline's
time divided by the candidate's.
"""

import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax

from jaxsurf.images.storage import MIB
from jaxsurf.workdir import write_json, write_text

# Does all of the work to be timed, and returns when it is done: a device is waited for.
Work = Callable[[], Any]
JSON, MARKDOWN = "benchmarks.json", "benchmarks.md"
_HEADER = (
    "| stage | size | jaxsurf, s | baseline | baseline, s | baseline / jaxsurf | peak, MiB |\n"
    "|---|---|---|---|---|---|---|"
)
_LEGEND = (
    "Least times of several rounds, jaxsurf and the baseline in turn, both compiled beforehand. An"
    " empty cell was not measured. Extrapolated: the baseline did a part of the work. Memory is"
    " jaxsurf's: the accelerator's where it does the work, else that of the whole process."
)


@dataclass(frozen=True)
class Baseline:
    """What the candidate is compared with.

    Attributes:
        name: in the table.
        make: makes its work, part by part; called after the candidate's memory was read.
        needs: a package, as it is imported; where it is missing the candidate is timed alone.
        limit_s: no part is begun after so many seconds; the rest is extrapolated.
        number: how many parts there are in all, where `make` gives only some of them.
    """

    name: str
    make: Callable[[], Sequence[Work]]
    needs: str = ""
    limit_s: float = 30.0
    number: int = 0


@dataclass(frozen=True)
class Contest:
    """The candidate's work, ready to begin, and its baselines; one row for each of these.

    Attributes:
        stage: of the pipeline.
        size: what is measured and how much of it, in words.
        work: the candidate's, part by part.
        median: whether the median part is the figure, and not the sum of all.
        warm: what is done before the candidate is timed, where that is less than all of `work`.
        agree: compares what parts of both returned, as far as the baseline came; raises where they
            are not the same.
        scale: what times are multiplied with, such as from some steps to an epoch.
        rounds: at most, where the baseline's limit allows it.
    """

    stage: str
    size: str
    work: Sequence[Work]
    baselines: Sequence[Baseline] = ()
    median: bool = False
    warm: Work | None = None
    agree: Callable[[Sequence[Any], Sequence[Any]], None] | None = None
    scale: float = 1.0
    rounds: int = 3


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
        baseline = _digits(self.peer_s) + " (extrapolated)" * self.extrapolated
        ends = (_digits(self.ratio), _digits(self.peak_mib))
        cells = [self.stage, self.size, _digits(self.ours_s), self.peer, baseline, *ends]
        if self.error:
            cells[4 if self.ours_s else 2] = f"failed: {self.error}"
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def measure(contest: Contest) -> Iterator[Row]:
    """Time a contest; what the candidate raises is raised, what a baseline raises is its row's.

    That both did the same work with different results is the row's error too.
    """
    _reset_peak()
    for work in contest.work if contest.warm is None else [contest.warm]:
        work()
    first, answers = _play(contest.work)
    ours_s = _figure(contest, first)
    row = Row(contest.stage, contest.size, ours_s=ours_s, peak_mib=_peak_mib())
    if not contest.baselines:
        further = [_play(contest.work)[0] for _ in range(1, contest.rounds)]
        least = [min(times) for times in zip(first, *further, strict=True)]
        yield replace(row, ours_s=_figure(contest, least))
    for baseline in contest.baselines:
        its_row = replace(row, peer=baseline.name)
        try:
            if not baseline.needs or importlib.util.find_spec(baseline.needs):
                its_row = _measure_beside(baseline, contest, its_row, first, answers)
        # A foreign library may raise anything at all.
        except Exception as failure:  # noqa: BLE001
            its_row = replace(its_row, error=in_one_line(failure))
        yield its_row


def _measure_beside(
    baseline: Baseline,
    contest: Contest,
    row: Row,
    first: Sequence[float],
    answers: Sequence[object],
) -> Row:
    """Return the row with the times of both, in turn; the candidate's first round is done."""
    parts = baseline.make()
    parts[0]()
    mine, theirs, spent = first, [math.inf] * len(parts), 0.0
    for turn in range(contest.rounds):
        if turn:
            mine = list(map(min, mine, _play(contest.work)[0]))
        taken, its_answers = _play(parts, limit_s=baseline.limit_s - spent)
        theirs = list(map(min, theirs, taken))
        spent += math.fsum(taken)
        if not turn and contest.agree is not None:
            contest.agree(answers, its_answers)
        if spent * (turn + 2) / (turn + 1) > baseline.limit_s:
            break
    number = baseline.number or len(parts)
    if contest.median:  # over the same parts
        mine = mine[: len(theirs)]
    whole = 1.0 if contest.median else number / len(theirs)
    return replace(
        row,
        ours_s=_figure(contest, mine),
        peer_s=_figure(contest, theirs) * whole,
        extrapolated=len(theirs) < number,
    )


def _figure(contest: Contest, times: Sequence[float]) -> float:
    return (statistics.median(times) if contest.median else math.fsum(times)) * contest.scale


def _play(parts: Sequence[Work], *, limit_s: float = math.inf) -> tuple[list[float], list[Any]]:
    """Time parts until the limit is reached, at least one; return times and answers."""
    times: list[float] = []
    answers = []
    for part in parts:
        start = time.perf_counter()
        answers.append(part())
        times.append(time.perf_counter() - start)
        if math.fsum(times) > limit_s:
            break
    return times, answers


def _reset_peak() -> None:
    """Forget what making the inputs took: Linux then counts the peak of memory anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


def _peak_mib() -> float | None:
    """Return the peak of the accelerator's memory where JAX uses one, else of the process."""
    stats = [device.memory_stats() or {} for device in jax.devices() if device.platform != "cpu"]
    if taken := sum(each.get("peak_bytes_in_use", 0) for each in stats):
        return taken / MIB
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] / 1024 if found else None


def in_one_line(error: BaseException) -> str:
    """Return what was raised, for a cell of a table."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def write(folder: Path, machine: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Write `benchmarks.json` and the same in Markdown, and return the latter.

    Raises:
        UserError: a file can't be written.
    """
    content = [
        {name: value for name, value in asdict(row).items() if name != "error" or value}
        | {"ratio": row.ratio}
        for row in rows
    ]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    facts = ", ".join(f"{k} {v}" for k, v in machine.items() if v is not None and k != "versions")
    lines = [_HEADER, *map(str, rows), "", _LEGEND, "", f"Machine: {facts}; {versions}."]
    write_json(folder / JSON, {"machine": dict(machine), "rows": content})
    write_text(folder / MARKDOWN, "\n".join(lines) + "\n")
    return "\n".join(lines)


def _digits(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"
