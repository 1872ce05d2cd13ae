"""What a suite offers: rows to be measured, each described before anything of it is built."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxsurf.pipeline.benchmark.figures import WHOLE, Figure

# Does all of the work to be timed, and returns when it is done: a device is waited for.
Work = Callable[[], object]
# From what our parts returned and what the peer's did: raises where they are not the same.
Agree = Callable[[Sequence[Any], Sequence[Any]], None]
Where = Literal["anywhere", "cpu", "accelerator"]


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
    """A row that is extrapolated: so many times what other rows of the same stage took together.

    Attributes:
        stage: of the pipeline.
        size: as in `Case`.
        parts: sizes of the rows that are added up.
        times: what their sum is multiplied with.
        where: as in `Case`.
    """

    stage: str
    size: str
    parts: Collection[str]
    times: float
    where: Where = "anywhere"
