"""The working directory: what its files are called, and the fingerprints that they are bound to.

Fingerprints are hexadecimal SHA-256 digests, cut to 16 characters (64 bits: collisions by accident
are out of the question).
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxsurf import mapped
from jaxsurf.errors import UserError

# File systems take 255 bytes a name; a label and the name of a temporary folder are longer by this.
LONGEST_NAME = 150


@dataclass(frozen=True)
class WorkDir:
    """The names of everything that a run leaves behind.

    Attributes:
        root: the folder.
        step: of the checkpoint that caches are made with; None is the last.
    """

    root: Path
    step: int | None = None

    @property
    def config(self) -> Path:
        """Resolved configuration, versions and data fingerprint."""
        return self.root / "config.json"

    @property
    def begun(self) -> bool:
        """Whether a run was begun there."""
        return os.path.exists(self.config)  # noqa: PTH110  (Path.exists raises where it can't look)

    @property
    def checkpoints(self) -> Path:
        """One folder a saved step."""
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON object a log interval."""
        return self.root / "metrics.jsonl"

    @property
    def profile(self) -> Path:
        """Traces of some steps, for TensorBoard."""
        return self.root / "profile"

    @property
    def latents(self) -> Path:
        """Cached latent codes."""
        return self.root / f"latents{self._of_step}.npz"

    @property
    def graph(self) -> Path:
        """Cached neighbours and graph."""
        return self.root / f"graph{self._of_step}.npz"

    @property
    def _of_step(self) -> str:
        return "" if self.step is None else f"-{self.step}"

    @property
    def caches(self) -> list[Path]:
        """All caches that there are, those of chosen checkpoints among them."""
        return [path for name in ("latents", "graph") for path in self.root.glob(f"{name}*.npz")]

    @property
    def evaluation(self) -> Path:
        """Scores of many pairs; the same as a table lies beside it as .csv."""
        return self.root / "evaluation.json"

    @property
    def report(self) -> Path:
        """One page that shows all of it."""
        return self.root / "report.html"

    def surf(self, *stops: str, label: str = "") -> Path:
        """Folder of one animation: past some stops, over a graph that a label tells from others."""
        name = "-".join(stops)
        if len(name) > LONGEST_NAME:
            name = f"{stops[0]}-{stops[-1]}-{len(stops)}_stops_{fingerprint(name)[:8]}"
        return self.root / "surf" / "-".join(filter(None, [name, label]))

    def check_writable(self) -> "WorkDir":
        """Prove that files can be written there, without leaving anything behind.

        Raises:
            UserError: they cannot.
        """
        check_writable(self.root, kind="the working directory", flag="--workdir")
        return self


def check_writable(folder: Path, *, kind: str, flag: str) -> None:
    """Prove that files can be written to a folder, without leaving anything behind.

    Args:
        folder: need not be there yet.
        kind: what it is, for the message.
        flag: what names it, for the message.

    Raises:
        UserError: they cannot.
    """
    try:
        with tempfile.TemporaryDirectory(dir=_existing(folder), prefix=".jaxsurf-"):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {kind} {folder}: {error.strerror}",
            cure=f"choose another with {flag}",
        ) from error


def fingerprint(*parts: np.ndarray | str) -> str:
    """Return the fingerprint of arrays (dtype, shape and content) and texts, in order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            for rows in mapped.portions(np.atleast_1d(part)):
                digest.update(np.ascontiguousarray(rows).data)
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _existing(path: Path) -> Path:
    """Return the nearest folder at or above a path that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
