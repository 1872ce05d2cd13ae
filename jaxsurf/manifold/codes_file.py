"""Arrays of numbers from a user's own file: NumPy's, pickled, or a table of text.

    codes.npy            mapped into memory, not read
    codes.npz            its only array of numbers, or the one named behind a colon: `codes.npz:z`
    z.pkl                the first array pickled into it, or by number: `z.pkl:1`; of arrays in
                         containers the only one, or by its keys: `embeddings.pkl:zs/2`
    codes.txt codes.csv  a row a line, as `jaxsurf.images.tables` reads it; what was taken for a
                         header or an index is logged

Pickled numbers, lists, tuples, sets and ranges of them, and lists of equally long ones, are arrays
too. Nothing that is read can run code, and whatever is wrong with a file is one `UserError`.
"""

import contextlib
import logging
import mmap
import pickle
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Shaped

from jaxsurf.errors import UserError
from jaxsurf.images import storage, tables

TABLES = tables.SUFFIXES
SUFFIXES = (".npy", ".npz", ".pkl", ".pickle", *TABLES)
_SHOWN = 8  # names in a message
_NUMBERS = "biuf"  # kinds of NumPy's types

_log = logging.getLogger(__name__)


def read(name: str, *, header: tables.Header = "auto") -> Shaped[np.ndarray, "..."]:
    """Return the array that a file holds; behind a colon, the name says which of several.

    `header` is of tables: whether the first line names the columns. Whatever prevents reading
    raises `UserError`: no such file or array, words among numbers.
    """
    path, part = split(name)
    suffix, known = path.suffix.lower(), ", ".join(SUFFIXES)
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is of no known kind", cure=f"give a file that ends in {known}")
    with tables.refusing(path):
        if suffix in (".pkl", ".pickle"):
            return _read_pickle(path, part)
        if suffix == ".npz":
            return _read_archive(path, part)
        if part:
            raise ValueError(f"it holds one array, but {part!r} is asked for")
        if suffix == ".npy":
            return np.lib.format.open_memmap(path, mode="r")
        table = tables.read_table(path, header)
        if table.first_word:
            cure = "mend it, or leave columns of words out; --header says what the first line is"
            raise UserError(f"{path}: {table.first_word}, which is no number", cure=cure)
        _log.info("%s", table.note)
        return np.stack([np.asarray(column) for column in table.columns], axis=1)


def split(name: str) -> tuple[Path, str]:
    """Return the file of a name, and which of its arrays stands behind a colon, if any does."""
    file = r".*\.(?:npy|npz|pkl|pickle)"
    match = re.fullmatch(rf"({file}):((?!{file}$)[^:\\]*)", name, flags=re.IGNORECASE)
    return (Path(match[1]), match[2]) if match else (Path(name), "")


