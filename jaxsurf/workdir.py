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
MADE_AGAIN = "remove it; it will be made again"

_log = logging.getLogger(__name__)


class WorkDir:
    """The names of all that a run leaves in `root`, with caches of a step or the last one."""

    def __init__(self, root: Path, step: int | None = None) -> None:
        of_step = "" if step is None else f"-{step}"
        self.root = root
        self.config = root / "config.json"  # resolved configuration, versions, data fingerprint
        self.checkpoints = root / "checkpoints"  # one folder a saved step
        self.metrics = root / "metrics.jsonl"  # one JSON object a log interval
        self.profile = root / "profile"  # traces of some steps, for TensorBoard
        self.latents = root / f"latents{of_step}.npz"  # cached latent codes
        self.graph = root / f"graph{of_step}.npz"  # cached neighbours and graph
        self.evaluation = root / "evaluation.json"  # scores of many pairs; as a table in .csv
        self.expected = root / "expected.txt"  # what the look of the images lets one expect
        self.report = root / "report.html"  # one page that shows all of it

    @property
    def begun(self) -> bool:
        """Whether a run was begun there."""
        return os.path.exists(self.config)  # noqa: PTH110  (Path.exists raises where it can't look)

    def forget(self, cache: str) -> None:
        """Remove `latents` or `graph`, those of chosen checkpoints too."""
        for path in self.root.glob(f"{cache}*.npz"):
            path.unlink(missing_ok=True)

    def surf(self, *stops: str, label: str = "") -> Path:
        """Folder of one animation: past some stops, over a graph that a label tells from others."""
        name = "-".join(stops)
        if len(name) > LONGEST_NAME:
            name = f"{stops[0]}-{stops[-1]}-{len(stops)}_stops_{fingerprint(name)[:8]}"
        return self.root / "surf" / "-".join(filter(None, [name, label]))

    def check_writable(
        self, *, kind: str = "the working directory", flag: str = "--workdir"
    ) -> "WorkDir":
        """Prove that files can be written there, if it is there or not, and return this."""
        with failures_reported(f"write to {kind} {self.root}", cure=f"choose another with {flag}"):
            places = (self.root, *self.root.absolute().parents)
            there = next(place for place in places if place.exists())
            tempfile.TemporaryDirectory(dir=there, prefix=".jaxsurf-").cleanup()
        return self


@contextlib.contextmanager
def failures_reported(
    doing: str, *, cure: str = "free some space or choose another place"
) -> Iterator[None]:
    """Report what the operating system refuses: `cannot DOING: REASON; CURE`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {doing}: {error.strerror or error}", cure=cure) from error


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if it is missing.

    The lock is the operating system's and ends with the process, however that ends. Linux hands
    such locks on to NFS servers. Where a file system has none, a warning is logged.
    """
    file = folder / ".lock"
    # Its fallback, a file that is there or not, would outlive the process.
    held = filelock.FileLock(file, timeout=0, fallback_to_soft=False)
    with failures_reported(f"write to {folder}", cure="choose another with --workdir"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire()
        except filelock.Timeout as error:
            who = file.read_text(encoding="utf-8") or "another process"  # it is not written yet
            raise UserError(
                f"{folder} is in use by {who}",
                cure="wait until it has ended, or use another --workdir",
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            warning = "%s can't be locked (%s): see to it that no other run uses it"
            _log.warning(warning, folder, error.strerror)
    with contextlib.suppress(OSError):  # it is for people: a full disk is no reason to stop
        file.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.write_text("", encoding="utf-8")
        held.release()


def fingerprint(
    *parts: np.ndarray | str,
    read: Callable[[np.ndarray], Iterable[np.ndarray]] = lambda array: [array],
) -> str:
    """Return the fingerprint of arrays (dtype, shape, rows that `read` yields) and texts."""
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
    """Yield a temporary path beside `path`, of the same suffix; rename it when all went well."""
    # Not the process number: several hosts may be at it, where containers count from 1 each.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        with failures_reported(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())  # else a machine that fails may leave an empty file
            temporary.replace(path)
    finally:
        # Where the folder could not be made, this fails too and would hide the reason.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new empty folder beside `folder`; put it in its place when all went well.

    What `folder` held before is removed then, so that its files always belong together. Where it
    is a link, what this leads to is replaced.
    """
    folder = folder.resolve()
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    old = folder.with_name(f"{fresh.name}.old")
    try:
        with failures_reported(f"write {folder}"):
            fresh.mkdir(parents=True)
            yield fresh
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file at once or not at all; what of a file's name is no UTF-8 is escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file at once or not at all; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, *, cure: str = "remove it") -> dict[str, Any]:
    """Return the object that a JSON file holds; the cure is for one that is damaged."""
    try:
        with failures_reported(f"read {path}", cure=""):
            value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error})", cure=cure) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object", cure=cure)
    return value


def write_arrays(path: Path, **arrays: np.ndarray | str | int | float) -> None:
    """Write an .npz file at once or not at all."""
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **{n: np.asarray(a) for n, a in arrays.items()})


def read_arrays(path: Path, *, cure: str = MADE_AGAIN) -> dict[str, np.ndarray]:
    """Return all plain arrays of an .npz file; the cure is for one that is damaged."""
    try:
        # Opened here, since numpy leaves a damaged file open.
        with (
            failures_reported(f"read {path}", cure=""),
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error})", cure=cure) from error


def read_cache(path: Path, *, stamp: str, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return named arrays of an .npz file that was written with a `stamp` among its arrays.

    The stamp is a text that names all that the others were computed from, such as a checkpoint's
    step, a data fingerprint and a configuration. A file of another stamp is refused with both.
    """
    arrays = read_arrays(path)
    try:
        if str(arrays["stamp"]) == stamp:
            return {name: arrays[name] for name in names}
        cause = f"{path} was made from {arrays['stamp']}, but {stamp} is asked for"
    except KeyError as error:
        cause = f"{path} holds no {error}"
    raise UserError(cause, cure=MADE_AGAIN)
