"""Where a path has to pass: rows of the latents, or codes that are none of them.

Each is a row number; a file of row numbers (`centers_ind.txt`); a code, its numbers with commas
between (`code:0.1,-2`); or a file of codes, one a row (`codes:path.txt`). All of them may be mixed.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxsurf.errors import UserError
from jaxsurf.manifold import euclid
from jaxsurf.manifold.arrays import array_file
from jaxsurf.pipeline.paths.sample import Source

_CODE, _CODES = "code:", "codes:"
_WHOLE = r"[+-]?[0-9]+"
# Codes of more numbers are not spelled out in messages.
_SPELLED = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchor:
    """A place to pass.

    Attributes:
        label: what a person calls it: its row number, or the code that was given.
        code: where it lies.
        row: its row in the file; None for a code from outside.
    """

    label: str
    code: Float[np.ndarray, "latent"]
    row: int | None = None


def parse(texts: Sequence[str], source: Source) -> list[Anchor]:
    """Return the anchors that texts name, in order.

    Args:
        texts: what stood between commas.
        source: the codes that row numbers are of.

    Raises:
        UserError: one is neither a row that takes part nor a code of this size.
    """
    size = source.values.shape[1]
    parts = [part for text in texts for part in _parted(text)]
    found: list[Anchor] = []
    rest, files = iter(parts), dict[str, str]()
    for part in rest:
        if part.startswith(_CODE):
            numbers = [part.removeprefix(_CODE), *(next(rest, "") for _ in range(size - 1))]
            found.append(_free(numbers, size, source.name))
        elif part.startswith(_CODES):
            file = part.removeprefix(_CODES)
            name = Path(file).name
            # Files in two folders may have one name, but anchors are told apart by it.
            name = name if files.setdefault(name, file) == file else str(Path(file).absolute())
            found += _from_file(file, size, source.name, label=name)
        elif re.fullmatch(_WHOLE, part):
            found.append(_of_row(int(part), source))
        else:
            _check_file(part)
            rows = array_file.numbers(part, meaning="row numbers")
            found += [_of_row(row, source) for row in rows.tolist()]
    return found


def check_visit(anchors: Sequence[Anchor], *, loop: bool, best: bool) -> None:
    """Refuse anchors that no way can be made of.

    Raises:
        UserError: there are fewer than two, or one is named where that means nothing.
    """
    labels = [anchor.label for anchor in anchors]
    if len(labels) < 2:
        raise _too_few(anchors)
    if best and len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise UserError(f"anchor {twice} is given twice", cure="with --order=best, give it once")
    for first, following in itertools.pairwise(labels):
        if first == following:
            raise UserError(f"anchor {first} is given twice in a row", cure="give it once")
    if loop and labels[0] == labels[-1]:
        raise UserError(
            f"anchor {labels[0]} is given first and last",
            cure="with --loop, give it once: the way comes back to it by itself",
        )


def _too_few(anchors: Sequence[Anchor]) -> UserError:
    if not anchors:
        return UserError("no anchors were given", cure="give at least two: --anchors=3,17")
    label, size = anchors[0].label, len(anchors[0].code)
    if not label.startswith(_CODE):
        return UserError("1 anchor was given", cure="give at least two: --anchors=3,17")
    return UserError(
        f"1 anchor was given: {label} is one code, as codes have {size} number{'s' * (size > 1)}",
        cure=f"give another behind it: --anchors={label},17",
    )


def _parted(text: str) -> Iterator[str]:
    """Yield numbers that stand with white space between; anything else as it is."""
    words = text.split()
    whole = words and all(re.fullmatch(_WHOLE, word) for word in words)
    yield from words if whole else [text.strip()]


def _of_row(row: int, source: Source) -> Anchor:
    number = len(source.values)
    if not 0 <= row < number:
        raise UserError(
            f"anchor {row} is out of range: {source.name} has {number} rows",
            cure=f"give rows from 0 to {number - 1}",
        )
    place = int(np.searchsorted(source.allowed, row))
    if place == len(source.allowed) or source.allowed[place] != row:
        raise UserError(
            f"anchor {row} is not among the {len(source.allowed)} rows of --index_file",
            cure="choose another, or add it there: anchors are rows of the whole file",
        )
    return Anchor(label=str(row), code=np.asarray(source.values[row], np.float64), row=row)


def _free(numbers: Sequence[str], size: int, name: str) -> Anchor:
    """Return the anchor of a code whose numbers were given."""
    label = _CODE + ",".join(number for number in numbers if number)
    try:
        code = np.asarray([float(number) for number in numbers])
    except ValueError as error:
        spelled = ",".join(["0.1"] * size) if size <= _SPELLED else "0.1,...,0.1"
        raise UserError(
            f"{label} is no code of {size} numbers, as those of {name} are",
            cure=f"behind {_CODE} give {size} numbers with commas between, and then the next "
            f"anchor: {_CODE}{spelled},17; or codes in a file, one a row: {_CODES}path.txt",
        ) from error
    return Anchor(label=label, code=euclid.check(code[None], origin=f"numbers of {label}")[0])


def _from_file(file: str, size: int, name: str, *, label: str) -> list[Anchor]:
    """Return the anchors of all codes in a file."""
    codes = array_file.read(file)
    if codes.ndim != 2 or codes.shape[1] != size:
        raise UserError(
            f"{file} holds an array of shape {codes.shape}, but codes of {name} have {size} "
            "numbers each",
            cure=f"give one row a code; a file of row numbers is given without {_CODES}",
        )
    checked = euclid.check(codes, origin=f"codes of {file}")
    return [Anchor(label=f"{label}:{place}", code=code) for place, code in enumerate(checked)]


def _check_file(part: str) -> None:
    """Refuse what was not meant as a file either."""
    if Path(part).suffix.lower() not in array_file.SUFFIXES and not re.search(r"[/\\:]", part):
        raise UserError(
            f"anchor {part!r} is neither a row number nor a file",
            cure="give rows (3,17), a file of rows (anchors.txt) or a code "
            f"({_CODE}0.1,-2 for two numbers)",
        )