def _choose(path: Path, names: Sequence[str], part: str) -> str:
    """Return the name of the array that is asked for, or of the only one."""
    if part in names or (len(names) == 1 and not part):
        return part or names[0]
    shown = ", ".join([*names[:_SHOWN], *["..."][: len(names) // (_SHOWN + 1)]])
    cause = f"{path} has no array {part!r}" if part else f"{path} holds {len(names)} arrays"
    cure = f"name one behind a colon: {shown}" if names else "save one with np.save"
    raise UserError(cause, cure=cure)


def _read_archive(path: Path, part: str) -> Shaped[np.ndarray, "..."]:
    # Opened here, since numpy leaves a damaged file open.
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    if not part and len(names) > 1:
        # Beside codes there may be texts, single numbers, and objects, which can't be read.
        names = [name for name in names if _holds_rows(path, name)]
    member = storage.Member.inspect(path, _choose(path, names, part))
    storage.check_claim(f"{path}", member.nbytes, path.stat().st_size)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return archive[member.name]


def _holds_rows(path: Path, name: str) -> bool:
    try:
        member = storage.Member.inspect(path, name)
    except storage.BROKEN:
        return False
    return bool(member.shape) and member.dtype.kind in _NUMBERS


def _read_pickle(path: Path, part: str) -> Shaped[np.ndarray, "..."]:
    # Mapped, a file is not asked for more bytes than it has, whatever it claims.
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        found = _load(file)
        if "" in found and part:  # arrays one behind the other have numbers, not names
            if not part.isdecimal():
                raise ValueError(f"it holds no containers, but {part!r} is asked for")
            for number in range(1, int(part) + 1):
                if file.tell() == len(file):
                    raise EOFError(f"it holds {number} arrays, but number {part} is asked for")
                found = _load(file)
            part = ""
    return found[_choose(path, [*found], part)]


def _load(file: mmap.mmap) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return the arrays of numbers in the next object of a pickle, by the keys that lead to each.

    That of a pickle which is nothing else is called "".
    """
    # Strings of Python 2 are bytes, which latin1 keeps.
    value = _Unpickler(file, encoding="latin1").load()
    _spend(value, 8 * len(file))  # honest files take at least a byte for each number or reference
    found = dict(_find(value, ""))
    if not found:
        raise TypeError(f"it holds an object of type {type(value).__name__} without arrays")
    return {name: np.atleast_1d(array) for name, array in found.items()}


def _spend(value: Any, left: int) -> int:  # noqa: ANN401  (a pickle may hold anything)
    """Return what is left of so many numbers after those in a value, and what holds them."""
    left -= value.size if isinstance(value, np.ndarray) else 1
    if left < 0 or (isinstance(value, range) and len(value) > storage.LARGE_BYTES // 8):
        raise RecursionError("it holds a few things that stand for very many")
    items = value.values() if isinstance(value, dict) else value
    for item in items if isinstance(value, dict | list | tuple | set | frozenset) else ():
        left = _spend(item, left)
    return left


def _find(value: Any, name: str) -> Iterator[tuple[str, Shaped[np.ndarray, "..."]]]:  # noqa: ANN401
    """Yield the names and arrays of numbers in a value; a single number only where it is all."""
    array, items = np.empty(0, object), enumerate(value) if isinstance(value, list | tuple) else ()
    with contextlib.suppress(TypeError, ValueError):  # rows of several lengths; what has no order
        array = np.asarray(sorted(value) if isinstance(value, set | frozenset) else value)
    whole = isinstance(value, np.ndarray) or array.ndim < 3
    if array.dtype.kind in _NUMBERS and (array.ndim or not name) and whole:
        yield name, array
        return
    for key, item in value.items() if isinstance(value, dict) else items:
        yield from _find(item, f"{name}/{key}" if name else f"{key}")


def _from_buffer(
    data: bytes | bytearray | str, kind: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"]
) -> Shaped[np.ndarray, "..."]:
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, kind).reshape(shape, order=order)  # of objects, it refuses them


# What stands for each name that is known. `numpy.ndarray` is never called: it would take bytes for
# pointers to objects. A type is a copy, since a pickle changes its byte order.
_KNOWN: dict[str, Any] = {
    "numpy.ndarray": None,
    "numpy.dtype": lambda kind, *_: np.dtype(str(kind), copy=True),
    "numpy.core.multiarray._reconstruct": lambda *_: np.empty(0),
    "numpy.core.multiarray.scalar": lambda kind, data: _from_buffer(data, kind, (), "C")[()],
    "numpy.core.numeric._frombuffer": _from_buffer,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.range": range,
    "_codecs.encode": str.encode,  # of the bytes that protocols before 3 hold as text
}


def _load_build(unpickler: Any) -> None:  # noqa: ANN401  (its methods are undocumented)
    state, made = unpickler.stack.pop(), unpickler.stack[-1]
    if isinstance(made, np.dtype):
        # Of numbers the byte order alone; any other state might take values for pointers.
        allowed = made.newbyteorder(state[1]).__reduce__()[2] == state
    elif type(made) is np.ndarray:
        allowed = not made.size  # once: others may look at its values
    else:
        raise pickle.UnpicklingError(f"it would change an object of type {type(made).__name__}")
    if allowed:
        unpickler.stack[-1].__setstate__(state)


def _load_bytearray(unpickler: Any) -> None:  # noqa: ANN401
    # The original fills as many zeros as a file asks for before it reads.
    size = int.from_bytes(unpickler.read(8), "little")
    unpickler.append(bytearray(unpickler.read(size)))


class _Unpickler(pickle._Unpickler):  # the C one allocates as far as a file's indices ask
    """Makes what arrays and containers of numbers consist of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  (a class or a function)
        # As it was called before NumPy 2, and is called since Python 3.
        called = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        called = called.replace("__builtin__.", "builtins.").replace("xrange", "range")
        if called not in _KNOWN:
            raise pickle.UnpicklingError(f"it would run {module}.{name} when read")
        return _KNOWN[called]

    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }
