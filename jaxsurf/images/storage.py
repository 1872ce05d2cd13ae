"""Arrays that may be larger than memory: mapped, read in chunks, kept in the cache folder.

A large array is mapped from a `.npy` file (an `np.memmap`) and reads as any other does. `chunks`
goes through all rows and `take` picks some: both release the pages that were read, so that the
process stays small. Arrays in memory pass through as they are.
"""

import contextlib
import errno
import logging
import math
import mmap
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
from jaxtyping import Int, Shaped
from tqdm import tqdm

from jaxsurf import workdir
from jaxsurf.errors import UserError, printable

Rows = Shaped[np.ndarray, "row *rest"]

MIB, GIB = 2**20, 2**30
# Arrays of more bytes are mapped; smaller ones are loaded, which is quicker from then on.
LARGE_BYTES = 1 << 30
CHUNK_BYTES = 8 << 20
# Equal bytes alone are compressed so well; of fewer it does no harm.
MOST_IN_A_BYTE, _BOMB = 500, 256 * MIB
# Rows read before their pages are released: up to 2 MB around each count until then.
READ_AT_ONCE = 64
# What reading a damaged .npy or .npz file raises, one with a password or one that holds objects.
BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, RuntimeError)
BROKEN += (NotImplementedError, MemoryError)

_log = logging.getLogger(__name__)


def cache_folder(chosen: str | Path | None = None) -> Path:
    """Return jaxsurf's folder under XDG_CACHE_HOME or else ~/.cache, unless one is chosen."""
    if chosen is not None:
        return Path(chosen)
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "jaxsurf"


def identity(path: Path) -> str:
    """Return what differs between a file and an older one of its name: path, size and time."""
    status = path.stat()
    return printable(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}")


@contextlib.contextmanager
def refusing(name: object, problem: str, *, cure: str) -> Iterator[None]:
    """Report whatever reading a damaged or hostile file raises as one `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            cure = "restore it or choose another"
            raise UserError(f"cannot read {name}: {error.strerror}", cure=cure) from error
        if isinstance(error, MemoryError):
            problem, cure = "takes more memory than there is", "free some, or choose a smaller one"
        # The first line is what is wrong; those after it are advice.
        reason = str(error).split("\n")[0].rstrip(".")[:200] or type(error).__name__
        raise UserError(f"{name} {problem} ({reason})", cure=cure) from error


def plain_type(dtype: np.dtype) -> np.dtype:
    """Return a type in the machine's order of bytes; truth values are uint8."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def is_mapped(array: object) -> TypeGuard[np.memmap]:
    """Return whether an array lies in a file; a copy of one that does lies in memory."""
    return isinstance(array, np.memmap) and array.mode is not None


def whole_file(array: Rows) -> str:
    """Return the identity of the file that an array is all of; empty for other arrays."""
    if is_mapped(array) and array.flags.c_contiguous:
        path = Path(str(array.filename))
        if path.stat().st_size == array.offset + array.nbytes:
            return f"{identity(path)} {array.dtype.str}{array.shape}"
    return ""


