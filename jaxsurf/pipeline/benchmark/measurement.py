"""Timing ours and the peer's in turn, in one process; its memory, and the most its chip could do.

Both are warmed up before they are timed, so that compilation doesn't count. Then they take turns,
equally often, and the least time of each part counts: other work on the machine can only make a
time longer, and what lasts for a while is met by both.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from jaxsurf.images.storage import MIB
from jaxsurf.pipeline.benchmark.rows import Contest, Parts, Times, Work

# What a chip could do at most: dense products of one chip, by a part of the name that JAX has for
# it. Operations a second for bfloat16, and for float32 where XLA takes TF32 for it by default (on
# TPUs, bfloat16 passes). Sources: NVIDIA's data sheets of A100, H100, H200 and L4, Google's pages
# on Cloud TPU v4, v5e, v5p and v6e.
PEAKS: Mapping[str, Mapping[str, float]] = {
    "A100": {"bfloat16": 312e12, "float32": 156e12},
    "H100 PCIe": {"bfloat16": 756e12, "float32": 378e12},
    "H100": {"bfloat16": 989e12, "float32": 494e12},
    "H200": {"bfloat16": 989e12, "float32": 494e12},
    "L4": {"bfloat16": 121e12, "float32": 60e12},
    "TPU v4": {"bfloat16": 275e12},
    "TPU v5 lite": {"bfloat16": 197e12},
    "TPU v5p": {"bfloat16": 459e12},
    "TPU v6 lite": {"bfloat16": 918e12},
}


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

    Whatever ours raises is raised; what the peer raises is written down, and ours goes on alone,
    as it does from the start unless `with_peer`.

    Raises:
        ValueError: both have done the same work with different results.
    """
    ours = _Side(contest.ours, contest.calls)
    ours.warm_up(ours.work.parts if contest.warm is None else [contest.warm])
    make_peer, peer, error = contest.make_peer if with_peer else None, None, ""
    peak = None
    for played in range(contest.rounds):
        ours.play()
        if not played:
            peak = peak_mib()
        try:
            if peer is None and make_peer is not None:
                peer = _Side(make_peer(), contest.calls)
                # One part: all of them may take a minute.
                peer.warm_up(peer.work.parts[:1])
            if peer is not None:
                peer.play(contest.limit_s)
        # A foreign library may raise anything at all.
        except Exception as failure:  # noqa: BLE001
            peer, make_peer, error = None, None, in_one_line(failure)
        if peer is None:
            continue
        if contest.agree is not None and not played:
            contest.agree(ours.answers, peer.answers)
        if peer.spent_s + peer.round_s > contest.limit_s:
            break
    theirs = None if peer is None else peer.times
    share = contest.least_s / min(ours.parts_s) if contest.least_s else None
    return Measured(ours=ours.times, peer=theirs, peak_mib=peak, share=share, error=error)


def peak_mib() -> float | None:
    """Return the most memory taken so far, in MiB; None where the system does not tell.

    It is that of the accelerators where JAX has put anything there, else what of this process was
    in the host's memory at once: interpreter, libraries and inputs included.
    """
    stats = [device.memory_stats() or {} for device in jax.devices() if device.platform != "cpu"]
    if taken := sum(each.get("peak_bytes_in_use", 0) for each in stats):
        return taken / MIB
    # Linux's other figure, ru_maxrss, begins with what the parent had when it started the process.
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] / 1024 if found else None


def flops_per_s(precision: str, *, num_devices: int = 1) -> float | None:
    """Return the most operations a second of such devices; None where that isn't known."""
    kind = jax.devices()[0].device_kind
    for name, peak in PEAKS.items():
        if name in kind:
            return num_devices * peak.get(precision, peak["bfloat16"])
    return None


def in_one_line(error: BaseException) -> str:
    """Return what was raised, for a cell of a table."""
    return " ".join(f"{type(error).__name__}: {error}".split())


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
        """Do what comes first and some parts, so that all is compiled and loaded."""
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


def _timed(work: Work) -> tuple[float, object]:
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer
