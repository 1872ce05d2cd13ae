"""A user's own images: a folder of pictures, one picture or film, or a file of arrays.

A set has one size, one range and the fewest channels that hold all of its pictures: grey stays one
channel, and opacity is kept where any picture lets something through. Sources of more than eight
bits are kept in their depth beside the eight bits that are shown (`ImageSet.deep`). What was taken
and what was not, `ImageSet.account` says; a picture that can't be read is an error.

Pictures and films of 2,000 files or 64 MiB of pixels, and arrays above a gibibyte, are converted
once, into the cache. A large `.npy` file of uint8 is mapped where it lies.
"""

import contextlib
import dataclasses
import json
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Shaped

from jaxsurf import workdir
from jaxsurf.errors import UserError, printable
from jaxsurf.images import arrays, fitting, formats, pictures, pixels, storage, tables
from jaxsurf.images.arrays import ARRAYS
from jaxsurf.images.fitting import Extent, Fit, Rows
from jaxsurf.images.formats import FILMS, PICTURES, Part
from jaxsurf.images.image_set import ImageSet, Reading, Request
from jaxsurf.images.pictures import NAMED, Origin, Taken

# Heads of columns that number the images of a table's rows, or name files by numbers.
_COUNTING = ("image", "number", "index", "row", "id", "file", "filename", "name", "picture")

_log = logging.getLogger(__name__)


def open_path(path: Path, request: Request | None = None) -> ImageSet:
    """Return the images of a folder of pictures, of a picture or film, or of a file of arrays.

    The request is for `side` (all images get the shape that most have), `cache_dir` and `reading`.
    """
    request, suffix = request or Request("file"), path.suffix.lower()
    if path.is_dir():
        opened = _open_folder(path, request)
    elif path.is_file() and suffix in ARRAYS:
        opened = _open_arrays(path, request)
    elif path.is_file() and suffix in (*PICTURES, *FILMS):
        part = Part(printable(path.name), path)
        place = printable(str(path.resolve()))
        origin = Origin(title=part.name, place=place, made_of=storage.identity(path))
        opened = pictures.collect([part], request, origin)
    else:
        raise UserError(
            f"{printable(str(path))} is neither a folder nor a file of images",
            cure="give a folder of pictures, or a file that is there: a picture, a film "
            f"({' '.join(FILMS)}) or arrays ({' '.join(ARRAYS)})",
        )
    if factors := request.reading.factors:
        opened = _with_table(opened, table_of(path, factors))
    _log.info("%s: %s", opened.name, opened.account)
    return opened


def table_of(path: Path, factors: str) -> Path:
    """Return the table of a set's factors: beside its images, or else where its path says."""
    beside = (path if path.is_dir() else path.parent) / factors
    return beside if beside.exists() else Path(factors)


# Folders


def _open_folder(folder: Path, request: Request) -> ImageSet:
    found, left_out = _pictures(folder)
    parts, stamps = [], []
    for name in found:
        file, shown = folder / name, printable(name)
        stamp = shown
        with contextlib.suppress(OSError):  # of a link that leads nowhere: reading it says so
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
                left_out.append((shown, "no file"))
                continue
            stamp += f" {status.st_size} {status.st_mtime_ns}"
        parts.append(Part(shown, file))
        stamps.append(stamp)
    if not parts:
        others = f", but {pictures.listed(left_out)}" if left_out else ""
        raise UserError(
            f"{printable(str(folder))} holds no picture{others}",
            cure=f"choose another folder; names of pictures end in {' '.join(PICTURES)}",
        )
    origin = Origin(
        title=f"folder {printable(folder.name)}",
        place=printable(str(folder.resolve())),
        made_of="\n".join(stamps),
        left_out=left_out,
    )
    opened = pictures.collect(parts, request, origin)
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
                relative = name if inside == "." else f"{inside}/{name}"
                suffix = Path(name).suffix.lower()
                if suffix in PICTURES and name[0] != ".":
                    found.append(relative)
                elif name[0] != ".":
                    reason = "open it by itself" if suffix in (*FILMS, *ARRAYS) else "no image"
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


def open_image(path: Path, *, like: ImageSet) -> Shaped[np.ndarray, "height width channel"]:
    """Return a picture, of several frames the first, in the form of a set.

    It is cut to the set's shape; grey is repeated, colours are weighed to grey, and opacity is
    added, or laid over white.
    """
    part = Part(printable(str(path)), path)
    with pictures.own_limit():
        header = formats.inspect(part, Reading().max_pixels)
        frame = next(formats.read(part, header))[None]
    extent = Extent.of([frame], alpha=header.alpha, origin=part.name)
    height, width, channels = like.images.shape[1:]
    dtype, values, alpha = like.source_dtype, like.source_range, like.look.alpha
    # Those of eight bits have their own black and white beside a set of more, which may take up few
    # of them; so have others than 0 and 1 beside a set of masks.
    eight = (dtype, header.dtype) == ("uint16", "uint8")
    if eight or (values == (0, 1) and extent.high > 1):
        dtype, values = header.dtype, (0, pixels.peak(frame.dtype))
    depth = str(like.model_input.dtype)
    fit = Fit((height, width), channels - alpha, alpha, dtype, values, depth)
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
    with storage.refusing(f"the jaxsurf_metadata in {name}", "is damaged", cure="remove it"):
        found = json.loads(metadata)
        low, high = map(float, found["source_range"])
        return dataclasses.replace(
            images,
            source_range=(low, high),
            source_dtype=str(np.dtype(found["source_dtype"])),
            files=tuple(map(str, found["files"])),
            labels={factor: tuple(names) for factor, names in found["labels"].items()},
            look=pixels.Look(tuple(found["look"]["channels"]), bool(found["look"]["alpha"])),
        )


def _open_arrays(path: Path, request: Request) -> ImageSet:
    """Return the images, and where it has them the factors, of a file of arrays."""
    name, reading = printable(path.name), request.reading
    stack = arrays.open_arrays(path, key=reading.key)
    num, height, width, channels = stack.shape
    metadata = str(stack.beside.get("jaxsurf_metadata", ""))
    # Four channels of eight bits are colours and opacity, unless it is said what to show.
    alpha = channels == 4 and stack.dtype == np.uint8 and not reading.show and not metadata
    if metadata:  # its images are fitted already
        reading = dataclasses.replace(reading, range="full")
    whole, factors = stack.whole, stack.beside.get("factors")
    large = whole is None or storage.is_mapped(whole)

    def find() -> Taken:
        white = 1 if stack.dtype == np.uint8 and not alpha else np.inf
        extent = Extent.of(stack.blocks(), alpha=alpha, origin=name, white=white)
        size, _ = fitting.choose_size([(height, width)], side=request.side, origin=name)
        colours, dtype = channels - alpha, str(stack.dtype)
        fit = Fit.choose(size, colours, dtype, extent, reading.range, alpha=alpha)
        notes = ("opaque, so without their fourth channel",) if alpha and extent.opaque else ()
        return Taken((num, *fit.size, fit.channels), fit, notes, heavy=large)

    def convert(taken: Taken) -> Iterator[Rows]:
        return (taken.fit(block, alpha=alpha) for block in stack.blocks())

    place = f"{printable(str(path.resolve()))} {alpha}"
    origin = Origin(title=name, place=place, made_of=storage.identity(path))
    plain = whole is not None and whole.flags.c_contiguous and not alpha
    opened = pictures.assemble(find, convert, request, origin, whole if plain else None)
    if factors is not None:
        if factors.ndim != 2 or factors.dtype.kind not in "iuf" or not np.isfinite(factors).all():
            raise UserError(
                f"the factors in {path}, {factors.dtype}{factors.shape}, are no finite numbers",
                cure="give numbers, one row an image and one column a factor",
            )
        numbered = [f"factor_{number}" for number in range(factors.shape[1])]
        names = tuple(map(str, np.atleast_1d(stack.beside.get("factor_names", numbered))))
        opened = dataclasses.replace(opened, factors=factors, factor_names=names)
    return _with_metadata(opened, metadata, name=name) if metadata else opened


# Factors


def _with_table(images: ImageSet, path: Path) -> ImageSet:
    """Return a set with the columns of a table as factors, words as numbers with labels."""
    table, file = tables.read_table(path, named_index=False), printable(path.name)
    index, columns, heads = table.index, table.columns, table.names or ("",) * len(table.columns)
    if index is None and len(columns) > 1:
        index = _index(images, columns[0], heads[0])
        if index is not None:
            columns, heads = columns[1:], heads[1:]
    rows = _rows_of(images, index, len(columns[0]), file)
    names = tuple(head or f"factor_{number}" for number, head in enumerate(heads))
    labels, factors = dict(images.labels), [*(() if images.factors is None else images.factors.T)]
    for name, column in zip(names, columns, strict=True):
        if isinstance(column, list) and all(column):
            words = sorted(set(column), key=_natural)
            labels[name] = tuple(words)
            column = np.array([words.index(word) for word in column], float)
        elif isinstance(column, list) or not np.isfinite(column).all():
            missing = "word" if isinstance(column, list) else "finite number"
            raise UserError(
                f"column {name} of {file} has rows without a {missing}",
                cure="fill them in, or leave the column out",
            )
        factors.append(column[rows])
    if twice := set(names) & set(images.factor_names):
        raise UserError(f"{images.name} has a factor {min(twice)} already", cure="rename a column")
    return dataclasses.replace(
        images,
        factors=np.stack(factors, axis=-1),
        factor_names=(*images.factor_names, *names),
        labels=labels,
        account=f"{images.account}; factors {', '.join(names)} of {file}",
    )


def _index(images: ImageSet, first: tables.Column, head: str) -> list[str] | None:
    """Return a table's first column as texts where it names files or counts images."""
    if isinstance(first, list):
        stems = {PurePosixPath(name).stem for name in images.files}
        return first if any(_as_path(text).stem in stems for text in first) else None
    counts = head.strip().lower() in _COUNTING and (first == np.rint(first)).all()
    return [f"{number:.0f}" for number in first] if counts else None


def _as_path(text: str) -> PurePosixPath:
    return PurePosixPath(text.strip().replace("\\", "/"))


def _rows_of(
    images: ImageSet, index: Sequence[str] | None, num_rows: int, table: str
) -> Sequence[int]:
    """Return the row of each image."""
    total = len(images)
    if index is None:
        if num_rows != total:
            raise UserError(
                f"{table} has {num_rows} rows, but there are {total} images",
                cure="give one row an image, or names of files in the first column",
            )
        return range(total)
    files, given = [*map(PurePosixPath, images.files)], [*map(_as_path, index)]
    # By the name with some of its folders, since a table may be written from a folder further out
    # or in, with or without suffix; or as a number, which has lost the zeros before it. Each where
    # only one image has it.
    ways: list[Callable[[PurePosixPath], str]] = []
    for depth in range(max((len(file.parts) for file in files), default=0), 0, -1):
        ways.append(lambda path, depth=depth: "/".join(path.parts[-depth:]))
        ways.append(lambda path, depth=depth: "/".join((path.parent / path.stem).parts[-depth:]))
    ways.append(lambda path: path.stem.lstrip("0") or "0")
    candidates = [([*map(str, range(total))], [*map(str, given)])]
    candidates += [([*map(way, files)], [*map(way, given)]) for way in ways]
    labels, keys = max(
        (both for both in candidates if len(set(both[0])) == total),
        key=lambda both: len({*both[0]} & {*both[1]}),
    )
    row_of, names = {key: row for row, key in enumerate(keys)}, set(labels)
    problems = {
        "no row": [label for label in labels if label not in row_of],
        "no image": [key for key in keys if key not in names],
        "several rows": [key for key, count in Counter(keys).items() if count > 1],
    }
    found = [
        f"{what} for {len(some)} ({', '.join(some[:3])}{' ...' if len(some) > 3 else ''})"
        for what, some in problems.items()
        if some
    ]
    if found:
        raise UserError(
            f"{table} has {num_rows} rows and {images.name} {total} images: {', '.join(found)}",
            cure="give one row an image, named as its file or by its number from 0",
        )
    return [row_of[label] for label in labels]
