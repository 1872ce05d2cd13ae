"""Timing ours and the peer's in turn, in one process.

Both are warmed up before they are timed, so that compilation doesn't count. Then they take turns,
equally often, and the least time of each part counts: other work on the machine can only make a
time longer, and what lasts for a while is met by both.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxsurf.pipeline.benchmark import memory
from jaxsurf.pipeline.benchmark.cases import Contest, Parts, Work
from jaxsurf.pipeline.benchmark.figures import Times


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        ours: our times.
        peer: the peer's; None where there is none, or where it failed.
        peak_mib: the most memory that was taken before the peer came into being.
        share: of what the chip could do in our time at most; None where that isn't known.
        error: what the peer failed of.
    """

    ours: Times
    peer: Times | None
    peak_mib: float | None
    share: float | None = None
    error: str = ""


def measure(contest: Contest, *, with_peer: bool = True) -> Measured:
    """Return the least times of both, and our peak of memory.

    Whatever ours raises is raised; what the peer raises is written down, and ours goes on alone.

    Args:
        contest: what to time.
        with_peer: whether what the peer is made of is there.

    Raises:
        ValueError: both have done the same work with different results.
    """
    ours = _Side(contest.ours, contest.calls)
    ours.warm_up(ours.work.parts if contest.warm is None else [contest.warm])
    ours.play()
    peak = memory.peak_mib()
    peer = _Peer(contest.make_peer if with_peer else None, contest)
    peer.play()
    if contest.agree is not None and peer.played is not None:
        contest.agree(ours.answers, peer.played.answers)
    for _ in range(contest.rounds - 1):
        if peer.tired:
            break
        ours.play()
        peer.play()
    theirs = None if peer.played is None else peer.played.times
    share = contest.least_s / min(ours.parts_s) if contest.least_s else None
    return Measured(ours=ours.times, peer=theirs, peak_mib=peak, share=share, error=peer.error)


class _Side:
    """One side's parts, what they returned at first, and the least time of each."""

    def __init__(self, work: Work | Parts, calls: int) -> None:
        self.work = work if isinstance(work, Parts) else Parts(parts=[work])
        self.parts = list(self.work.parts) * calls
        self.first_s: list[float] = []
        self.parts_s: list[float] = []
        self.answers: list[object] = []
        self.spent_s = self.round_s = 0.0

    @property
    def times(self) -> Times:
        """The least times."""
        first = min(self.first_s, default=0.0)
        return Times(first=first, parts=self.parts_s, number=self.work.number or len(self.parts))

    def warm_up(self, parts: Sequence[Work]) -> None:
        """Do what is done once and some parts, so that all is compiled and loaded."""
        for work in [self.work.first, *parts]:
            if work is not None:
                work()

    def play(self, limit_s: float = math.inf) -> None:
        """Time all parts, or the first few until they have taken too long."""
        self.round_s, answers = 0.0, []
        if self.work.first is not None:
            self.round_s, _ = _timed(self.work.first)
            self.first_s.append(self.round_s)
        for place, part in enumerate(self.parts):
            seconds, answer = _timed(part)
            answers.append(answer)
            before = self.parts_s[place : place + 1]
            self.parts_s[place : place + 1] = [min([seconds, *before])]
            self.round_s += seconds
            if self.round_s >= limit_s:
                break
        self.answers = self.answers or answers
        self.spent_s += self.round_s


class _Peer:
    """The other side, made at its first round; out of the game once it has failed."""

    def __init__(self, make: Callable[[], Work | Parts] | None, contest: Contest) -> None:
        self.make = make
        self.calls = contest.calls
        self.limit_s = contest.limit_s
        self.side: _Side | None = None
        self.error = ""

    @property
    def played(self) -> _Side | None:
        """What it did, unless it failed."""
        return None if self.error else self.side

    @property
    def tired(self) -> bool:
        """Whether a further round would take too long."""
        side = self.played
        return side is not None and side.spent_s + side.round_s > self.limit_s

    def play(self) -> None:
        """Time a round."""
        if self.make is None or self.error:
            return
        try:
            if self.side is None:
                self.side = _Side(self.make(), self.calls)
                # One part: all of them may take a minute.
                self.side.warm_up(self.side.work.parts[:1])
            self.side.play(self.limit_s)
        # A foreign library may raise anything at all.
        except Exception as error:  # noqa: BLE001
            self.error = in_one_line(error)


def in_one_line(error: BaseException) -> str:
    """Return what was raised, for a cell of a table."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _timed(work: Work) -> tuple[float, object]:
    """Return how long some work takes, in seconds, and what it returns."""
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer
