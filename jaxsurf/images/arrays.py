"""Arrays of images in `.npy`, `.npz`, `.mat` and `.h5` files: found, laid out, read in chunks.

Images are an array of three axes (number, height, width) or four, whose channels come last or
second; which, their sizes decide. Of MATLAB's arrays images come last. Other members of a file, of
any kind, are left unread.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.images.storage import Member

Rows = Shaped[np.ndarray, "image height width channel"]
Shape = tuple[int, ...]
Found = dict[str, tuple[Shape, np.dtype]]

ARRAYS = (".npy", ".npz", ".mat", ".h5", ".hdf5")
_BESIDE = ("factors", "factor_names", "jaxsurf_metadata")
# More is no colour: where sizes tell axes apart, channels are as few as this.
_FEW = 4
_HDF5 = b"\x89HDF"


@dataclass(frozen=True)
class Stack:
    """Images of a file."""

    shape: Shape  # number, height, width and channels
    dtype: np.dtype  # in the file, but uint8 for truth values
    blocks: Callable[[], Iterator[Rows]]  # yields all images in order, a few at a time
    beside: Mapping[str, np.ndarray]  # what else `files.to_arrays` wrote of a set
    whole: Rows | None = None  # all images, where they are in memory or mapped


def open_arrays(path: Path, *, key: str = "") -> Stack:
    """Return the images of a file; `key` says which of its arrays."""
    suffix, cure = path.suffix.lower(), "save it with np.savez or np.save, without objects"
    opener = {".npy": _open_npy, ".npz": _open_npz, ".mat": _open_mat}.get(suffix, _open_hdf5)
    with storage.refusing(path, "cannot be read as plain arrays", cure=cure):
        return opener(path, key)


def _open_npy(path: Path, key: str) -> Stack:
    if key:
        raise UserError(f"{path} holds one array without a name", cure="leave data.key out")
    # A map is refused where the file is shorter than its header claims, whatever that is.
    rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return _of_array(path, rows if rows.nbytes > storage.LARGE_BYTES else np.array(rows))


def _open_npz(path: Path, key: str) -> Stack:
    found: Found = {}
    with path.open("rb") as file:  # opened here: numpy leaves a damaged file open
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _of_array(path, loaded)
        for name in loaded.files:
            try:
                member = Member.inspect(path, name)
                found[name] = member.shape, member.dtype
            except storage.BROKEN as error:  # objects, or a file that is no array
                problem = f"its member {name} is no array: {error}"
        if not found and loaded.files:
            raise ValueError(problem)
        name, large = _choose(path, found, key)
        beside = {one: loaded[one] for one in _BESIDE if one in found and one != name}
        if not large:
            return _of_array(path, loaded[name], beside)
    member = Member.inspect(path, name)
    if member.fortran_order:
        raise _scattered(path)
    return _in_parts(path, member.shape, member.dtype, member.chunks, beside)


def _open_mat(path: Path, key: str) -> Stack:
    with path.open("rb") as file:
        start = file.read(516)
    if start[512:] == _HDF5 or start[:4] == _HDF5:
        return _open_hdf5(path, key)
    import scipy.io

    kinds = {"double": "f8", "single": "f4", "logical": "?", "char": "U1"}
    found: Found = {}
    for name, shape, kind in scipy.io.whosmat(path):
        if kind in kinds or kind.lstrip("u").startswith("int"):
            found[name] = shape, np.dtype(kinds.get(kind, kind))
    name, _ = _choose(path, found, key)
    rows = scipy.io.loadmat(path, variable_names=name)[name]
    return _of_array(path, _images_first(rows))


def _images_first(rows: np.ndarray) -> np.ndarray:
    """Return an array of MATLAB's, whose images come last, with these first."""
    if rows.ndim == 4:
        # Python's own order, kept in such a file: channels last, or second.
        few = [size <= _FEW for size in rows.shape]
        python = not few[2] and (few[3] or few[1])
        return rows if python else rows.transpose(3, 0, 1, 2)
    python = rows.shape[1] == rows.shape[2] != rows.shape[0]
    return rows if python else rows.transpose(2, 0, 1)


