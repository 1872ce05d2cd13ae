"""A user's own images: a folder of pictures, one picture or film, or a file of arrays.

A set has one size, one range and the fewest channels that hold all of its pictures: grey stays one
channel, and opacity is kept where any picture lets something through. Sources of more than eight
bits are kept in their depth beside the eight bits that are shown (`ImageSet.deep`).

Nothing is left out without a word: `ImageSet.account` says what was taken and what was not, and a
picture that can't be read is an error.

Pictures and films of 2,000 files or 64 MiB of pixels, and arrays above a gibibyte, are converted
once, into the cache. A large `.npy` file of uint8 is mapped where it lies.
"""

import dataclasses
import json
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from jaxsurf import workdir
from jaxsurf.errors import UserError, printable
from jaxsurf.images import arrays, fitting, formats, pictures, pixels, storage, tables
from jaxsurf.images.arrays import ARRAYS
from jaxsurf.images.fitting import Extent, Fit, Rows
from jaxsurf.images.formats import FILMS, PICTURES
from jaxsurf.images.image_set import ImageSet, Reading, Request
from jaxsurf.images.pictures import NAMED, Part, Taken

# Heads of columns that number the images of a table's rows, or name files by numbers.
_COUNTING = ("image", "number", "index", "row", "id", "file", "filename", "name", "picture")

_log = logging.getLogger(__name__)


def open_path(
    path: Path,
    *,
    side: int | None = None,
    cache_dir: str | Path | None = None,
    asked: Reading | None = None,
) -> ImageSet:
    """Return the images of a folder of pictures, of a picture or film, or of a file of arrays.

    Args:
        path: the folder or file.
        side: the longer side that images are scaled to, all to the shape that most have.
        cache_dir: where images are kept that took long to read; None means the user's cache.
        asked: how it is read.
    """
    asked, suffix = asked or Reading(), path.suffix.lower()
    request = Request("file", path, side=side, cache_dir=cache_dir, reading=asked)
    if path.is_dir():
        opened = _open_folder(path, request)
    elif path.is_file() and suffix in ARRAYS:
        opened = _open_arrays(path, request)
    elif path.is_file() and suffix in (*PICTURES, *FILMS):
        part = Part(printable(path.name), path)
        made_of = printable(storage.identity(path))
        where = printable(str(path.resolve()))
        opened = pictures.collect([part], request, title=part.name, place=where, made_of=made_of)
    else:
        raise UserError(
            f"{printable(str(path))} is neither a folder nor a file of images",
            cure="give a folder of pictures, or a file that is there: a picture, a film "
            f"({' '.join(FILMS)}) or arrays ({' '.join(ARRAYS)})",
        )
    if asked.factors:
        opened = _with_table(opened, table_of(path, asked.factors))
    _log.info("%s: %s", opened.name, opened.account)
    return opened


def table_of(path: Path, factors: str) -> Path:
    """Return the table of a set's factors: beside its images, or else where its path says."""
    beside = (path if path.is_dir() else path.parent) / factors
    return beside if beside.exists() else Path(factors)


# Folders


def _open_folder(folder: Path, request: Request) -> ImageSet:
    found, left_out = _pictures(folder)
    title = f"folder {printable(folder.name)}"
    parts, stamps, dangling = [], [], []
    for name in found:
        file, shown = folder / name, printable(name)
        try:
            status = file.stat()
        except OSError as error:
            reason = "a link that leads nowhere" if file.is_symlink() else error.strerror
            dangling.append((shown, str(reason)))
            continue
        if not stat.S_ISREG(status.st_mode):
            left_out.append((shown, "no file"))
            continue
        parts.append(Part(shown, file))
        stamps.append(f"{shown} {status.st_size} {status.st_mtime_ns}")
    if dangling and not request.reading.skip_unreadable:
        raise UserError(
            f"{len(dangling)} of {len(found)} pictures in {printable(str(folder))} can't be read: "
            "{} is {}".format(*dangling[0]),
            cure="fetch or remove them, or set data.skip_unreadable to do without",
        )
    left_out = dangling + left_out
    if not parts:
        others = f", but {pictures.listed(left_out)}" if left_out else ""
        raise UserError(
            f"{printable(str(folder))} holds no picture{others}",
            cure=f"choose another folder; names of pictures end in {' '.join(PICTURES)}",
        )
    where, made_of = printable(str(folder.resolve())), "\n".join(stamps)
    opened = pictures.collect(
        parts, request, title=title, place=where, made_of=made_of, left_out=left_out
    )
    classes = [str(Path(name).parent) for name in opened.files]
    if len(names := sorted(set(classes), key=_natural)) < 2:
        return opened
    numbers = {name: number for number, name in enumerate(names)}
    return dataclasses.replace(
        opened,
        factors=np.array([[numbers[name]] for name in classes]),
        factor_names=("class",),
        labels={"class": tuple(names)},
        account=f"{opened.account}; {len(names)} classes: {', '.join(names[:NAMED])}"
        + (" ..." if len(names) > NAMED else ""),
    )


def _pictures(folder: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the relative names of pictures in natural order, and what else is there and why."""
    found: list[str] = []
    left_out: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise error

    with workdir.failures_reported(f"read {printable(str(folder))}", cure="make it readable"):
        for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            status = os.stat(place)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:  # a link back to where it lies
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            # Some systems leave hidden companions of the same suffix.
            folders[:] = sorted(name for name in folders if name[0] != ".")
            inside = Path(place).relative_to(folder).as_posix()
            for name in names:
                relative, suffix = name if inside == "." else f"{inside}/{name}", Path(name).suffix
                if name[0] == ".":
                    continue
                if suffix.lower() in PICTURES:
                    found.append(relative)
                else:
                    film = suffix.lower() in (*FILMS, *ARRAYS)
                    reason = "open it by itself" if film else "no image"
                    left_out.append((printable(relative), reason))
    # A preview beside folders of pictures is none of them; nor are a few in folders beside many.
    inner = [name for name in found if "/" in name]
    outer = [name for name in found if "/" not in name]
    kept, other = (inner, outer) if len(inner) >= len(outer) else (outer, inner)
    where = "beside the folders of pictures" if kept is inner else "in a folder beside the pictures"
    left_out += [(printable(name), where) for name in sorted(other, key=_natural)]
    return sorted(kept, key=_natural), left_out


def _natural(name: str) -> list[list[tuple[int, int | str]]]:
    """Return what sorts names as people count: 2.png before 10.png."""
    keys = []
    for part in name.split("/"):
        pieces = re.split(r"([0-9]+)", part.lower())
        # The name itself decides between names that differ in case or leading zeros only.
        keys.append([(0, int(p)) if p.isdecimal() else (1, p) for p in pieces] + [(2, part)])
    return keys


def open_image(
    path: str | Path, *, like: ImageSet | None = None, side: int | None = None
) -> Shaped[np.ndarray, "height width channel"]:
    """Return one picture, as deep as it is, or as its set.

    Args:
        path: the picture's file; of several frames the first is taken.
        like: the set whose channels, range and size it is brought to: cut to their shape, and grey
            repeated, colours weighed to grey, opacity added or laid over white as they need it.
        side: the longer side that it is scaled to, without a set.
    """
    path = Path(path)
    part, reading = Part(printable(str(path)), path), Reading()
    with pictures.own_limit():
        header = pictures.inspect(part, reading)
        frame = next(formats.read(path, header, origin=part.name))[None]
    extent = Extent.of(frame, alpha=header.alpha, origin=part.name)
    if like is None:
        size, _ = fitting.choose_size([(header.height, header.width)], side=side, origin="")
        colours = header.channels - header.alpha
        fit = pictures.choose_fit(size, colours, header.dtype, extent, reading, alpha=header.alpha)
    else:
        height, width, channels = like.images.shape[1:]
        fit = Fit(
            size=(height, width),
            colours=channels - like.look.alpha,
            alpha=like.look.alpha,
            dtype=like.source_dtype,
            values=like.source_range,
            depth=str(like.model_input.dtype),
        )
        masks = (
            like.source_range == (0, 1)
            and np.dtype(like.source_dtype).kind in "iu"
            and extent.high > 1
        )
        fewer = (
            frame.dtype == np.uint8
            and like.source_dtype == "uint16"
            and like.source_range[1] < 65535
        )
        if masks or fewer:
            # Masks are 0 and 1 in their set, and black and white in a picture; so is what black and
            # white are of a set of 12 bits or the like in a picture of 8.
            white = pixels.peak(frame.dtype)
            fit = dataclasses.replace(fit, dtype=header.dtype, values=(0, white))
    return fit(frame, alpha=header.alpha)[0]


# Arrays


def to_arrays(images: ImageSet) -> dict[str, np.ndarray]:
    """Return what an `.npz` file needs to hold, for its images to be opened as they are."""
    arrays = {"images": images.model_input}
    if images.factors is not None:
        arrays |= {"factors": images.factors, "factor_names": np.array(images.factor_names)}
    metadata = {
        **{name: getattr(images, name) for name in ("source_range", "source_dtype", "files")},
        "labels": {name: list(labels) for name, labels in images.labels.items()},
        "look": dataclasses.asdict(images.look),
    }
    return arrays | {"jaxsurf_metadata": np.array(json.dumps(metadata))}


def _with_metadata(images: ImageSet, metadata: str, *, name: str) -> ImageSet:
    try:
        found = json.loads(metadata)
        look = pixels.Look(tuple(found["look"]["channels"]), bool(found["look"]["alpha"]))
        low, high = found["source_range"]
        return dataclasses.replace(
            images,
            source_range=(float(low), float(high)),
            source_dtype=str(np.dtype(found["source_dtype"])),
            files=tuple(map(str, found["files"])),
            labels={str(factor): tuple(names) for factor, names in found["labels"].items()},
            look=look,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"the jaxsurf_metadata in {name} is damaged ({error})", cure="remove it"
        ) from error


def _open_arrays(path: Path, request: Request) -> ImageSet:
    """Return the images, and where it has them the factors, of a file of arrays."""
    name, reading = printable(path.name), request.reading
    stack = arrays.open_arrays(path, key=reading.key)
    num, height, width, channels = stack.shape
    # Four channels of eight bits are colours and opacity, unless it is said what to show.
    alpha = channels == 4 and stack.dtype == np.uint8 and not reading.show and not stack.metadata
    if stack.metadata:
        reading = dataclasses.replace(reading, range="full")
    large = stack.whole is None or storage.is_mapped(stack.whole)

    def find() -> Taken:
        extent = Extent()
        for block in stack.blocks():
            extent = extent.joined(Extent.of(block, alpha=alpha, origin=name))
            if stack.dtype == np.uint8 and not alpha and extent.high > 1:
                break
        size, _ = fitting.choose_size([(height, width)], side=request.side, origin=name)
        fit = pictures.choose_fit(
            size, channels - alpha, str(stack.dtype), extent, reading, alpha=alpha
        )
        notes = ("opaque, so without their fourth channel",) if alpha and extent.opaque else ()
        return Taken((num, *fit.size, fit.channels), fit, notes, heavy=large)

    def convert(taken: Taken) -> Iterator[Rows]:
        return (taken.fit(block, alpha=alpha) for block in stack.blocks())

    whole = stack.whole
    if whole is not None and not whole.flags.c_contiguous:
        whole = None if large else np.ascontiguousarray(whole)
    opened = pictures.assemble(
        find,
        convert,
        request,
        title=name,
        place=f"{printable(str(path.resolve()))} {alpha}",
        made_of=printable(storage.identity(path)),
        whole=None if alpha else whole,
    )
    if stack.factors is not None:
        opened = dataclasses.replace(opened, factors=stack.factors, factor_names=stack.names)
    return _with_metadata(opened, stack.metadata, name=name) if stack.metadata else opened


# Factors


def _with_table(images: ImageSet, path: Path) -> ImageSet:
    """Return a set with the columns of a table as factors, words as numbers with labels."""
    table = _indexed(images, tables.read_table(path, named_index=False))
    rows = _rows_of(images, table, printable(path.name))
    names = tuple(
        name or f"factor_{i}" for i, name in enumerate(table.names or [""] * len(table.columns))
    )
    labels, columns = dict(images.labels), []
    for name, column in zip(names, table.columns, strict=True):
        if isinstance(column, list) and all(column):
            words = sorted(set(column), key=_natural)
            labels[name] = tuple(words)
            column = np.array([words.index(word) for word in column], float)
        elif isinstance(column, list) or not np.isfinite(column).all():
            missing = "word" if isinstance(column, list) else "finite number"
            raise UserError(
                f"column {name} of {printable(path.name)} has rows without a {missing}",
                cure="fill them in, or leave the column out",
            )
        columns.append(column[rows])
    known = () if images.factors is None else tuple(images.factors.T)
    if twice := set(names) & set(images.factor_names):
        raise UserError(f"{images.name} has a factor {min(twice)} already", cure="rename a column")
    return dataclasses.replace(
        images,
        factors=np.stack([*known, *columns], axis=-1),
        factor_names=(*images.factor_names, *names),
        labels=labels,
        account=f"{images.account}; factors {', '.join(names)} of {printable(path.name)}",
    )


def _indexed(images: ImageSet, table: tables.Table) -> tables.Table:
    """Return a table whose first column is its index where it names files or counts images."""
    first, head = table.columns[0], (table.names or ("",))[0].strip().lower()
    if table.index is not None or len(table.columns) < 2:
        return table
    if isinstance(first, list):
        stems = {name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in images.files}
        named = [text.strip().replace("\\", "/").rsplit("/", 1)[-1] for text in first]
        index = first if any(name.rsplit(".", 1)[0] in stems for name in named) else None
    else:
        counts = head in _COUNTING and (first == np.rint(first)).all()
        index = [f"{number:.0f}" for number in first] if counts else None
    if index is None:
        return table
    return dataclasses.replace(table, index=index, columns=table.columns[1:], names=table.names[1:])


def _inside(path: str, names: Set[str]) -> str:
    """Return a path as a set names it, which may have been written from a folder further out."""
    parts = path.split("/")
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((tail for tail in tails if tail in names), path)


def _rows_of(images: ImageSet, table: tables.Table, name: str) -> Sequence[int]:
    """Return the row of each image."""
    num_rows, total = len(table.columns[0]), len(images)
    index = table.index
    if index is None:
        if num_rows != total:
            raise UserError(
                f"{name} has {num_rows} rows, but there are {total} images",
                cure="give one row an image, or names of files in the first column",
            )
        return range(total)
    # By the whole name, without folder, without suffix, without both, as a number; each where only
    # one has it.
    ways: list[Callable[[str], str]] = [
        lambda text: text,
        lambda text: text.rsplit("/", 1)[-1],
        lambda text: text.rsplit(".", 1)[0],
        lambda text: text.rsplit("/", 1)[-1].rsplit(".", 1)[0],
        # Numbers have lost the zeros before them.
        lambda text: text.rsplit("/", 1)[-1].rsplit(".", 1)[0].lstrip("0") or "0",
    ]
    given = [_inside(text.strip().replace("\\", "/"), set(images.files)) for text in index]
    numbers = [str(number) for number in range(total)]
    candidates = [([way(f) for f in images.files], [*map(way, given)]) for way in ways]
    best, keys = max(
        (both for both in [(numbers, given), *candidates] if len(set(both[0])) == total),
        key=lambda both: len({*both[0]} & {*both[1]}),
    )
    row_of = {key: row for row, key in enumerate(keys)}
    without_row = [label for label in best if label not in row_of]
    known = set(best)
    without_image = [key for key in keys if key not in known]
    if without_row or without_image or len(row_of) < num_rows:
        twice = [key for key, count in Counter(keys).items() if count > 1]
        problems = [
            f"{what} for {len(some)} ({', '.join(some[:3])}{' ...' if len(some) > 3 else ''})"
            for what, some in (
                ("no row", without_row),
                ("no image", without_image),
                ("several rows", twice),
            )
            if some
        ]
        raise UserError(
            f"{name} has {num_rows} rows and {images.name} {total} images: {', '.join(problems)}",
            cure="give one row an image, named as its file or by its number from 0",
        )
    return [row_of[label] for label in best]
