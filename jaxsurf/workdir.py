"""The working directory: what its files are called, and how they are written.

Every file is written under a temporary name beside its place and renamed, so that a reader never
sees half a file and a crash never spoils an older one. Fingerprints are hexadecimal SHA-256
digests, cut to 16 characters (64 bits: collisions by accident are out of the question).
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of the same suffix; rename it when all went well.

    Raises:
        UserError: the file cannot be written; `path` is as it was.
    """
    # Not its process number: several hosts may be at it, where containers count from 1 each.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())  # else a machine that fails may leave the name without content
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}",
            cure="free some space or choose another place",
        ) from error
    finally:
        # Where the folder could not be made, this fails too and would hide the reason.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new empty folder beside `folder`; put it in its place when all went well.

    What `folder` held before is removed then, so that its files always belong together. Where it
    is a link, what this leads to is replaced.

    Raises:
        UserError: the folder cannot be written; `folder` is as it was.
    """
    folder = folder.resolve()
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    worn = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(fresh, ignore_errors=True)  # process numbers come again, in containers soon
    _bring_back(worn, folder)
    try:
        fresh.mkdir(parents=True)
        yield fresh
        if folder.exists():
            folder.rename(worn)
        fresh.rename(folder)
        shutil.rmtree(worn, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}",
            cure="free some space or choose another place",
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        _bring_back(worn, folder)


def _bring_back(worn: Path, folder: Path) -> None:
    """Undo the first of two renamings if the second was never made."""
    if worn.exists() and not folder.exists():
        worn.rename(folder)
    shutil.rmtree(worn, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file at once or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file at once or not at all; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, *, cure: str = "remove it") -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Args:
        path: the file.
        cure: what to do where it is damaged.

    Raises:
        UserError: the file is missing or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error})", cure=cure) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object", cure=cure)
    return value


def write_arrays(path: Path, **arrays: np.ndarray | str | int | float) -> None:
    """Write an .npz file at once or not at all."""
    with replacing(path) as temporary:
        np.savez(
            temporary,
            allow_pickle=False,
            **{name: np.asarray(array) for name, array in arrays.items()},
        )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of an .npz file.

    Raises:
        UserError: the file is missing, truncated, or not an .npz of plain arrays.
    """
    try:
        # Opened here, since numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} is damaged ({error})", cure="remove it; it will be made again"
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