def _open_hdf5(path: Path, key: str) -> Stack:
    try:
        import h5py
    except ImportError as error:
        cure = "pip install 'jaxsurf[hdf5]'"
        raise UserError(f"{path} needs the package h5py", cure=cure) from error
    found: Found = {}
    with h5py.File(path) as opened:
        file: Any = opened  # its members may be of kinds that these are not
        matlab = path.suffix.lower() == ".mat"

        def note(name: str, item: Any) -> None:  # noqa: ANN401
            # What MATLAB's cells and tables refer to is called #refs#.
            plain = not (matlab and name.startswith("#"))
            if plain and isinstance(item, h5py.Dataset) and item.dtype is not None:
                found[name] = item.shape or (), item.dtype

        file.visititems(note)
        name, large = _choose(path, found, key.strip("/"))
        beside = {one: file[one][()] for one in _BESIDE if one in found and one != name}
        if "factor_names" in beside:
            beside["factor_names"] = file["factor_names"].asstr()[()]
        if matlab and "factors" in beside:  # its axes come in reverse
            beside["factors"] = beside["factors"].T
        if not large:
            rows = _images_first(file[name][()].T) if matlab else file[name][()]
            return _of_array(path, rows, beside)
    shape, dtype = found[name]
    step = max(1, storage.CHUNK_BYTES // (math.prod(shape[1:]) * dtype.itemsize))

    def blocks() -> Iterator[np.ndarray]:
        damaged = storage.refusing(path, "is damaged", cure="copy it again")
        with damaged, h5py.File(path) as opened:
            rows: Any = opened[name]
            for start in range(0, shape[0], step):
                yield rows[start : start + step]

    return _in_parts(path, shape, dtype, blocks, beside)


def _in_parts(
    path: Path,
    shape: Shape,
    dtype: np.dtype,
    blocks: Callable[[], Iterator[np.ndarray]],
    beside: Mapping[str, np.ndarray],
) -> Stack:
    axes, arranged = layout(path, shape)
    made = storage.plain_type(dtype)
    return Stack(arranged, made, lambda: (_arranged(some, axes) for some in blocks()), beside)


def _of_array(
    path: Path, rows: np.ndarray, beside: Mapping[str, np.ndarray] | None = None
) -> Stack:
    if rows.dtype.kind not in "buif":
        raise UserError(
            f"{path} holds {rows.dtype} values, but images are numbers", cure="convert them first"
        )
    axes, shape = layout(path, rows.shape)
    if storage.is_mapped(rows) and not rows.flags.c_contiguous:
        raise _scattered(path)
    whole = _arranged(rows, axes)
    return Stack(shape, whole.dtype, lambda: storage.chunks(whole), beside or {}, whole)


def _scattered(path: Path) -> UserError:
    return UserError(
        f"{path} is large and in Fortran order: each image is scattered over the whole file",
        cure="save it in C order, with np.ascontiguousarray",
    )


def _arranged(rows: np.ndarray, axes: Shape) -> Rows:
    rows = (rows[..., None] if rows.ndim == 3 else rows).transpose(axes)
    if rows.dtype.kind == "b":
        return rows.view(np.uint8)
    return rows.astype(storage.plain_type(rows.dtype), copy=False)


def _choose(path: Path, found: Found, key: str) -> tuple[str, bool]:
    """Return the name of the array that holds the images, and whether it is large.

    One that claims more than its file may hold is refused.
    """
    name = _named(path, found, key)
    shape, dtype = found[name]
    num_bytes = math.prod(shape) * dtype.itemsize
    storage.check_claim(f"{path}", num_bytes, path.stat().st_size)
    large = num_bytes > storage.LARGE_BYTES
    if large and path.suffix.lower() == ".mat":
        raise UserError(f"{path} holds more than a gibibyte", cure="save it as .npy")
    return name, large


def _named(path: Path, found: Found, key: str) -> str:
    texts = [f"{name} ({dtype} {'x'.join(map(str, s))})" for name, (s, dtype) in found.items()]
    held = f"{path} holds {', '.join(texts[:8]) or 'no array'}{' ...' if len(texts) > 8 else ''}"
    # A table of numbers, a row an image, is none.
    able = [n for n, (s, dtype) in found.items() if len(s) in (3, 4) and dtype.kind in "buif"]
    if key in able:
        return key
    if key:
        cure = "choose one of numbers with three or four axes"
        raise UserError(f"{held}, but no images called {key!r}", cure=cure)
    able = [name for name in able if name not in _BESIDE]
    if "images" in able:
        return "images"
    if len(able) == 1:
        return able[0]
    raise UserError(
        f"{held}, so which of them is images is unclear",
        cure=f"images have three or four axes; set data.key, or write {path.name}:NAME",
    )


def layout(path: Path, shape: Shape) -> tuple[Shape, Shape]:
    """Return the axes of an array as number, height, width, channels, and its shape then.

    Three axes are grey images of one channel. Of four, the channels are the second or last: the one
    of at most four, where the other is longer; where both are, those are height and width that are
    the same; else the one that is less than half of the others.
    """
    if 0 in shape:
        raise UserError(f"{path} holds no image: its shape is {shape}")
    if len(shape) == 3 and shape[2] > _FEW:
        return (0, 1, 2, 3), (*shape, 1)
    if len(shape) == 4:
        _, second, third, last = shape
        first, end = second <= _FEW, last <= _FEW
        if first and end:
            first, end = third == last, second == third
        elif not (first or end):
            first, end = 2 * second < min(third, last), 2 * last < min(second, third)
        if first != end:
            axes = (0, 1, 2, 3) if end else (0, 2, 3, 1)
            return axes, tuple(shape[axis] for axis in axes)
    raise UserError(
        f"{path} has shape {shape}, of which it is unclear what are height, width and channels",
        cure="save it as (number, height, width, channels), with few channels",
    )
