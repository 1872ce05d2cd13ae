"""Files and folders that are written whole or not at all, and read back.

What is written has a temporary name beside its place until it is done, and is renamed then: no
reader sees half a file, and a crash never spoils an older one.
"""

import contextlib
import json
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsurf.errors import UserError


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
