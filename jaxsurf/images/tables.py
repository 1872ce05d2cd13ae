"""Tables of text from other programs: a row a line, in columns of numbers or of words.

How a table is written is found from its first hundred lines:

- Text is UTF-8, or UTF-16 if it begins with its mark, or else Windows-1252. Blank lines don't
  count, nor does what a `#` begins at a line's start or between spaces. Cells may be quoted.
- Cells are parted by tabs, semicolons, commas or white space, and numbers have points or commas:
  the reading with fewest words among its cells is taken, and of equals the first in this order.
  `05` and `-0` count as words for that, as they come from `3,05` and `-0,5`. Where all lines have
  tabs or semicolons, readings without them are taken only if they leave no words at all.
- The first line is a header if above columns of numbers it has words, and none begins as a number;
  or numbers from 0 on, as pandas names columns, and one of the columns decimals in every cell.
- The first of several columns is an index if its head is empty or missing (as R and pandas write
  it), if it holds words, or if it has a word above 0, 1, 2, ... or 1, 2, 3, ....
- A last column without head and content, of commas at the ends of lines, is none.
"""

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from jaxsurf.errors import check_choice
from jaxsurf.images import storage

Header = Literal["auto", "yes", "no"]
Column = Float[np.ndarray, " row"] | list[str]
# The cells of a row, with the number of the line where it ends, from 1.
Record = tuple[int, list[str]]

SUFFIXES = (".txt", ".csv", ".tsv", ".dat")
# What is looked at to find how a table is written: lines, and letters if lines are long.
_LINES, _LETTERS = 101, 1 << 18
_BLOCK = 1 << 24  # bytes without the end of a line: no table has such a line
_COUNTED = 3  # rows whose numbers are taken for an index because they count up
_NAMED, _NAME = 6, 40  # columns in the note, letters of a name or word in messages
_LEAST = 0.5  # share of numbers in a column of numbers, of which the others are mistakes
_READINGS = tuple((sign, point) for point in ".," for sign in "\t;, ")
_MISSING = ("", "na", "n/a", "null")
_NUMBER = re.compile(
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?|nan|inf(?:inity)?)", re.IGNORECASE
)
_BEGUN = re.compile(r"[-+]?[.,]?[0-9]|nan$|inf$", re.IGNORECASE)  # as numbers are, with mistakes
_QUOTED = re.compile(r'"[^"]*"')
_BLANKS = re.compile(r'("[^"]*")|\s+')
_PADDED = re.compile(r"[-+]?0[0-9].*|-0")
_COMMENT = re.compile(r"^\s*#.*|\s#\s.*", re.DOTALL)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The columns of a table, all of one length.

    A column is a float64 array, NaN where a cell is missing (empty, `NA`, `N/A`, `null`); or a
    list of words, where a cell is neither number nor missing.
    """

    names: tuple[str, ...]  # of the columns; empty without a header
    columns: list[Column]
    index: list[str] | None  # first cells of the rows, where they are an index
    note: str  # how the table was read, in one line
    first_word: str  # where the first cell stands that is no number, from 1, and its text


def refusing(path: Path) -> contextlib.AbstractContextManager[None]:
    """Report whatever reading a damaged or hostile file raises as one `UserError`."""
    cure = "save plain numbers with np.save, or as a text with as many in every line"
    return storage.refusing(path, "is refused", cure=cure)


def read_table(path: Path, header: Header = "auto", *, named_index: bool = True) -> Table:
    """Read a table.

    Args:
        path: of the file.
        header: whether the first line names the columns; "auto" finds out.
        named_index: whether a first column of words, or of 0, 1, ... under a word, is an index.
    """
    check_choice("header", header, ("auto", "yes", "no"))
    with refusing(path):
        with path.open("rb") as file:
            marked = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
            large = path.stat().st_size > _BLOCK
            while large and len(block := file.read(_BLOCK)) == _BLOCK:
                if not (b"\n" in block or b"\r" in block):
                    raise ValueError(f"a line is longer than {_BLOCK >> 20} MiB")
        if not marked:
            with contextlib.suppress(UnicodeDecodeError):
                return _Reader(path, "utf-8-sig", header, named_index).read()
        return _Reader(path, "utf-16" if marked else "cp1252", header, named_index).read()


@dataclass
class _Reader:
    """How a table is written, found from its first lines, and what is read."""

    path: Path
    encoding: str
    header: Header
    named_index: bool
    sign: str = " "
    point: str = "."
    head: list[str] = field(default_factory=list)
    first: int = 1  # line of the first row
    width: int = 0
    words: set[int] = field(default_factory=set)  # columns that hold some

    def read(self) -> Table:
        rows = self._take_sample()
        index = self._take_structure(rows)
        columns, first_word = self._read_plain(), ""
        if columns is None:
            columns, first_word = self._read_cells(labelled=index)
        names, first = self.head, columns[0]
        counts = not index and self.named_index and self.width > 1 and bool(names)
        if counts and isinstance(first, np.ndarray) and len(first) >= _COUNTED:
            whole = all(row[0].isdigit() for _, row in rows[1:]) and first[0] in (0, 1)
            index = whole and not _NUMBER.fullmatch(names[0])
            index = index and np.array_equal(first, first[0] + np.arange(len(first)))
        labels = None
        if index:
            columns, names = columns[1:], names[1:]
            labels = first if isinstance(first, list) else [f"{number:.15g}" for number in first]
        known = [name[:_NAME] for name in names[:_NAMED]] + ["..."] * (len(names) > _NAMED)
        note = f"{_number(len(columns[0]), 'row')} x {_number(len(columns), 'column')}, "
        note += f"header taken: {', '.join(known)}" if names else "no header"
        note += "; first column is an index" * index + "; decimal commas" * (self.point == ",")
        return Table(
            names=tuple(names),
            columns=columns,
            index=labels,
            note=" ".join(f"{self.path.name}: {note}".split()),
            first_word=first_word,
        )

    def _take_sample(self) -> list[Record]:
        """Return the first rows, in the reading that makes most of their cells numbers."""
        lines, bare = [], []
        with self.path.open(encoding=self.encoding, newline="") as file:
            for line in file:
                lines.append(line)
                if line.strip() and not _COMMENT.match(line):
                    bare.append(_QUOTED.sub("", line))
                if len(bare) >= _LINES or (len(bare) > 1 and sum(map(len, bare)) > _LETTERS):
                    break
        if "\0" in (text := "".join(lines)):
            raise ValueError("it is no text in UTF-8")
        sure = [sign for sign in "\t;" if bare and all(sign in line for line in bare)]
        best, found = (2.0, True), []
        for sign, point in _READINGS:
            if sign not in text + " ":
                continue
            with contextlib.suppress(csv.Error):  # a line of the sample without end
                rows = list(_records(lines, sign, strict=False))
                cells = [cell for _, row in rows[1:] or rows for cell in row if not _missing(cell)]
                words = sum(
                    not self._is_number(cell, point) or bool(_PADDED.fullmatch(cell))
                    for cell in cells
                )
                score = words / max(1, len(cells)), all(len(row) < 2 for _, row in rows)
                if score < best and (not words or not sure or sign in sure):
                    best, found, self.sign, self.point = score, rows, sign, point
        if not found:
            raise ValueError("it holds no numbers")
        return found

    def _take_structure(self, rows: Sequence[Record]) -> bool:
        """Find the header, the columns and which hold words; return whether the first is an index.

        An index of whole numbers under a word shows in the whole column alone.
        """
        head, body = rows[0][1], [row for _, row in rows[1:] or rows]
        lengths = Counter(map(len, body))
        width = max(lengths, key=lambda each: (lengths[each], each == len(head), each))
        while width > 1 and not any("".join(row[width - 1 : width]) for row in [head, *body]):
            width -= 1
        while len(head) > width and not head[-1]:
            head = head[:-1]
        columns = [[row[at] for row in body if len(row) > at] for at in range(width)]
        shares = [self._share_of_numbers(column) for column in columns]
        self.words = {at for at, share in enumerate(shares) if share < _LEAST}
        self.width, self.first = width, rows[0][0]
        short = len(head) == width - 1 > 0  # as R leaves the index without a head
        names = ["", *head] if short else head
        if self.header == "yes" and (len(names) != width or len(rows) < 2):
            below = _number(width, "column") if len(rows) > 1 else "no rows"
            raise ValueError(f"its header has {_number(len(head), 'name')} above {below}")
        unnamed = False
        if self.header == "yes" or (
            self.header == "auto"
            and (len(rows) > 1 and len(names) == width)
            and self._is_header(names, columns)
        ):
            self.head, self.first = names, rows[1][0]
            unnamed = names[0] in ("", "Unnamed: 0")  # the latter is pandas' own
        return width > 1 and (unnamed or (0 in self.words and self.named_index))

    def _is_header(self, names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
        labelled = self.width > 1 and not self._is_number(names[0])  # perhaps above an index
        above = [at for at in range(labelled, self.width) if at not in self.words]
        heads = [names[at] for at in above]
        if not heads:
            return any(names)
        if not any(map(_BEGUN.match, heads)):
            return any(heads)
        decimal = any(not any(cell.lstrip("+-").isdigit() for cell in columns[at]) for at in above)
        numbered = heads == [str(number) for number in range(len(heads))]
        return numbered and (decimal or not names[0])

    def _is_number(self, cell: str, point: str = "") -> bool:
        if (point or self.point) == ",":
            cell = cell.replace(".", "?").replace(",", ".")
        return _NUMBER.fullmatch(cell) is not None

    def _share_of_numbers(self, cells: Sequence[str]) -> float:
        there = [cell for cell in cells if not _missing(cell)]
        return sum(map(self._is_number, there)) / len(there) if there else 1.0

    def _read_plain(self) -> list[Column] | None:
        """Return the columns of a table of plain numbers, which NumPy reads quickly, if it is one.

        A table with a comment, a missing number or a column too many is none.
        """
        if self.words or self.point == ",":
            return None
        with self.path.open(encoding=self.encoding) as file, contextlib.suppress(ValueError):
            found = np.loadtxt(
                file,
                delimiter=self.sign.strip(" ") or None,
                skiprows=self.first - 1,
                comments=None,
                quotechar='"',
                ndmin=2,
            )
            if found.shape[1] == self.width:
                return list(found.T)
        return None

    def _read_cells(self, *, labelled: bool) -> tuple[list[Column], str]:
        """Return the columns of any table, the first perhaps of labels, and where a word is."""
        rows: list[Record] = []
        with self.path.open(encoding=self.encoding, newline="") as file:
            for line, row in _records(file, self.sign):
                if line < self.first:
                    continue
                if len(row) < self.width or any(row[self.width :]):
                    number = _number(len(row), "cell")
                    raise ValueError(f"line {line} has {number}, where others have {self.width}")
                rows.append((line, row))
        columns: list[Column] = []
        words: list[tuple[int, int, str]] = []
        for at in range(self.width):
            cells = [row[at] for _, row in rows]
            columns.append(cells)
            if labelled and at == 0:
                continue
            numbers = (self._is_number(cell) or _missing(cell) for cell in cells)
            wrong = next((row for row, able in enumerate(numbers) if not able), None)
            if wrong is not None:
                word = cells[wrong]
                words.append((rows[wrong][0], at + 1, repr(word[:_NAME])))
            elif at not in self.words:
                texts = ("nan" if _missing(cell) else cell.replace(",", ".") for cell in cells)
                columns[at] = np.array([float(text) for text in texts])
        return columns, "line {}, column {} is {}".format(*min(words)) if words else ""


def _records(lines: Iterable[str], sign: str, *, strict: bool = True) -> Iterator[Record]:
    line = 0

    def plain() -> Iterator[str]:
        nonlocal line
        for line, text in enumerate(lines, start=1):
            quoted = '"' in text and not text.lstrip().startswith("#")
            text = _COMMENT.sub("", text) if "#" in text and not quoted else text
            if sign == " " and text.count('"') % 2:
                raise csv.Error(f"a quote in line {line} has no end")
            if sign == " " and quoted:  # of several blanks one is left, but in quotes
                yield _BLANKS.sub(lambda each: each[1] or " ", text.strip())
            elif sign == " ":
                yield " ".join(text.split())
            else:
                yield text if text.strip(" \r\n") else ""

    for row in csv.reader(plain(), delimiter=sign, skipinitialspace=True, strict=strict):
        if row:
            yield line, [cell.strip() for cell in row]


def _missing(cell: str) -> bool:
    return cell.lower() in _MISSING


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
