"""Which checkpoints are kept: the last ones, the best ones, and every n-th."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxsurf.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Keep:
    """How many checkpoints are kept, of each kind.

    Attributes:
        last: the newest.
        best: those with the lowest loss.
        every: each so-many-th that was saved; 0 keeps none for that reason.
    """

    last: int = 2
    best: int = 1
    every: int = 0

    def __post_init__(self) -> None:
        if self.last < 1:
            raise UserError(f"training.keep_last is {self.last}, but must be at least 1")
        if min(self.best, self.every) < 0:
            raise UserError("training.keep_best and keep_every must not be negative")


@dataclass(frozen=True)
class Note:
    """What a checkpoint is judged by.

    Attributes:
        number: how many were saved up to it.
        loss: the last that was written down before it; None if none was.
    """

    number: int
    loss: float | None


def choose(notes: Mapping[int, Note | None], keep: Keep) -> set[int]:
    """Return the steps of the checkpoints to keep.

    Args:
        notes: by step; one without a note is not this run's, or damaged, and is always kept.
        keep: how many.
    """
    own = {step: note for step, note in notes.items() if note is not None}
    last = sorted(own)[-keep.last :]
    every = [step for step, note in own.items() if keep.every and note.number % keep.every == 0]
    return {*last, *best(own)[: keep.best], *every, *(notes.keys() - own.keys())}


def best(notes: Mapping[int, Note | None]) -> list[int]:
    """Return the steps that have a loss, the lowest first; of equal ones, the later."""
    losses = {
        step: note.loss
        for step, note in notes.items()
        if note is not None and note.loss is not None
    }
    return sorted(losses, key=lambda step: (losses[step], -step))
