"""An array of numbers from a file of the user's own: NumPy's, pickled, or a table of text.

    codes.npy            mapped into memory, not read
    codes.npz            its only array, or the one named behind a colon: `codes.npz:z`
    z.pkl                the first array pickled into it, or by number: `z.pkl:1`
    codes.txt codes.csv  a row a line; numbers parted by commas, semicolons or white space; `#`
                         begins a comment, and a first line of other words is a header

Nothing that is read can run code.
"""

import lzma
import re
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.manifold.arrays import pickled

PICKLES = (".pkl", ".pickle")
TABLES = (".txt", ".csv", ".tsv", ".dat")
SUFFIXES = (".npy", ".npz", *PICKLES, *TABLES)
# Spreadsheets put a mark before the first number.
_TEXT = "utf-8-sig"

_DAMAGE = (
    *(ValueError, TypeError, EOFError, KeyError, OverflowError, SyntaxError),
    # An archive that was encrypted is a RuntimeError.
    *(RuntimeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


def read(name: str) -> Shaped[np.ndarray, "..."]:
    """Return the array that a file holds.

    Args:
        name: the file; behind a colon, which of its arrays.

    Raises:
        UserError: there is no such file or array, or what it holds are no numbers.
    """
    path, part = split(name)
    _check_there(path)
    suffix = path.suffix.lower()
    if part and suffix in (".npy", *TABLES):
        raise UserError(f"{path} holds one array, but {part!r} is asked for", cure="leave it out")
    if suffix in PICKLES:
        return pickled.read(path, place=_number(path, part))
    if suffix in TABLES:
        return _table(path)
    return _numpy(path, part)


def numbers(name: str, *, meaning: str) -> Int[np.ndarray, "number"]:
    """Return whole numbers from a file, such as rows; in a text they may stand in any lines.

    Args:
        name: as for `read`.
        meaning: what they are, in the plural, for the message.

    Raises:
        UserError: there is no such file, or what it holds are no whole numbers.
    """
    path, _ = split(name)
    _check_there(path)
    found = _words(path, meaning) if path.suffix.lower() in TABLES else read(name)
    if found.dtype == bool:
        raise UserError(f"{path} holds truth values, not {meaning}", cure="give whole numbers")
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise UserError(
            f"{path} holds an array of type {found.dtype} and shape {found.shape}, not {meaning}",
            cure="give a list of whole numbers",
        )
    bad = np.flatnonzero(~((np.abs(found) < 2**53) & (found == np.floor(found))))
    if bad.size:
        raise UserError(
            f"{found[bad[0]]} in {path} is no whole number, but {meaning} are",
            cure="give whole numbers, counted from 0",
        )
    return found.astype(np.int64)


def split(name: str) -> tuple[Path, str]:
    """Return the file of a name, and which of its arrays stands behind a colon, if any does."""
    match = re.fullmatch(r"(.*\.(?:npy|npz|pkl|pickle)):([^:/\\]*)", name, flags=re.IGNORECASE)
    return (Path(match[1]), match[2]) if match else (Path(name), "")


def _check_there(path: Path) -> None:
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder", cure="give a file")
        if not path.exists():
            raise UserError(f"there is no file {path}", cure="give a file that exists")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path} is of no known kind", cure=f"give a file that ends in {', '.join(SUFFIXES)}"
        )


def _number(path: Path, part: str) -> int:
    if part and not part.isdecimal():
        raise UserError(
            f"arrays in {path} have no names, but {part!r} is asked for",
            cure=f"give a number: {path}:0 is the first",
        )
    return int(part or 0)


def _numpy(path: Path, part: str) -> Shaped[np.ndarray, "..."]:
    """Return the array of a .npy, or one of a .npz."""
    try:
        if path.suffix.lower() == ".npy":
            return np.lib.format.open_memmap(path, mode="r")
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is no zip archive")
        # Opened here, since numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            name = _member(path, part, archive.files)
            _check_room(path, archive, name)
            found = archive[name]
            if not isinstance(found, np.ndarray):
                raise TypeError("what it holds is no array")
            return found
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(
            f"{path} holds more than memory does ({error})", cure="save the array with np.save"
        ) from error
    except _DAMAGE as error:
        if isinstance(error, ValueError) and re.search("object|pickle", str(error).lower()):
            raise UserError(
                f"{path} holds Python objects, which may run code when read, and is refused",
                cure="save plain numbers: np.save(file, np.asarray(codes, dtype=float))",
            ) from error
        raise UserError(f"{path} is damaged ({error})", cure="save it again") from error


def _check_room(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> None:
    """Refuse an array that is larger than memory."""
    assert archive.zip is not None, "it is open"
    size = sum(one.file_size for one in archive.zip.infolist() if one.filename == f"{name}.npy")
    storage.check_fits(size, origin=f"{name} in {path}", cure="save the array with np.save")


def _member(path: Path, part: str, names: list[str]) -> str:
    """Return the name of the array that is meant."""
    if part in names:
        return part
    if not part and len(names) == 1:
        return names[0]
    cause = f"{path} has no array {part!r}" if part else f"{path} holds {len(names)} arrays"
    raise UserError(cause, cure=f"name one of {', '.join(names)}: {path}:{names[0]}" * bool(names))


def _table(path: Path) -> Shaped[np.ndarray, "row column"]:
    """Return the numbers of a text, a row a line."""
    try:
        with path.open(encoding=_TEXT) as file:
            lines = (line.partition("#")[0].strip() for line in file)
            skipped, first = next(((at, line) for at, line in enumerate(lines) if line), (0, ""))
        delimiter = next((sign for sign in ",;" if sign in first), None)
        # A line with numbers among its words is no header, but a row with a mistake.
        head = skipped + (not any(_is_number(word) for word in first.split(delimiter)))
        with warnings.catch_warnings(action="ignore"):  # of no rows
            found = np.loadtxt(path, delimiter=delimiter, skiprows=head, ndmin=2, encoding=_TEXT)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        reason = str(error).split(";")[0].rstrip(".")
        raise UserError(
            f"{path} is no table of numbers ({reason})", cure="give as many numbers in every line"
        ) from error
    if not found.size:
        raise UserError(f"{path} holds no numbers", cure="give a row a line")
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _words(path: Path, meaning: str) -> Shaped[np.ndarray, "number"]:
    """Return the numbers of a text in the order in which they come."""
    found = []
    try:
        for line, text in enumerate(path.read_text(encoding=_TEXT).splitlines(), start=1):
            for word in re.split(r"[\s,;]+", text.partition("#")[0].strip()):
                if word and not _is_number(word):
                    raise UserError(
                        f"{path}, line {line}: {word!r} is no number, but {meaning} are",
                        cure="give whole numbers, counted from 0",
                    )
                found += [float(word)] if word else []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeError as error:
        raise UserError(f"{path} is no text", cure="give numbers as text") from error
    if not found:
        raise UserError(f"{path} is empty", cure=f"give {meaning}, one a line")
    return np.asarray(found)