def total_bytes() -> int | None:
    """Return the memory of the machine; None where the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # systems other than POSIX
        return None


def check_claim(origin: str, claimed: int, size: int, *, most: int = MOST_IN_A_BYTE) -> None:
    """Refuse a file of `size` bytes that unpacks to far more than what people keep does: a bomb."""
    if claimed > _BOMB and claimed > most * size:
        raise UserError(
            f"{origin} claims {claimed / 1e6:.0f} MB in {size} bytes",
            cure="remove it, or save it uncompressed if it is what it should be",
        )


def chunks(array: Rows, *, rows: int = 0) -> Iterator[Rows]:
    """Yield all rows in order, so many at a time (0: as `CHUNK_BYTES` hold), without a copy."""
    step = rows or max(1, CHUNK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        # Not a memmap any more: what is made of it is in memory.
        yield array[start : start + step].view(np.ndarray)
        _release_pages(array)


def take(array: Rows, numbers: Int[np.ndarray, "*some"]) -> Shaped[np.ndarray, "..."]:
    """Return rows by number, in the shape of the numbers, as an array in memory.

    A mapped array is read from its start to its end, whatever their order.
    """
    if not is_mapped(array):
        return array[numbers]
    wanted = np.arange(len(array))[numbers.ravel()]
    order = np.argsort(wanted, kind="stable")
    taken = np.empty((len(wanted), *array.shape[1:]), array.dtype)
    for start in range(0, len(order), READ_AT_ONCE):
        some = order[start : start + READ_AT_ONCE]
        _prefetch(array, wanted[some])
        taken[some] = array[wanted[some]]
        _release_pages(array)
    return taken.reshape(*numbers.shape, *array.shape[1:])


def _prefetch(array: np.memmap, numbers: Int[np.ndarray, " row"]) -> None:
    """Have the system read rows from the disk together, rather than one after the other."""
    if not (array.flags.c_contiguous and hasattr(mmap, "MADV_WILLNEED")):
        return
    pages, size = getattr(array, "_mmap"), array.strides[0]  # noqa: B009
    offset = array.ctypes.data - np.frombuffer(pages, np.uint8, 1).ctypes.data
    for start in (offset + numbers * size).tolist():
        page = start - start % mmap.PAGESIZE
        pages.madvise(mmap.MADV_WILLNEED, page, start + size - page)


def _release_pages(array: Rows) -> None:
    # Of a map that may be written to, changes would be lost.
    if is_mapped(array) and array.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        getattr(array, "_mmap").madvise(mmap.MADV_DONTNEED)  # noqa: B009


def cached(
    blocks: Callable[[], Iterable[Shaped[np.ndarray, "block height width channel"]]],
    *,
    shape: tuple[int, ...],
    name: str,
    made_of: str,
    folder: str | Path | None = None,
    dtype: str = "uint8",
) -> Shaped[np.ndarray, "image height width channel"]:
    """Return images from the cache, where they are made and kept if it does not hold them.

    `blocks` gives all of them in order, a few at a time; `name` says how they are made, and a file
    that was `made_of` something else is removed. More than `LARGE_BYTES` of them are mapped. Where
    fewer cannot be written it is only warned of.
    """
    folder = cache_folder(folder)
    path = folder / f"{name}.{workdir.fingerprint(made_of)}.npy"
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    large = needed > LARGE_BYTES
    try:
        return np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        _log.debug("%s is made anew: %s", path, error)

    def counted() -> Iterator[Rows]:
        with tqdm(total=shape[0], unit=" images", desc=f"unpacking for {folder}", delay=1) as bar:
            for block in blocks():
                yield np.ascontiguousarray(block)
                bar.update(len(block))
            assert bar.n == shape[0], f"{bar.n} images came, not {shape[0]}"

    whole = None if large else np.concatenate(list(counted()))
    doing = f"write {needed / GIB:.1f} GiB of images to {folder}"
    cure = "free some space, or set XDG_CACHE_HOME to another folder"
    try:
        with workdir.failures_reported(doing, cure=cure):
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"{name}.*.npy"):  # they are of no use to anyone any more
                old.unlink(missing_ok=True)  # another process may be doing the same
            if shutil.disk_usage(folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with workdir.replacing(path) as temporary, temporary.open("wb") as file:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in counted() if whole is None else [whole]:
                file.write(block.data)
    except UserError as error:
        if large:
            raise
        _log.warning("the images are not cached: %s", error)
    return np.load(path, mmap_mode="r") if whole is None else whole


@dataclass(frozen=True)
class Member:
    """An array in an `.npz` file, of which only the header has been read."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool

    @classmethod
    def inspect(cls, path: Path, name: str) -> "Member":
        """Return a member by name; one of `BROKEN` is raised where there is none."""
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            # The third version differs from these in the names of columns, which images have not.
            old = np.lib.format.read_magic(stream) == (1, 0)
            form = np.lib.format
            read = form.read_array_header_1_0 if old else form.read_array_header_2_0
            shape, fortran_order, dtype = read(stream)
            if dtype.hasobject:
                raise ValueError("it holds Python objects")
            needed = stream.tell() + math.prod(shape) * dtype.itemsize
            there = archive.getinfo(f"{name}.npy").file_size
            if there != needed:
                raise ValueError(f"its array takes {needed} bytes, but {there} are there")
        return cls(path, name, shape, dtype, fortran_order)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def chunks(self, numbers: Int[np.ndarray, " row"] | None = None) -> Iterator[Rows]:
        """Yield the rows of ascending `numbers` (None: all) a few megabytes at a time."""
        numbers = np.arange(self.shape[0]) if numbers is None else numbers
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        step = max(1, CHUNK_BYTES // size)
        with (
            refusing(self.path, "is damaged", cure="copy or download it again"),
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{self.name}.npy") as stream,
        ):
            header = archive.getinfo(f"{self.name}.npy").file_size - self.nbytes
            for start in range(0, int(numbers[-1]) + 1, step):
                stop = min(start + step, self.shape[0])
                first, last = np.searchsorted(numbers, (start, stop))
                if first == last:
                    continue
                stream.seek(header + start * size)
                data = stream.read((stop - start) * size)
                rows = np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])
                yield rows[numbers[first:last] - start]
