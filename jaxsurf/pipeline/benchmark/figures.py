"""From the times of parts to the figures of a row.

Either side's work falls into parts of a kind, each timed by itself: pairs of ends, portions of the
queries. A slow peer may have done some of them only.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Times:
    """What one side took, in seconds.

    Attributes:
        first: what was done once, before the parts.
        parts: those that were done, in order.
        number: how many there are in all.
    """

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
    """One number for either side.

    Attributes:
        name: what it is, for the row's `size`; empty for all of the work.
        of: from our times and the peer's, None where there are none, to what either is given.
    """

    name: str = ""
    of: Callable[[Times, Times | None], tuple[float, float | None]]


def _whole(ours: Times, peer: Times | None) -> tuple[float, float | None]:
    return ours.whole, None if peer is None else peer.whole


def _median(ours: Times, peer: Times | None) -> tuple[float, float | None]:
    """Return medians over the same parts."""
    if peer is None:
        return statistics.median(ours.parts), None
    both = list(zip(ours.parts, peer.parts, strict=False))
    return statistics.median(mine for mine, _ in both), statistics.median(its for _, its in both)


def _worst(ours: Times, peer: Times | None) -> tuple[float, float | None]:
    """Return the part on which ours gains least; without a peer the one that takes it longest."""
    if peer is None:
        return max(ours.parts), None
    return min(zip(ours.parts, peer.parts, strict=False), key=lambda both: both[1] / both[0])


WHOLE = Figure(of=_whole)
MEDIAN = Figure(name="median", of=_median)
WORST = Figure(name="worst, where ours gains least", of=_worst)
