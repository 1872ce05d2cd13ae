"""Arrays that are mapped from a file rather than loaded, and so may be larger than memory.

A mapped array is an `np.memmap`, and reads as any other array does. Whoever goes through all of one
does so in portions: what was read is let go again, so that the process stays small. An array that
is in memory passes through the same functions as it is.
"""

import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from jaxsurf.errors import UserError

Rows = Shaped[np.ndarray, "row *rest"]

# Arrays of more bytes are mapped; smaller ones are loaded, which is quicker from then on and leaves
# the file alone. A gibibyte is little beside any machine's memory.
LARGE_BYTES = 1 << 30
# Large enough that the calls cost nothing, small enough to be nothing beside the array.
PORTION_BYTES = 16 << 20

# Rows announced together: enough to keep a disk busy; and rows read before they are let go: up to
# 2 MB around each count as this process's memory until then.
ANNOUNCED, READ_AT_ONCE = 1024, 64

# What each map was opened of, as it was then.
_origins: weakref.WeakKeyDictionary[mmap.mmap, str] = weakref.WeakKeyDictionary()


def open_array(
    path: Path, *, start: int, shape: tuple[int, ...], dtype: np.dtype | type = np.uint8
) -> np.memmap:
    """Return an array in C order where it lies in a file, to be read only.

    Args:
        path: the file.
        start: where the first value begins, in bytes.
        shape: of the array.
        dtype: of the array.

    Raises:
        UserError: the file cannot be read, or is too short.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            array = np.memmap(file, dtype, mode="r", offset=start, shape=shape)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot map {path}: {reason}", cure="copy or download it again") from error
    _origins[_map_of(array)] = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    return array


def is_mapped(array: object) -> bool:
    """Tell arrays that lie in a file from those in memory."""
    return isinstance(array, np.memmap)


def identity(array: Rows) -> str:
    """Return what tells an array's content without reading it: file, size, time, place in it.

    Empty for an array in memory, and for one that `open_array` did not open.
    """
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return ""
    root = _root(array)
    origin = _origins.get(_map_of(root), "")
    start = root.offset + array.ctypes.data - root.ctypes.data
    return origin and f"{origin}: {array.dtype.str}{array.shape} at {start}"


def portions(array: Rows, *, rows: int = 0) -> Iterator[Rows]:
    """Yield all rows in order, some megabytes at a time, without a copy.

    Args:
        array: mapped or in memory.
        rows: how many at a time; 0 means as many as `PORTION_BYTES` hold.
    """
    step = rows or _rows_in_a_portion(array)
    for start in range(0, len(array), step):
        # Read from the disk while the caller is at work on this portion.
        _announce(array, [start + step], rows=step)
        # Not a memmap any more: what is made of it is in memory.
        yield array[start : start + step].view(np.ndarray)
        _let_go(array)


def take(array: Rows, numbers: Int[np.ndarray, "*some"]) -> Shaped[np.ndarray, "..."]:
    """Return rows by number, in the shape of the numbers, as an array in memory.

    A mapped array is read from its front to its end, whatever their order. Many rows are announced
    to the system before the first is read: it would otherwise read them from the disk one by one,
    each with a large part of the file around it.
    """
    if not is_mapped(array):
        return array[numbers]
    shape, numbers = numbers.shape, np.where(numbers < 0, numbers + len(array), numbers).ravel()
    order = np.argsort(numbers, kind="stable")
    taken = np.empty((len(numbers), *array.shape[1:]), array.dtype)
    for start in range(0, len(order), ANNOUNCED):
        _announce(array, numbers[order[start : start + ANNOUNCED]].tolist())
        for first in range(start, min(start + ANNOUNCED, len(order)), READ_AT_ONCE):
            some = order[first : min(first + READ_AT_ONCE, start + ANNOUNCED)]
            taken[some] = array[numbers[some]]
            _let_go(array)
    return taken.reshape(*shape, *array.shape[1:])


def _rows_in_a_portion(array: Rows) -> int:
    return max(1, PORTION_BYTES // max(1, array.itemsize * int(np.prod(array.shape[1:]))))


def _root(array: np.memmap) -> np.memmap:
    """Return the array that was opened, which this one is a view of."""
    while isinstance(array.base, np.memmap):
        array = array.base
    return array


def _map_of(root: np.memmap) -> Any:  # noqa: ANN401  (numpy does not say what a base is)
    return root.base


def _announce(array: Rows, numbers: list[int], *, rows: int = 1) -> None:
    """Have the system read rows from the disk, soon and without waiting for them.

    Args:
        array: nothing is done for one in memory, or not in C order.
        numbers: of the first row of each stretch; what is beyond the array is left out.
        rows: of each stretch.
    """
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return
    if not hasattr(mmap, "MADV_WILLNEED"):
        return
    root = _root(array)
    advise, size = _map_of(root).madvise, array.strides[0]
    # A map begins at a multiple of its granularity, the array somewhat later.
    front = root.offset % mmap.ALLOCATIONGRANULARITY + array.ctypes.data - root.ctypes.data
    for number in numbers:
        start = front + number * size
        stop = front + min(number + rows, len(array)) * size
        page = start - start % mmap.PAGESIZE
        if 0 <= number < len(array):
            advise(mmap.MADV_WILLNEED, page, stop - page)


def _let_go(array: Rows) -> None:
    """Take what was read of a mapped array out of this process; the system may still have it.

    Otherwise the whole array would count as this process's memory once it has been read.
    """
    if not isinstance(array, np.memmap):
        return
    root = _root(array)
    # Of a map that may be written to, changes would be lost.
    if root.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        _map_of(root).madvise(mmap.MADV_DONTNEED)
