"""The folder that checkpoints lie in: which of them are intact and of this run.

What is neither is never deleted. It is named, passed over, and, before another checkpoint is saved,
set aside under another name, since it may stand where that one has to go.
"""

import itertools
import logging
from pathlib import Path
from typing import Any

from jaxsurf.training import keeping, seal
from jaxsurf.training.keeping import Keep, Note

ASIDE = "unusable"

_log = logging.getLogger(__name__)


class Shelf:
    """The checkpoints of one run, as they lie there.

    Args:
        folder: where they lie, in folders of which a step's number is the name.
        of: identity of the run.
        keep: how many stay.

    Attributes:
        unusable: why a step's checkpoint can't be used.
        notes: what each is judged by; None for what is damaged or another run's.
    """

    def __init__(self, folder: Path, *, of: str, keep: Keep) -> None:
        self.folder = folder
        self.of = of
        self.keep = keep
        self.unusable: dict[int, str] = {}
        self.notes: dict[int, Note | None] = {}

    def path(self, step: int) -> Path:
        """Return where a step's checkpoint is."""
        return self.folder / str(step)

    def look(self, steps: list[int]) -> None:
        """Read what the checkpoints of steps are judged by."""
        self.notes = {step: self._read_note(step) for step in steps}

    def label(self, step: int, *, loss: float | None) -> dict[str, Any]:
        """Return what to write on the next checkpoint, and take note of it."""
        number = 1 + max((note.number for note in self.notes.values() if note), default=0)
        self.notes[step] = Note(number, loss)
        return {"of": self.of, "number": number, "loss": loss}

    def chosen(self, steps: list[int]) -> set[int]:
        """Return which steps' checkpoints stay."""
        return keeping.choose({step: self.notes.get(step) for step in steps}, self.keep)

    def holds(self, step: int) -> bool:
        """Return whether there is a usable checkpoint of a step; mark one that is not."""
        if not self.path(step).exists():
            return False
        flaw = self.unusable.get(step) or self.find_flaw(step)
        if flaw:
            self.mark(step, flaw)
        return not flaw

    def find_flaw(self, step: int) -> str:
        """Return why a checkpoint can't be used; nothing if it can.

        Raises:
            OSError: it may not be read.
        """
        damage = seal.find_damage(self.path(step))
        if damage or self._read_note(step) is not None:
            return damage
        return "it is of another run"

    def mark(self, step: int, flaw: str) -> None:
        """Remember, and say, that a checkpoint can't be used."""
        if step not in self.unusable:
            _log.warning("checkpoint %s can't be used: %s", self.path(step), flaw)
        self.unusable[step] = flaw

    def set_aside(self, *, rename: bool = True) -> None:
        """Rename what can't be used, and forget it.

        Args:
            rename: False where another process does so.
        """
        for step in self.unusable if rename else ():
            path = self.path(step)
            names = (f"{step}.{ASIDE}{number or ''}" for number in itertools.count())
            free = next(name for name in names if not (self.folder / name).exists())
            if path.exists():
                path.rename(self.folder / free)
                _log.warning("checkpoint %s is kept as %s", path, free)
        self.notes = {s: note for s, note in self.notes.items() if s not in self.unusable}
        self.unusable = {}

    def _read_note(self, step: int) -> Note | None:
        """Return what a checkpoint is judged by; None if it is damaged or another run's."""
        label = seal.read_label(self.path(step))
        if label is None or label["of"] != self.of:
            return None
        return Note(label["number"], label["loss"])
