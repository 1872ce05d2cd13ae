"""Arrays of numbers from a user's own file: NumPy's, pickled, or a table of text.

    codes.npy            mapped into memory, not read
    codes.npz            its only array, or the one named behind a colon: `codes.npz:z`
    z.pkl                the first array pickled into it, or by number: `z.pkl:1`
    codes.txt codes.csv  a row a line; numbers parted by commas, semicolons or white space; `#`
                         begins a comment, and a first line of other words is a header

Nothing that is read can run code, and whatever is wrong with a file is one `UserError`.
"""

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxsurf.errors import UserError
from jaxsurf.images import storage

TABLES = (".txt", ".csv", ".tsv", ".dat")
SUFFIXES = (".npy", ".npz", ".pkl", ".pickle", *TABLES)
# A word of a table that is a number, or was meant as one.
_NUMBER = re.compile(r"(?:^|[\s,;])[-+]?(?:\.?\d|(?:nan|inf)\b)", re.IGNORECASE)

_NAMES = (
    *("numpy.ndarray", "numpy.dtype"),
    *("numpy.core.multiarray._reconstruct", "numpy.core.numeric._frombuffer"),
)


def read(name: str) -> Shaped[np.ndarray, "..."]:
    """Return the array that a file holds; behind a colon, the name says which of several."""
    path, part = split(name)
    suffix, known = path.suffix.lower(), ", ".join(SUFFIXES)
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is of no known kind", cure=f"give a file that ends in {known}")
    try:
        if suffix in (".pkl", ".pickle"):
            return _read_pickle(path, int(part or 0))
        if suffix == ".npz":
            return _read_archive(path, part)
        if part:
            raise ValueError(f"it holds one array, but {part!r} is asked for")
        return _read_table(path) if suffix in TABLES else np.lib.format.open_memmap(path, mode="r")
    except UserError:
        raise
    except OSError as error:
        cure = "give a file of numbers"
        raise UserError(f"cannot read {path}: {error.strerror or error}", cure=cure) from error
    except Exception as error:  # a damaged or hostile file may raise anything
        reason = re.split(r"[;\n]", str(error))[0].rstrip(".") or type(error).__name__
        cure = "save plain numbers with np.save, or as a text with as many in every line"
        raise UserError(f"{path} is refused ({reason})", cure=cure) from error


def split(name: str) -> tuple[Path, str]:
    """Return the file of a name, and which of its arrays stands behind a colon, if any does."""
    match = re.fullmatch(r"(.*\.(?:npy|npz|pkl|pickle)):([^:/\\]*)", name, flags=re.IGNORECASE)
    return (Path(match[1]), match[2]) if match else (Path(name), "")


def _read_archive(path: Path, part: str) -> Shaped[np.ndarray, "..."]:
    # Opened here, since numpy leaves a damaged file open.
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    if part not in names and (part or len(names) != 1):
        cause = f"{path} has no array {part!r}" if part else f"{path} holds {len(names)} arrays"
        raise UserError(cause, cure=f"name one behind a colon: {', '.join(names)}")
    member = storage.Member.inspect(path, part or names[0])
    size, memory = member.nbytes / storage.GIB, (storage.total_bytes() or np.inf) / storage.GIB
    if size > memory:
        cause = f"{member.name} in {path} takes {size:,.1f} GiB unpacked, but this machine has "
        raise UserError(f"{cause}{memory:,.1f} GiB of memory", cure="save the array with np.save")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return archive[member.name]


def _read_table(path: Path) -> Shaped[np.ndarray, "row column"]:
    encoding = "utf-8-sig"  # spreadsheets put a mark before the first number
    with path.open(encoding=encoding) as file:
        lines = (line.partition("#")[0].strip() for line in file)
        skipped, first = next(((at, line) for at, line in enumerate(lines) if line), (0, ""))
    delimiter = next((sign for sign in ",;" if sign in first), None)
    # A line with numbers among its words is no header, but a row with a mistake.
    head = skipped + (not _NUMBER.search(first))
    with warnings.catch_warnings(action="ignore"):  # of no rows
        found = np.loadtxt(path, delimiter=delimiter, skiprows=head, ndmin=2, encoding=encoding)
    if not found.size:
        raise ValueError("it holds no numbers")
    return found


def _read_pickle(path: Path, place: int) -> Shaped[np.ndarray, "..."]:
    found = None
    with path.open("rb") as file:
        for number in range(place + 1):
            if not file.peek(1):
                raise EOFError(f"it holds {number} arrays, but number {place} is asked for")
            # Strings of Python 2 are bytes, which latin1 keeps.
            found = _Unpickler(file, encoding="latin1").load()
    if not isinstance(found, _Record):
        raise TypeError(f"it holds an object of type {type(found).__name__}")
    if found.state:  # a version may stand first
        shape, kind, columns_first, data = found.state[-4:]
    else:  # protocol 5
        data, kind, shape, order = found.arguments
        columns_first = order == "F"
    dtype = np.dtype(str(kind.arguments[0])).newbyteorder(kind.state[1])
    if dtype.kind not in "biuf":
        raise TypeError(f"it holds values of type {dtype}")
    data = data.encode("latin1") if isinstance(data, str) else data
    # Where the bytes don't fill the shape, NumPy refuses it.
    return np.frombuffer(data, dtype).reshape(shape, order="F" if columns_first else "C")


class _Record:
    """What something of NumPy's is called with, and its state.

    NumPy is not called: it would take bytes for pointers to objects.
    """

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401  (a pickle may hold anything)
        self.arguments, self.state = arguments, ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _Unpickler(pickle._Unpickler):  # the C one allocates as far as a file's indices ask
    """Makes records of what arrays consist of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  (a class or a function)
        called = f"{module}.{name}".replace("numpy._core.", "numpy.core.")  # since NumPy 2
        if called == "_codecs.encode":
            return str.encode  # of the bytes that protocols before 3 hold as text
        if called not in _NAMES:
            raise pickle.UnpicklingError(f"it would run {module}.{name} when read")
        return _Record
