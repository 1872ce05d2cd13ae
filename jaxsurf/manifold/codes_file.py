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
# Of the machine's memory, what an unpacked array may take: what is done with it takes as much.
MEMORY_SHARE = 0.5
_LOOKED_AT = 100  # members of an archive, to find the one of numbers
_SHOWN = 8  # names in a message
_NUMBERS = "biuf"  # kinds of NumPy's types
_PLAIN = {int, float, bool}

_log = logging.getLogger(__name__)


def read(name: str, *, header: tables.Header = "auto") -> Shaped[np.ndarray, "..."]:
    """Return the array that a file holds; behind a colon, the name says which of several.

    `header` is of tables: whether the first line names the columns. Whatever prevents reading
    raises `UserError`: no such file or array, words among numbers, more than fits into memory.
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
    if not part and 1 < len(names) <= _LOOKED_AT:
        # Beside codes there may be texts, single numbers, and objects, which can't be read.
        names = [name for name in names if _holds_rows(path, name)]
    member = storage.Member.inspect(path, _choose(path, names, part))
    size, memory = member.nbytes / storage.GIB, (storage.total_bytes() or np.inf) / storage.GIB
    if size > memory * MEMORY_SHARE:
        cause = f"{member.name} in {path} takes {size:,.1f} GiB unpacked, but this machine has "
        raise UserError(f"{cause}{memory:,.1f} GiB of memory", cure="save the array with np.save")
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
    _check_claim(value, len(file))
    found = dict(_find(value, ""))
    if not found:
        raise TypeError(f"it holds an object of type {type(value).__name__} without arrays")
    return {name: np.atleast_1d(array) for name, array in found.items()}


def _check_claim(value: Any, size: int) -> None:  # noqa: ANN401  (a pickle may hold anything)
    """Refuse what stands for far more than a file of so many bytes holds: a bomb."""
    # Honest files take at least a byte for a number or a reference, but ranges.
    left, left_of_ranges, waiting = 8 * size, storage.LARGE_BYTES // 8, [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, range):
            left_of_ranges -= len(part)
        elif isinstance(part, np.ndarray):
            left -= part.size
        elif isinstance(part, dict | list | tuple | set | frozenset):
            items = part.values() if isinstance(part, dict) else part
            left -= len(items)
            waiting += () if {*map(type, items)} <= _PLAIN else items
        if min(left, left_of_ranges) < 0:
            raise RecursionError("it holds a few things that stand for very many")


def _of_numbers(value: Any, axes: int) -> bool:  # noqa: ANN401
    """Return whether a value is numbers, with so many axes at most."""
    if isinstance(value, list | tuple | set | frozenset):
        plain = {*map(type, value)} <= _PLAIN
        return axes > 0 and (plain or all(_of_numbers(item, axes - 1) for item in value))
    if isinstance(value, np.ndarray):
        return value.ndim <= axes and value.dtype.kind in _NUMBERS
    return isinstance(value, int | float | np.number | np.bool_ | range)


def _find(value: Any, name: str) -> Iterator[tuple[str, Shaped[np.ndarray, "..."]]]:  # noqa: ANN401
    """Yield the names and arrays of numbers in a value; a single number only where it is all."""
    array = value if isinstance(value, np.ndarray) else np.empty(0, object)
    # NumPy is not shown words: in an array of them each takes as much as the longest.
    if array is not value and _of_numbers(value, 2):
        # Not rows of several lengths, nor what has no order.
        with contextlib.suppress(TypeError, ValueError):
            array = np.asarray(sorted(value) if isinstance(value, set | frozenset) else value)
    if array.dtype.kind in _NUMBERS and (array.ndim or not name):
        yield name, array
        return
    items = enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        yield from _find(item, f"{name}/{key}" if name else f"{key}")


def _from_buffer(
    data: bytes | bytearray | str, kind: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"]
) -> Shaped[np.ndarray, "..."]:
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, kind).reshape(shape, order=order)  # of objects, it refuses them


# What stands for each name that is known. `numpy.ndarray` is never called: it would take bytes for
# pointers to objects. A type is a copy, since a pickle changes its byte order; it is named by a
# text alone, and sets are made of lists alone, as other things may stand for very many.
_KNOWN: dict[str, Any] = {
    "numpy.ndarray": None,
    "numpy.dtype": lambda kind, *_: np.dtype(str.strip(kind), copy=True),
    "numpy.core.multiarray._reconstruct": lambda *_: np.empty(0),
    "numpy.core.multiarray.scalar": lambda kind, data: _from_buffer(data, kind, (), "C")[()],
    "numpy.core.numeric._frombuffer": _from_buffer,
    "builtins.set": lambda items: set(list.copy(items)),
    "builtins.frozenset": lambda items: frozenset(list.copy(items)),
    "builtins.range": range,
    "_codecs.encode": str.encode,  # of the bytes that protocols before 3 hold as text
}


def _load_build(unpickler: Any) -> None:  # noqa: ANN401  (its methods are undocumented)
    state, made = unpickler.stack.pop(), unpickler.stack[-1]
    if isinstance(made, np.dtype):
        # The byte order alone: NumPy would take anything in other states for what it should be.
        unpickler.stack[-1].__setstate__(made.newbyteorder(state[1]).__reduce__()[2])
    elif type(made) is not np.ndarray:
        raise pickle.UnpicklingError(f"it would change an object of type {type(made).__name__}")
    elif not made.size:  # once: others may look at its values
        made.__setstate__(state)


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
