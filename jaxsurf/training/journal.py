"""What a run writes down: `metrics.jsonl` and TensorBoard's own file beside it.

One JSON object a line, handed to the operating system at once, so that a killed run loses nothing.
When a run resumes, lines past the step that it resumes from are dropped, and with them a
half-written last line: the finished file reads as if nothing had happened. TensorBoard's files are
only added to; each says from which step on it replaces the ones before. The owner of tensorboardX,
of which only the formats are used: its writers work in the background and lose what is under way.
"""

import json
import os
import re
import socket
import struct
import time
from io import FileIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]  (protobuf makes it at run time)
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboardX.record_writer import masked_crc32c

from jaxsurf.errors import UserError
from jaxsurf.workdir import write_text


class Journal:
    """The metrics of one run.

    Args:
        path: the .jsonl file; TensorBoard's events go to its folder.
        resume_step: lines of later steps are dropped.

    Attributes:
        latest: the figures of the last line.

    Raises:
        UserError: the file can't be written.
    """

    def __init__(self, path: Path, *, resume_step: int) -> None:
        kept = [line for line in _lines(path) if _step(line) in range(resume_step + 1)]
        write_text(path, "".join(line + "\n" for line in kept))
        self.latest: dict[str, float] = json.loads(kept[-1]) if kept else {}
        events = sorted(path.parent.glob("events.*"))
        self._lines = _Appended(path)
        self._events = _Appended(_events_file(path.parent, events))
        self._add(file_version="brain.Event:2")
        if events:
            # TensorBoard hides what older files have from this step on.
            self._add(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write one line: the step and its figures.

        Raises:
            UserError: it can't be written.
        """
        self.latest = {"step": step, **values}
        self._lines.append(json.dumps(self.latest).encode() + b"\n")
        for name, value in values.items():
            self._add(step=step, summary=summary.scalar(name, value))

    def show(self, step: int, picture: UInt8[np.ndarray, "height width 3"], *, name: str) -> None:
        """Write a picture for TensorBoard.

        Raises:
            UserError: it can't be written.
        """
        self._add(step=step, summary=summary.image(name, picture, dataformats="HWC"))

    def sync(self) -> None:
        """Return when all lines are on disk, where they outlast the machine.

        Raises:
            UserError: they can't be written.
        """
        self._lines.sync()

    def close(self) -> None:
        """Close both files."""
        self._lines.file.close()
        self._events.file.close()

    def _add(self, **fields: object) -> None:
        """Add an event to TensorBoard's file, which is made of TFRecords."""
        content = Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(content))
        sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
        self._events.append(length + next(sums) + content + next(sums))


class Silent:
    """What stands for the journal in processes that don't write one.

    Args:
        path: the .jsonl file.
        resume_step: lines of later steps don't count.

    Attributes:
        latest: as in `Journal`.
    """

    def __init__(self, path: Path, *, resume_step: int) -> None:
        kept = [line for line in read(path) if line["step"] <= resume_step]
        self.latest: dict[str, float] = kept[-1] if kept else {}

    def write(self, step: int, values: dict[str, float]) -> None:
        """Take note of the figures."""
        self.latest = {"step": step, **values}

    def show(self, step: int, picture: UInt8[np.ndarray, "height width 3"], *, name: str) -> None:
        """Do nothing."""

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Appended:
    """A file that is added to, without a buffer that a crash could lose."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = FileIO(path, "a")
        except OSError as error:
            raise self._unwritable(error) from error

    def append(self, content: bytes) -> None:
        """Add something at the end."""
        try:
            while content:
                content = content[self.file.write(content) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def sync(self) -> None:
        """Return when the file is on disk."""
        try:
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self.path}: {error.strerror}",
            cure="free some space or make it writable; the same command resumes",
        )


def read(path: Path) -> list[dict[str, float]]:
    """Return the lines of a metrics file; none if there is no file."""
    return [json.loads(line) for line in _lines(path) if _step(line) is not None]


def _events_file(folder: Path, before: list[Path]) -> Path:
    """Return the name of TensorBoard's next file: it reads them in the order of their names.

    The clock may have been put back since the last one was begun.
    """
    found = [re.match(r"events\.out\.tfevents\.(\d+)", path.name) for path in before]
    stamp = max(int(time.time()), *(int(match[1]) + 1 for match in found if match), 0)
    return folder / f"events.out.tfevents.{stamp:010}.{socket.gethostname()}"


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; none if there is no file."""
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error})", cure="remove or rename it") from error


def _step(line: str) -> int | None:
    """Return the step of a line; None for a line that was cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return None
