"""Timing ours and the peer's in turn, in one process.

Both are done once before they are timed, so that compilation doesn't count. Then they take turns,
and the least time of each counts: other work on the machine can only make a time longer, and what
lasts for a while is met by both.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from jaxsurf.pipeline.benchmark import memory
from jaxsurf.pipeline.benchmark.cases import Contest, Work


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        ours_s: our time.
        peer_s: the peer's; None where there is none, or where it failed.
        peak_mib: the most memory that was taken before the peer came into being.
        error: what the peer failed of.
    """

    ours_s: float
    peer_s: float | None
    peak_mib: float | None
    error: str = ""


def measure(contest: Contest, *, with_peer: bool = True) -> Measured:
    """Return the least times of both, and our peak of memory.

    Whatever ours raises is raised; what the peer raises is written down, and ours goes on alone.

    Args:
        contest: what to time.
        with_peer: whether what the peer is made of is there.
    """
    contest.ours()
    ours = [_seconds(contest.ours, contest.calls)]
    peak = memory.peak_mib()
    peer = _Peer(contest.make_peer if with_peer else None, contest.calls)
    peer.play()
    for _ in range(contest.rounds - 1):
        ours.append(_seconds(contest.ours, contest.calls))
        peer.play()
    return Measured(
        ours_s=min(ours), peer_s=min(peer.times, default=None), peak_mib=peak, error=peer.error
    )


class _Peer:
    """The other side, made at its first round; out of the game once it has failed."""

    def __init__(self, make: Callable[[], Work] | None, calls: int) -> None:
        self.make = make
        self.calls = calls
        self.work: Work | None = None
        self.times: list[float] = []
        self.error = ""

    def play(self) -> None:
        """Take one time."""
        if self.make is None or self.error:
            return
        try:
            if self.work is None:
                self.work = self.make()
                self.work()
            self.times.append(_seconds(self.work, self.calls))
        # A foreign library may raise anything at all.
        except Exception as error:  # noqa: BLE001
            self.times.clear()
            self.error = in_one_line(error)


def in_one_line(error: BaseException) -> str:
    """Return what was raised, for a cell of a table."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _seconds(work: Work, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return time.perf_counter() - start
