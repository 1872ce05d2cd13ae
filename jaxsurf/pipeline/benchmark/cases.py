"""What a suite offers: rows to be measured, each described before anything of it is built."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

# Does all of the work to be timed, and returns when it is done: a device is waited for.
Work = Callable[[], object]
Where = Literal["anywhere", "cpu", "accelerator"]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Work to be timed, ready to begin.

    Attributes:
        ours: the work as jaxsurf does it.
        make_peer: makes the same work as the peer does it, and all that it needs; None where there
            is no peer. It is called after our memory was read, so that the peer's is not in it.
        rounds: how often both are timed; the least time counts.
        calls: how often each is done within one timing.
    """

    ours: Work
    make_peer: Callable[[], Work] | None = None
    rounds: int = 3
    calls: int = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row to be measured.

    Attributes:
        stage: of the road.
        size: what is measured and how much of it, in words; tells it from others of its stage.
        prepare: builds it; called in a process of its own.
        peer: what it is compared with; empty for nothing.
        needs: packages that the peer is made of, as they are imported; where one isn't installed,
            the row has our figures alone.
        where: the machines on which it is worth the time.
    """

    stage: str
    size: str
    prepare: Callable[[], Contest]
    peer: str = ""
    needs: Collection[str] = ()
    where: Where = "anywhere"


@dataclass(frozen=True, kw_only=True)
class Total:
    """A row that is extrapolated: so many times what other rows of the same stage took together.

    Attributes:
        stage: of the road.
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
