"""Checkpoints: a pytree and a JSON object, kept together under a step.

What is named by a step is a finished checkpoint, whose values come back bit for bit. Its manifest
holds the SHA-256 digest of each file, since orbax's arrays have no checksum. One that is damaged,
or of another run, is named in the log and an older one used; before the next is saved, it is
renamed to STEP.unusable (quarantine), since orbax would stumble over it.
"""

import contextlib
import errno
import glob
import hashlib
import itertools
import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxsurf.errors import UserError
from jaxsurf.training import distributed
from jaxsurf.workdir import read_json, write_json

MANIFEST = "manifest.json"
UNFINISHED = ocp.utils.TMP_DIR_SUFFIX
REMOVED = "removed"  # old checkpoints are moved there at once: none is ever seen half removed
# What orbax and tensorstore raise where something can't be written, or is not what it should be,
# and reasons that they bury in long texts.
FAILURES = (OSError, ValueError, KeyError, TypeError)
REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)

_log = logging.getLogger(__name__)
# Orbax logs its errors with tracebacks before it raises them.
logging.getLogger("absl").addFilter(lambda record: "/orbax/" not in record.pathname)


class Checkpoints:
    """The checkpoints of the run of identity `of`, one folder a step; those of others are not used.

    `data.TrainingConfig` says how many stay of which kind.
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
        self.folder = path = folder.absolute()
        self._of, self._ready = of, False
        self._saved: int | None = None  # the last step, until it is read back

        self._opened = contextlib.ExitStack()
        # Orbax globs with the path, tensorstore takes a backslash in it for a slash, and needs one
        # in UTF-8.
        plain = glob.escape(str(path)).encode(errors="replace").decode()
        if plain != str(path) or "\\" in plain:
            place = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="jaxsurf-"))
            path = Path(place) / "checkpoints"
            path.symlink_to(self.folder)
        policies = [LatestN(keep_last), BestN(get_metric_fn=_loss, reverse=True, n=keep_best)]
        self._manager = ocp.CheckpointManager(
            path,
            options=ocp.CheckpointManagerOptions(
                best_fn=_loss,  # else metrics are not written
                preservation_policy=AnyPreservationPolicy([*policies, _EveryNth(keep_every)]),
                todelete_subdir=REMOVED,
                create=False,
                lightweight_initialize=True,  # else damaged metrics are an error at once
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
            ),
            item_names=("state", "run"),
        )
        self._opened.callback(self._manager.close)

    @property
    def steps(self) -> list[int]:
        """The steps of all finished checkpoints, in order; damage has yet to show."""
        names = {path.name for path in self.folder.glob("*")}
        return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))

    @property
    def best_step(self) -> int | None:
        """The intact one's with the lowest loss, the later of equals; None if none has a loss."""
        intact = [step for step in reversed(self.steps) if not self._find_flaw(step)]
        losses = {step: _loss(self._manager.metrics(step)) for step in intact}
        known = (step for step in intact if losses[step] < math.inf)
        return min(known, key=losses.__getitem__, default=None)

    def save(
        self, step: int, state: object, run: dict[str, Any], *, loss: float | None = None
    ) -> None:
        """Begin to save a pytree and a JSON object; a step that is there already is left alone.

        One without a loss is worse than all others. What can't be written is reported here or at
        the next call.
        """
        with self._failures_reported():
            self._finish()
            if not self._ready:
                self.folder.mkdir(parents=True, exist_ok=True)
                if distributed.writes():
                    self._clear()
                multihost_utils.sync_global_devices("quarantine")
                self._manager.reload()
                self._ready = True
            if step in self.steps:
                return
            last = self._manager.metrics(self.steps[-1]) if self.steps else None
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), run=ocp.args.JsonSave(run)
                ),
                metrics={"number": last["number"] + 1 if last else 1, "loss": loss},
                force=True,
            )
            self._saved = step

    def restore(self, like: object, *, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Return pytree and JSON object of the newest checkpoint that can be used, or of a step.

        Those that can't be used are named in the log. `like` is a tree of arrays of the wanted
        shapes, dtypes and shardings.
        """
        steps, flaws = self.steps, []
        if not steps:
            raise UserError(
                f"{self.folder.parent} holds no checkpoint",
                cure="train there first: python launch/train.py --config=... --workdir=...",
            )
        if step is not None and step not in steps:
            raise UserError(
                f"there is no checkpoint {step}", cure=f"choose one of {', '.join(map(str, steps))}"
            )
        cure = "put back what training wrote, or train in another --workdir"
        for each in reversed(steps) if step is None else [step]:
            path = self.folder / str(each)
            if flaw := self._find_flaw(each):
                _log.warning("checkpoint %s can't be used: %s", path, flaw)
                flaws.append(f"{each} ({flaw})")
                continue
            wanted = ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like))
            args = ocp.args.Composite(state=wanted, run=ocp.args.JsonRestore())
            try:
                found = self._manager.restore(each, args=args)
            except FAILURES as error:  # it is not damaged, so older ones won't do either
                reason = f"checkpoint {path} can't be restored ({_reason(error)})"
                raise UserError(reason, cure=cure) from error
            return found["state"], found["run"]
        raise UserError(
            f"no checkpoint in {self.folder} can be used: {', '.join(flaws)}", cure=cure
        )

    def wait(self) -> None:
        """Return when everything saved so far is on disk, and the last of it was read back.

        Raises:
            UserError: it could not be written, or is not what was written.
        """
        with self._failures_reported():
            self._finish()
        step, self._saved = self._saved, None
        if step is not None and distributed.writes() and (flaw := self._find_flaw(step)):
            raise UserError(
                f"checkpoint {self.folder / str(step)} can't be read back: {flaw}",
                cure="check the disk; the same command goes on from an older checkpoint",
            )

    def _finish(self) -> None:
        self._manager.wait_until_finished()
        if distributed.writes():
            shutil.rmtree(self.folder / REMOVED, ignore_errors=True)

    def close(self) -> None:
        """Do as `wait` does, and free all threads."""
        try:
            self.wait()
        finally:
            with contextlib.suppress(*FAILURES):  # which `wait` has raised
                self._opened.close()

    def _clear(self) -> None:
        for unfinished in self.folder.glob(f"*{UNFINISHED}"):
            shutil.rmtree(unfinished)
        for step in self.steps:
            if flaw := self._find_flaw(step):
                path = self.folder / str(step)
                names = (path.with_suffix(f".unusable{n or ''}") for n in itertools.count())
                free = next(name for name in names if not name.exists())
                path.rename(free)
                _log.warning("checkpoint %s is kept as %s: %s", path, free.name, flaw)

    def _write_manifest(self) -> None:
        """Write the manifest of what is about to get its name; orbax calls it in its thread."""
        for folder in self.folder.glob(f"*{UNFINISHED}") if distributed.writes() else ():
            # Files beside the folders may still change, and none of them is needed to restore.
            paths = sorted(path for path in folder.glob("*/**/*") if path.is_file())
            files = {path.relative_to(folder).as_posix(): _digest(path) for path in paths}
            write_json(folder / MANIFEST, {"of": self._of, "files": files})

    def _find_flaw(self, step: int) -> str:
        """Return why a checkpoint can't be used; nothing if it can."""
        folder = self.folder / str(step)
        try:
            manifest = read_json(folder / MANIFEST)
            of, files = manifest["of"], dict(manifest["files"])
        except (UserError, KeyError, TypeError, ValueError):
            return f"it is unfinished, or its {MANIFEST} is damaged"
        if of != self._of:
            return "it is of another run"
        for name, digest in files.items():
            try:
                if _digest(folder / name) != digest:
                    return f"{name} was altered"
            except OSError as error:
                return f"{name} can't be read: {error.strerror}"
        return ""

    @contextlib.contextmanager
    def _failures_reported(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self._saved = None
            raise UserError(
                f"cannot save a checkpoint in {self.folder}: {_reason(error)}",
                cure="free some space or make it writable; what was saved before is intact, and "
                "the same command goes on from it",
            ) from error


class _EveryNth(NamedTuple):
    """Orbax's policy that each n-th checkpoint stays, counted over all starts; 0 means none."""

    n: int

    def should_preserve(self, checkpoints: Sequence[Any], **_: object) -> list[bool]:
        return [self.n > 0 and info.metrics["number"] % self.n == 0 for info in checkpoints]


def _loss(metrics: Any) -> float:  # noqa: ANN401  (orbax's type)
    return math.inf if metrics["loss"] is None else metrics["loss"]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    known = (reason for reason in map(os.strerror, REASONS) if reason in text)
    return next(known, text.split("\n")[0])
