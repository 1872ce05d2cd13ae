"""What a run writes down: `metrics.jsonl` and TensorBoard's own file beside it.

One JSON object a line, flushed at once, so that a killed run loses nothing. When a run resumes,
lines past the step that it resumes from are dropped, and with them a half-written last line: the
finished file reads as if nothing had happened. The owner of the TensorBoard writer.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from jaxsurf.errors import UserError
from jaxsurf.workdir import write_text


class Journal:
    """The metrics of one run.

    Args:
        path: the .jsonl file; TensorBoard's events go to its folder.
        resume_step: lines of later steps are dropped.

    Raises:
        UserError: the file can't be written.
    """

    def __init__(self, path: Path, *, resume_step: int) -> None:
        kept = [line for line in _lines(path) if _step(line) in range(resume_step + 1)]
        write_text(path, "".join(line + "\n" for line in kept))
        try:
            self._file = path.open("a", encoding="utf-8")
            self._board = SummaryWriter(
                str(path.parent), purge_step=resume_step if resume_step else None
            )
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write one line: the step and its figures."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def show(self, step: int, picture: UInt8[np.ndarray, "height width 3"], *, name: str) -> None:
        """Write a picture for TensorBoard."""
        self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close both files."""
        self._file.close()
        self._board.close()


def read(path: Path) -> list[dict[str, float]]:
    """Return the lines of a metrics file; none if there is no file."""
    return [json.loads(line) for line in _lines(path) if _step(line) is not None]


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
