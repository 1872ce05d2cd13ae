"""The working directory: names of its files, whole writes, the lock, fingerprints and versions.

Whatever is written has a temporary name beside its place until it is done, and is renamed then: no
reader sees half a file, and a crash never spoils an older one.

Fingerprints are hexadecimal SHA-256 digests, cut to 16 characters (64 bits: collisions by accident
are out of the question).
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import platform
import secrets
import shutil
import socket
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from jaxsurf.errors import UserError

# File systems take 255 bytes a name; a label and the name of a temporary folder are longer by this.
LONGEST_NAME = 150
# What a file system answers that has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# The packages that a result may depend on.
PACKAGES = ("jaxsurf", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "igraph")

_log = logging.getLogger(__name__)


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
        """Prove that files can be written there, as `check_writable` does."""
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
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".jaxsurf-"):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {kind} {folder}: {error.strerror}",
            cure=f"choose another with {flag}",
        ) from error


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if it is missing.

    The lock is the operating system's and ends with the process, however that ends. Linux hands
    such locks on to NFS servers. Where a file system has none, a warning is logged.

    Raises:
        UserError: another process holds it, or the folder can't be written.
    """
    file = folder / ".lock"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Its fallback, a file that is there or not, would outlive the process.
            stack.enter_context(filelock.FileLock(file, timeout=0, fallback_to_soft=False))
        except filelock.Timeout as error:
            who = "another process"
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not written yet
                holder = json.loads(file.read_text(encoding="utf-8"))
                who = f"process {holder['process']} on {holder['host']}"
            raise UserError(
                f"{folder} is in use by {who}",
                cure="wait until it has ended, or use another --workdir",
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(
                    f"cannot write to {folder}: {error.strerror}",
                    cure="choose another with --workdir",
                ) from error
            _log.warning(
                "%s can't be locked (%s): see to it that no other run uses it",
                folder,
                error.strerror,
            )
        with contextlib.suppress(OSError):  # it is for people: a full disk is no reason to stop
            holder = {"process": os.getpid(), "host": socket.gethostname()}
            file.write_text(json.dumps(holder), encoding="utf-8")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.write_text("", encoding="utf-8")


def fingerprint(
    *parts: np.ndarray | str,
    read: Callable[[np.ndarray], Iterable[np.ndarray]] = lambda array: [array],
) -> str:
    """Return the fingerprint of arrays (dtype, shape and content) and texts, in order.

    Args:
        *parts: the arrays and texts.
        read: yields all rows of an array in order; large ones are read in chunks.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            for rows in read(np.atleast_1d(part)):
                digest.update(np.ascontiguousarray(rows).data)
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, without those that are not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of the same suffix; rename it when all went well.

    Raises:
        UserError: the file cannot be written; `path` is as it was.
    """
    # Not the process number: several hosts may be at it, where containers count from 1 each.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())  # else a machine that fails may leave the name without content
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
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
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    old = folder.with_name(f"{fresh.name}.old")
    try:
        fresh.mkdir(parents=True)
        yield fresh
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {path}: {error.strerror or error}",
        cure="free some space or choose another place",
    )


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


def read_arrays(
    path: Path, *, cure: str = "remove it; it will be made again"
) -> dict[str, np.ndarray]:
    """Return all arrays of an .npz file.

    Args:
        path: the file.
        cure: what to do where it is damaged; nobody makes a user's own file again.

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
        raise UserError(f"{path} is damaged ({error})", cure=cure) from error
