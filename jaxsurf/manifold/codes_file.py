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

import logging
import mmap
import pickle
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

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

_SCALAR, _RANGE = "numpy.core.multiarray.scalar", "builtins.range"
_SETS = ("builtins.set", "builtins.frozenset")
_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy.core.numeric._frombuffer")
# As they were called before Python 3 and NumPy 2.
_OLD = {
    "__builtin__.xrange": _RANGE,
    "__builtin__.set": _SETS[0],
    "__builtin__.frozenset": _SETS[1],
}

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
        found = _Arrays(file)
        if "" in found and part:  # arrays one behind the other have numbers, not names
            if not part.isdecimal():
                raise ValueError(f"it holds no containers, but {part!r} is asked for")
            for number in range(1, int(part) + 1):
                if file.tell() == len(file):
                    raise EOFError(f"it holds {number} arrays, but number {part} is asked for")
                found = _Arrays(file)
            part = ""
    return found[_choose(path, [*found], part)]


class _Arrays(dict[str, Shaped[np.ndarray, "..."]]):
    """The arrays of numbers in the next object of a pickle, by the keys that lead to each.

    That of a pickle which is nothing else is called "".
    """

    def __init__(self, file: mmap.mmap) -> None:
        super().__init__()
        # Honest files take at least a byte for a number or a reference, and each is looked at a
        # few times at most.
        self.left, self.left_of_ranges = 8 * len(file), storage.LARGE_BYTES // 8
        # Strings of Python 2 are bytes, which latin1 keeps.
        value = _Unpickler(file, encoding="latin1").load()
        self._find(value, "")
        if not self:
            raise TypeError(f"it holds an object of type {type(value).__name__} without arrays")
        if "" in self:
            self[""] = np.atleast_1d(self[""])

    def _find(self, value: object, name: str) -> None:
        try:
            array = self._convert(value)
        except (TypeError, ValueError):
            if not name:
                raise
            return  # it is beside what may be asked for
        if array is None:
            listed = enumerate(value) if isinstance(value, list | tuple) else ()
            for key, item in value.items() if isinstance(value, dict) else listed:
                self._spend(1)
                number = self._convert(key) if isinstance(key, _Record) else None
                key = key if number is None else number
                self._find(item, f"{name}/{key}" if name else f"{key}")
        elif array.ndim or not name:
            self[name] = array

    def _spend(self, number: int) -> None:
        self.left -= number
        if self.left < 0:
            raise RecursionError("it holds the same things again and again")

    def _convert(self, value: object) -> Shaped[np.ndarray, "..."] | None:
        """Return a value as an array, or None if it is none."""
        if isinstance(value, bool | int | float):
            found = np.array(value)
        elif isinstance(value, list | tuple | set | frozenset):
            found = self._convert_items(value)
        elif not isinstance(value, _Record):
            return None
        elif value.name in _SETS:
            (items,) = value.arguments or ((),)
            found = self._convert_items(set(items))
        elif value.name == _RANGE:
            places = range(*value.arguments)
            self.left_of_ranges -= len(places)
            if self.left_of_ranges < 0:
                raise RecursionError("it holds a range of too many numbers")
            found = np.arange(places.start, places.stop, places.step)
        else:
            found = value.array()
        if found is not None and found.dtype.kind not in _NUMBERS:
            raise TypeError(f"it holds values of type {found.dtype}")
        return found

    def _convert_items(
        self, items: Sequence[object] | set[object] | frozenset[object]
    ) -> Shaped[np.ndarray, "..."] | None:
        """Return numbers as an array, or equally long lists of them; those of a set are sorted."""
        self._spend(len(items))
        if {*map(type, items)} <= {int, float, bool}:
            found = np.array([*items])
        else:
            rows: list[np.ndarray] = []
            for item in items:
                row = self._convert(item)
                if row is None or row.ndim > 1 or row.shape != (rows or [row])[0].shape:
                    return None
                self._spend(row.size)
                rows.append(row)
            found = np.stack(rows)
        return found if isinstance(items, Sequence) else np.sort(found)


class _Record:
    """What something is called with that a pickle makes, and its state.

    NumPy is not called: it would take bytes for pointers to objects.
    """

    name = ""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401  (a pickle may hold anything)
        self.arguments, self.state = arguments, ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> Shaped[np.ndarray, "..."]:
        """Return the array that NumPy would make, if its values are numbers."""
        shape, columns_first = (), False
        if self.name == _SCALAR:
            kind, data = self.arguments
        elif self.name not in _ARRAYS:
            raise TypeError(f"it holds an object of type {self.name}")
        elif self.state:  # a version may stand first
            shape, kind, columns_first, data = self.state[-4:]
        else:  # protocol 5
            data, kind, shape, order = self.arguments
            columns_first = order == "F"
        dtype = np.dtype(str(kind.arguments[0])).newbyteorder(kind.state[1])
        data = data.encode("latin1") if isinstance(data, str) else data
        # Where the bytes don't fill the shape, or would be objects, NumPy refuses it.
        return np.frombuffer(data, dtype).reshape(shape, order="F" if columns_first else "C")


# A class for each name that is known, which a pickle can make objects of, but not change.
_RECORDS = {
    name: type("_Record", (_Record,), {"name": name})
    for name in ("numpy.ndarray", "numpy.dtype", _SCALAR, _RANGE, *_SETS, *_ARRAYS)
}


def _load_bytearray(unpickler: Any) -> None:  # noqa: ANN401  (its methods are undocumented)
    # The original fills as many zeros as a file asks for before it reads.
    (size,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(size)))


class _Unpickler(pickle._Unpickler):  # the C one allocates as far as a file's indices ask
    """Makes records of what arrays and containers of numbers consist of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  (a class or a function)
        called = f"{module}.{name}".replace("numpy._core.", "numpy.core.")  # since NumPy 2
        called = _OLD.get(called, called)
        if called == "_codecs.encode":
            return str.encode  # of the bytes that protocols before 3 hold as text
        if called not in _RECORDS:
            raise pickle.UnpicklingError(f"it would run {module}.{name} when read")
        return _RECORDS[called]

    dispatch: ClassVar = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _load_bytearray}
