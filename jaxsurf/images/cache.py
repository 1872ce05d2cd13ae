"""What took long to read, to draw or to compute, kept in a cache folder.

A cached file is bound to whatever it was made of; when that changes, it is made again. Where small
arrays cannot be written it costs time, never a run: it is only warned of. Images that are too many
for memory have no other place, so there it is an error.
"""

import logging
import math
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from tqdm import tqdm

from jaxsurf import mapped, workdir
from jaxsurf.errors import UserError
from jaxsurf.images import stored
from jaxsurf.memory import GIB
from jaxsurf.workdir import read_arrays, replacing, write_arrays

# Half a file that nobody has written to for so long is what a killed process left behind.
FORSAKEN_S = 3600.0

_log = logging.getLogger(__name__)
Blocks = Iterator[UInt8[np.ndarray, "block height width 3"]]


def default_folder() -> Path:
    """Return jaxsurf's folder under XDG_CACHE_HOME, or under ~/.cache where that is not set."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "jaxsurf"


def remembered(
    make: Callable[[], Shaped[np.ndarray, "..."]],
    *,
    name: str,
    made_of: str,
    folder: str | Path | None = None,
) -> Shaped[np.ndarray, "..."]:
    """Return the array that `make` returns, from the cache if it still holds it.

    Args:
        make: makes the array: images, mostly.
        name: file name in the cache, without suffix.
        made_of: what the array depends on; a cached file that says otherwise is replaced.
        folder: the cache's folder; None means `default_folder()`.
    """
    path = _path(name, folder)
    kept = _read(path, made_of)
    if kept is not None:
        return kept
    images = make()
    try:
        write_arrays(path, images=images, made_of=made_of)
    except UserError as error:
        _log.warning("the images are not cached: %s", error)
    return images


def unpacked(
    blocks: Callable[[], Blocks],
    *,
    shape: tuple[int, ...],
    name: str,
    made_of: str,
    folder: str | Path | None = None,
) -> np.memmap:
    """Return images mapped from the cache, where they are unpacked first if they aren't there.

    Args:
        blocks: gives all images in order, a few at a time.
        shape: of all of them.
        name: as for `remembered`.
        made_of: as for `remembered`.
        folder: as for `remembered`.

    Raises:
        UserError: there is no room for them.
    """
    path = _path(name, folder)
    kept = _mapped(path, made_of)
    if kept is None:
        _make_room(path, math.prod(shape))
        with replacing(path) as temporary:
            stored.write(temporary, _told(blocks(), shape, path), shape=shape, made_of=made_of)
        kept = _mapped(path, made_of)
    assert kept is not None, "it was written a moment ago"
    return kept


def converted(
    rows: Shaped[np.ndarray, "image ..."],
    convert: Callable[[Shaped[np.ndarray, "some ..."]], UInt8[np.ndarray, "some height width 3"]],
    *,
    how: str,
    folder: str | Path | None = None,
) -> UInt8[np.ndarray, "image height width 3"]:
    """Return images made of rows one by one; those of mapped rows are mapped too.

    Args:
        rows: in memory or mapped.
        convert: makes images of some of them; may return them as they are.
        how: what it does to rows of a kind, in words that tell it from others.
        folder: as for `remembered`.

    Raises:
        UserError: as `convert` does, or there is no room for what it makes.
    """
    origin = mapped.identity(rows)
    if not origin:
        return convert(rows)
    first = convert(rows[:1])
    if np.may_share_memory(first, rows):
        return rows
    made_of = workdir.fingerprint(origin, how)
    return unpacked(
        lambda: map(convert, mapped.portions(rows)),
        shape=(len(rows), *first.shape[1:]),
        name=f"converted-{made_of}",
        made_of=made_of,
        folder=folder,
    )


def _path(name: str, folder: str | Path | None) -> Path:
    return (default_folder() if folder is None else Path(folder)) / f"{name}.npz"


def _read(path: Path, made_of: str) -> Shaped[np.ndarray, "..."] | None:
    """Return a cached array, or None if it is missing, damaged or made of something else."""
    try:
        arrays = read_arrays(path)
    except UserError as error:
        _log.debug("no cached images: %s", error)
        return None
    if set(arrays) != {"images", "made_of"} or str(arrays["made_of"]) != made_of:
        _log.debug("%s is stale and is made again", path)
        return None
    return arrays["images"]


def _mapped(path: Path, made_of: str) -> np.memmap | None:
    """Return unpacked images, or None as `_read` does; they themselves are not read."""
    try:
        if str(stored.read_text(path, "made_of")) == made_of:
            return stored.open_member(path, stored.ARRAY)
        _log.debug("%s is stale and is made again", path)
    except (UserError, OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        _log.debug("no unpacked images: %s", error)
    return None


def _make_room(path: Path, needed: int) -> None:
    """Refuse a folder that cannot take so many bytes; remove what is of no use to anyone.

    Raises:
        UserError: the disk is too full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A stale file is about to be replaced.
        path.unlink(missing_ok=True)
        for half in path.parent.glob(f".{path.stem}.*{path.suffix}"):
            if time.time() - half.stat().st_mtime > FORSAKEN_S:
                half.unlink()
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise UserError(
            f"cannot write to {path.parent}: {error.strerror or error}",
            cure="set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    if free < needed:
        raise UserError(
            f"the images take {needed / GIB:.1f} GiB unpacked, but {path.parent} has "
            f"{free / GIB:.1f} GiB left",
            cure="free some space, or set XDG_CACHE_HOME to a folder on a larger disk",
        )


def _told(blocks: Blocks, shape: tuple[int, ...], path: Path) -> Blocks:
    """Yield the blocks, and draw a bar of how far they are where it takes longer than a second."""
    bar = tqdm(total=shape[0], unit=" images", desc=f"unpacking into {path}", delay=1)
    with bar:
        for block in blocks:
            yield block
            bar.update(len(block))
