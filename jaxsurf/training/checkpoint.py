"""Checkpoints: a pytree and a JSON object, kept together under a step.

The owner of orbax. Saving is asynchronous and atomic: a folder with a step's number is a finished
checkpoint. Values come back bit for bit, on the shardings of the tree they are restored into.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jaxsurf.errors import UserError


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
        keep: how many of the newest to keep.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.LatestN(keep),
                create=False,
                enable_async_checkpointing=True,
            ),
            item_names=("state", "run"),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "run": ocp.JsonCheckpointHandler(),
            },
        )

    @property
    def newest_step(self) -> int | None:
        """The step of the newest finished checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: object, run: dict[str, Any]) -> None:
        """Begin to save a pytree and a JSON object; a step that is there already is left alone.

        Raises:
            UserError: the folder can't be written; older checkpoints are intact.
        """
        if step == self.newest_step:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), run=ocp.args.JsonSave(run)
                ),
                force=True,
            )
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def restore(self, like: object) -> Restored:
        """Return the newest checkpoint.

        Args:
            like: a tree of arrays of the wanted shapes, dtypes and shardings.

        Raises:
            UserError: there is none, it is damaged, or it holds another model.
        """
        step = self.newest_step
        if step is None:
            raise UserError(
                f"{self.folder.parent} holds no checkpoint",
                cure="train there first: python launch/train.py --config=... --workdir=...",
            )
        wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(wanted), run=ocp.args.JsonRestore()
                ),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            first_line = str(error).strip().split("\n")[0]
            raise UserError(
                f"checkpoint {self.folder / str(step)} can't be restored ({first_line})",
                cure="remove that folder to fall back on an older checkpoint",
            ) from error
        return Restored(items["state"], items["run"], step)

    def wait(self) -> None:
        """Return when everything saved so far is on disk.

        Raises:
            UserError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def close(self) -> None:
        """Finish what is being saved and free its threads."""
        self.wait()
        self._manager.close()


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot save a checkpoint in {folder}: {error.strerror or error}",
        cure="free some space; older checkpoints are intact, so the same command resumes",
    )
