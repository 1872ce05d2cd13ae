"""Checkpoints: a pytree and a JSON object, kept together under a step.

The owner of orbax. Saving is asynchronous and atomic: a folder with a step's number is a finished
checkpoint, and it is sealed, so that later damage shows. Values come back bit for bit, on the
shardings of the tree they are restored into. One that can't be used is passed over for an older.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxsurf.errors import UserError
from jaxsurf.training import distributed, keeping, seal
from jaxsurf.training.keeping import Keep
from jaxsurf.training.shelf import Shelf

ITEMS = ("state", "run")
# How orbax names a checkpoint until it is finished.
UNFINISHED = ocp.utils.TMP_DIR_SUFFIX
# What orbax and tensorstore raise where something can't be written.
UNWRITABLE = (OSError, ValueError)
# What they raise where arrays are not what they are asked for.
UNFITTING = (OSError, ValueError, KeyError, TypeError)
REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


@dataclass(frozen=True)
class Restored:
    """What a checkpoint held."""

    state: Any
    run: dict[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie, one folder a step; made when the first is saved.
        of: identity of the run; checkpoints of another are not used.
        keep_last: how many of the newest stay.
        keep_best: how many of those with the lowest loss stay.
        keep_every: each so-many-th stays; 0 keeps none for that reason.
    """

    def __init__(
        self,
        folder: Path,
        *,
        of: str = "",
        keep_last: int = 2,
        keep_best: int = 1,
        keep_every: int = 0,
    ) -> None:
        keep = Keep(last=keep_last, best=keep_best, every=keep_every)
        # Its errors are raised as well, and are said in one line then.
        logging.getLogger("absl").addFilter(_is_not_orbax)
        self.folder = folder.absolute()
        self._shelf = Shelf(self.folder, of=of, keep=keep)
        self._good: set[int] = set()
        self._saving: tuple[int, dict[str, Any]] | None = None
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_Policy(self._shelf),
                create=False,
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
                lightweight_initialize=True,  # else one damaged file is enough to end in an error
            ),
            item_names=ITEMS,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "run": ocp.JsonCheckpointHandler(),
            },
        )
        self._shelf.look(self._steps)

    @property
    def newest_step(self) -> int | None:
        """The step of the newest finished checkpoint; None if there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step of the checkpoint with the lowest loss; None if none has one."""
        return next(iter(keeping.best(self._shelf.notes)), None)

    @property
    def _steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: object, run: dict[str, Any], *, loss: float | None = None
    ) -> None:
        """Begin to save a pytree and a JSON object; a step that is there already is left alone.

        Args:
            step: of the run.
            state: the pytree.
            run: the JSON object.
            loss: what tells the best checkpoints; one without has no say.

        Raises:
            UserError: this one or the one before can't be written; older checkpoints are intact.
        """
        if step in self._good:
            return
        self.wait()
        if self._shelf.holds(step):
            return
        try:
            self._clear()
            self._saving = step, self._shelf.label(step, loss=loss)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(jax.tree.map(_once, state)),
                    run=ocp.args.JsonSave(run),
                ),
                force=True,
            )
        except UNWRITABLE as error:
            raise _unwritable(self.folder, error) from error
        self._good.add(step)

    def restore(self, like: object, *, step: int | None = None) -> Restored:
        """Return the newest checkpoint that can be used; those that can't be are named in the log.

        Args:
            like: a tree of arrays of the wanted shapes, dtypes and shardings.
            step: return that one instead.

        Raises:
            UserError: there is none, or none that is intact and of this run.
        """
        if not self._steps:
            raise UserError(
                f"{self.folder.parent} holds no checkpoint",
                cure="train there first: python launch/train.py --config=... --workdir=...",
            )
        if step is not None and step not in self._steps:
            listed = ", ".join(map(str, self._steps))
            raise UserError(f"there is no checkpoint {step}", cure=f"choose one of {listed}")
        for each in reversed(self._steps) if step is None else [step]:
            restored = self._restore(each, like)
            if restored is not None:
                return restored
        named = ", ".join(f"{step} ({flaw})" for step, flaw in self._shelf.unusable.items())
        raise UserError(
            f"no checkpoint in {self.folder} can be used: {named}",
            cure="put back what training wrote, or train in another --workdir",
        )

    def check(self) -> None:
        """Raise what went wrong with what was being saved, once that has come to its end.

        Raises:
            UserError: it could not be written.
        """
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Return when everything saved so far is on disk.

        Raises:
            UserError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except UNWRITABLE as error:
            raise _unwritable(self.folder, error) from error
        finally:
            self._saving = None

    def close(self) -> None:
        """Finish what is being saved and free its threads."""
        try:
            self.wait()
        finally:
            # What it may raise again was raised by waiting.
            with contextlib.suppress(*UNWRITABLE):
                self._manager.close()

    def _restore(self, step: int, like: object) -> Restored | None:
        """Return a checkpoint; None, and say why, if it can't be used."""
        if not self._shelf.holds(step):
            return None
        wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(wanted), run=ocp.args.JsonRestore()
                ),
            )
        except UNFITTING as error:  # so it is not damaged: older ones won't do either
            raise UserError(
                f"checkpoint {self._shelf.path(step)} can't be restored ({_first_line(error)})",
                cure="put back what training wrote, or train in another --workdir",
            ) from error
        self._good.add(step)
        return Restored(items["state"], items["run"], step)

    def _clear(self) -> None:
        """Make the folder ready for another checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._shelf.unusable:
            self._shelf.set_aside(rename=distributed.writes())
            distributed.wait_for_all("set aside")
            self._manager.reload()

    def _seal(self) -> None:
        """Seal what is about to be renamed; in the background, where the rest is written."""
        if self._saving is not None and distributed.writes():
            step, label = self._saving
            seal.put_on(self.folder / f"{step}{UNFINISHED}", ITEMS, label)


class _Policy:
    """What orbax asks which checkpoints stay."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def should_preserve(self, checkpoints: Sequence[Any], **_: object) -> list[bool]:
        """Return for each whether it stays."""
        steps = [each.step for each in checkpoints]
        chosen = self.shelf.chosen(steps)
        return [step in chosen for step in steps]


def _once(array: object) -> object:
    """Return one copy of what lies on all devices of this process; orbax would cut it in pieces.

    A piece of each device's is quicker for arrays of gigabytes; small ones it costs tenths of a
    second a checkpoint.
    """
    if isinstance(array, jax.Array) and array.is_fully_addressable and array.is_fully_replicated:
        return array.addressable_data(0)
    return array


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def _unwritable(folder: Path, error: BaseException) -> UserError:
    """Return the error of something that can't be written; tensorstore hides why in a long text."""
    known = map(os.strerror, REASONS)
    reason = next((text for text in known if text in str(error)), _first_line(error))
    return UserError(
        f"cannot save a checkpoint in {folder}: {reason}",
        cure="free some space or make it writable; older checkpoints are intact, so the same "
        "command resumes",
    )
