"""A user's own images: a folder of pictures, one picture or film, or a file of arrays.

A set has one size, one range and the fewest channels that hold all of its pictures: grey stays one
channel, and opacity is kept where any picture lets something through. Sources of more than eight
bits are kept in their depth beside the eight bits that are shown (`ImageSet.deep`).

Nothing is left out without a word: `ImageSet.account` says what was taken and what was not, and a
picture that can't be read is an error.

Folders of many pictures, and what is larger than a gibibyte, are converted once, into the cache. A
large `.npy` file of uint8 is mapped where it lies.
"""

import contextlib
import dataclasses
import itertools
import json
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import dacite
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import arrays, fitting, formats, pixels, storage, tables
from jaxsurf.images.arrays import ARRAYS
from jaxsurf.images.fitting import Extent, Fit, Rows
from jaxsurf.images.formats import FILMS, PICTURES, Encoded, Header
from jaxsurf.images.image_set import ImageSet, Reading

# So many pictures, or bytes of images, take long enough to unpack that they are kept in the cache.
_MANY, _MUCH = 2_000, 64 * storage.MIB
# Pictures handed to threads at once, and frames of a film in memory.
_WINDOW, _FRAMES = 512, 32
# Names in an account.
_NAMED = 5

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Asked:
    """What is asked of own files, whose parts `sources.open_images` describes."""

    side: int | None = None
    cache_dir: str | Path | None = None
    reading: Reading = dataclasses.field(default_factory=Reading)

    def cache(self, *what: str) -> tuple[Path, str]:
        """Return the cache's folder, and the name there of what is made of something."""
        folder = storage.cache_folder() if self.cache_dir is None else Path(self.cache_dir)
        # What is shown, and factors, are no part of the images.
        reading = dataclasses.replace(self.reading, show=(), factors="")
        return folder, f"own-{workdir.fingerprint(*what, f'side {self.side}', repr(reading))}"


@dataclass(frozen=True)
class Part:
    """A file of a source: its name for people, and where it lies or what it holds."""

    name: str
    file: Encoded


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
    request, suffix = Asked(side, cache_dir, asked or Reading()), path.suffix.lower()
    if path.is_dir():
        opened = _open_folder(path, request)
    elif path.is_file() and suffix in ARRAYS:
        opened = _open_arrays(path, request)
    elif path.is_file() and suffix in (*PICTURES, *FILMS):
        part = Part(printable(path.name), path)
        made_of = printable(storage.identity(path))
        opened = collect([part], request, title=part.name, made_of=made_of)
    else:
        raise UserError(
            f"{printable(str(path))} is neither a folder nor a file of images",
            cure="give a folder of pictures, or a file that is there: a picture, a film "
            f"({' '.join(FILMS)}) or arrays ({' '.join(ARRAYS)})",
        )
    if request.reading.factors:
        opened = _with_table(opened, Path(request.reading.factors))
    _log.info("%s: %s", opened.name, opened.account)
    return opened


def printable(name: str) -> str:
    r"""Return a name of the file system as it can be printed and kept as text: `caf\xe9.png`."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# Folders


def _open_folder(folder: Path, asked: Asked) -> ImageSet:
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
    if dangling and not asked.reading.skip_unreadable:
        raise UserError(
            f"{len(dangling)} of {len(found)} pictures in {printable(str(folder))} can't be read: "
            "{} is {}".format(*dangling[0]),
            cure="fetch or remove them, or set data.skip_unreadable to do without",
        )
    left_out = dangling + left_out
    if not parts:
        others = f", but {_listed(left_out)}" if left_out else ""
        raise UserError(
            f"{printable(str(folder))} holds no picture{others}",
            cure=f"choose another folder; names of pictures end in {' '.join(PICTURES)}",
        )
    opened = collect(parts, asked, title=title, made_of="\n".join(stamps), left_out=left_out)
    classes = [str(Path(name).parent) for name in opened.files]
    if len(names := sorted(set(classes), key=_natural)) < 2:
        return opened
    numbers = {name: number for number, name in enumerate(names)}
    return dataclasses.replace(
        opened,
        factors=np.array([[numbers[name]] for name in classes]),
        factor_names=("class",),
        labels={"class": tuple(names)},
        account=f"{opened.account}; {len(names)} classes: {', '.join(names[:_NAMED])}"
        + (" ..." if len(names) > _NAMED else ""),
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


def _listed(left_out: Sequence[tuple[str, str]]) -> str:
    named = ", ".join(f"{name} ({reason})" for name, reason in left_out[:_NAMED])
    more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
    return f"{len(left_out)} file{'s' * (len(left_out) > 1)} left out: {named}{more}"


# Pictures


@dataclass(frozen=True)
class _Facts:
    """What is known of a source's images once all were looked at; kept beside them in the cache."""

    shape: tuple[int, ...]
    fit: Fit
    names: tuple[str, ...]
    kept: tuple[int, ...]
    account: str

    @classmethod
    def load(cls, file: Path) -> "_Facts | None":
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            return dacite.from_dict(cls, facts, dacite.Config(cast=[tuple], check_types=False))
        except (OSError, ValueError, TypeError, dacite.DaciteError):
            return None

    def save(self, file: Path) -> None:
        with contextlib.suppress(UserError, OSError):  # they are found again the next time
            for old in file.parent.glob(f"{file.name.split('.')[0]}.*.json"):
                old.unlink(missing_ok=True)
            workdir.write_text(file, json.dumps(dataclasses.asdict(self)))


def collect(
    parts: Sequence[Part],
    asked: Asked,
    *,
    title: str,
    made_of: str = "",
    left_out: Sequence[tuple[str, str]] = (),
) -> ImageSet:
    """Return the frames of pictures and films, in order, as one set.

    Args:
        parts: the files.
        asked: how they are read.
        title: what the set is called.
        made_of: what the files are, for the cache; empty where nothing is to be kept.
        left_out: names and reasons, for the account.
    """
    # Pillow unpacks and scales outside of Python's lock.
    with _own_limit(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        folder, name = asked.cache(title, *(printable(str(part.file)) for part in parts[:1]))
        file = folder / f"{name}.{workdir.fingerprint(made_of)}"
        facts = _Facts.load(file.with_name(f"{file.name}.json")) if made_of else None
        headers: dict[int, Header] = {}
        if facts is None or not file.with_name(f"{file.name}.npy").exists():
            facts, headers = _survey(pool, parts, asked, title, left_out)
        fit, kept = facts.fit, facts.kept

        def convert(number: int) -> Rows:
            return np.concatenate(list(stream(number)))

        def stream(number: int) -> Iterator[Rows]:
            part = parts[number]
            header = headers.get(number) or _inspect(part, asked.reading)
            frames = formats.read(part.file, header, origin=part.name)
            while some := list(itertools.islice(frames, _FRAMES)):
                yield fit(np.stack(some), alpha=header.alpha)

        def blocks() -> Iterator[Rows]:
            return stream(kept[0]) if len(kept) == 1 else _mapped(pool, convert, kept)

        size = np.prod(facts.shape, dtype=int) * np.dtype(fit.depth).itemsize
        if made_of and (facts.shape[0] >= _MANY or size >= _MUCH):
            images, deep = _kept(blocks, facts.shape, fit.depth, name, made_of, folder)
            facts.save(file.with_name(f"{file.name}.json"))
        else:
            bar = tqdm(total=facts.shape[0], unit=" images", desc=f"reading {title}", delay=1)
            images, deep = _in_memory(blocks(), bar)
        return _image_set(
            images, deep, fit, asked, name=title, files=facts.names, account=facts.account
        )


def _survey(
    pool: ThreadPoolExecutor,
    parts: Sequence[Part],
    asked: Asked,
    title: str,
    left_out: Sequence[tuple[str, str]],
) -> tuple[_Facts, dict[int, Header]]:
    """Look at all pictures: at their headers, and at their pixels where these decide something."""
    reading, unread = asked.reading, []

    def look(number: int) -> Header | UserError:
        try:
            return _inspect(parts[number], reading)
        except UserError as error:
            return error

    bar = tqdm(_mapped(pool, look, range(len(parts))), f"looking at {title}", len(parts), delay=1)
    headers = {n: one for n, one in enumerate(_checked(bar, reading, parts, unread)) if one}
    alpha = any(header.alpha for header in headers.values())
    dtypes = {header.dtype for header in headers.values()}
    dtype = "uint16" if dtypes == {"uint8", "uint16"} else min(dtypes, default="")

    def measure(number: int) -> Extent | UserError:
        extent, header, part = Extent(), headers[number], parts[number]
        try:
            for frame in formats.read(part.file, header, origin=part.name):
                extent = extent.joined(Extent.of(frame, alpha=header.alpha, origin=part.name))
        except UserError as error:
            return error
        wide = fitting.WIDER if (header.dtype, dtype) == ("uint8", "uint16") else 1
        return Extent(extent.low * wide, extent.high * wide, extent.opaque)

    extent = Extent()
    every = alpha or dtype != "uint8" or reading.skip_unreadable
    measured = _mapped(pool, measure, list(headers)) if every else map(measure, headers)
    bar = tqdm(measured, f"measuring {title}", len(headers), delay=1, disable=not every)
    numbers = list(headers)
    for number, one in zip(
        numbers, _checked(bar, reading, [parts[n] for n in numbers], unread), strict=False
    ):
        if one is None:
            del headers[number]
            continue
        extent = extent.joined(one)
        if not every and extent.high > 1:  # no masks, and no other range comes in question
            break
    if not headers:
        raise UserError(f"{title} holds no picture that can be read: {_listed(unread)}")
    fit, notes = _choose_fit(
        {parts[n].name: header for n, header in headers.items()}, dtype, extent, asked, title
    )
    names = [
        parts[n].name if header.frames == 1 else f"{parts[n].name}#{frame}"
        for n, header in headers.items()
        for frame in range(header.frames)
    ]
    shape = (len(names), *fit.size, fit.channels)
    left = [*unread, *left_out]
    account = _account(shape, fit, [*notes, *([_listed(left)] if left else [])])
    return _Facts(shape, fit, tuple(names), tuple(headers), account), headers


def _inspect(part: Part, reading: Reading) -> Header:
    return formats.inspect(part.file, origin=part.name, max_pixels=reading.max_pixels)


def _checked(
    found: Iterable[_Result | UserError],
    reading: Reading,
    parts: Sequence[Part],
    unread: list[tuple[str, str]],
) -> Iterator[_Result | None]:
    """Yield what was found of each part, None for one that can't be read and may be left out."""
    for part, one in zip(parts, found, strict=True):
        if not isinstance(one, UserError):
            yield one
        elif reading.skip_unreadable:
            unread.append((part.name, "unreadable"))
            yield None
        else:
            raise one


def _choose_fit(
    headers: Mapping[str, Header], dtype: str, extent: Extent, asked: Asked, title: str
) -> tuple[Fit, list[str]]:
    """Return what brings all pictures to one form, and notes on it."""
    colours: dict[int, str] = {}
    dtypes: dict[str, str] = {}
    for name, header in headers.items():
        colours.setdefault(header.channels - header.alpha, name)
        dtypes.setdefault(header.dtype, name)
    for kinds, known, what in (
        (colours, {1, 3}, "channels"),
        (dtypes, {"uint8", "uint16"}, "values"),
    ):
        if len(kinds) > 1 and not set(kinds) <= known:
            (one, first), (other, second) = list(kinds.items())[:2]
            raise UserError(
                f"{first} has {one} {what}, but {second} has {other}",
                cure="keep them in folders of their own",
            )
    sizes = [(h.height, h.width) for h in headers.values() for _ in range(h.frames)]
    size, num_cut = fitting.choose_size(sizes, side=asked.side, origin=title)
    fit = _fit_of(
        size, max(colours), any(h.alpha for h in headers.values()), dtype, extent, asked.reading
    )
    return fit, [f"{num_cut} of them cut to this shape"] if num_cut else []


def _fit_of(
    size: fitting.Size, colours: int, alpha: bool, dtype: str, extent: Extent, reading: Reading
) -> Fit:
    kind = np.dtype(dtype)
    values = fitting.black_and_white(reading.range, kind, extent.low, extent.high)
    return Fit(
        size=size,
        colours=colours,
        alpha=alpha and not extent.opaque,
        dtype=dtype,
        values=values,
        depth=fitting.choose_depth(kind, values),
    )


def _account(shape: Sequence[int], fit: Fit, notes: Sequence[str]) -> str:
    kind = {1: "grey", 3: "RGB"}.get(fit.colours, f"{fit.colours} channels")
    opacity = {"RGB": "A"}.get(kind, " and opacity") if fit.alpha else ""
    text = (
        f"{shape[0]} image{'s' * (shape[0] > 1)}, {shape[2]} x {shape[1]} pixels, {kind}{opacity}"
    )
    low, high = fit.values
    if (low, high) != (0, pixels.peak(np.dtype(fit.dtype))):
        shown = f"values {low:g} to {high:g} of {fit.dtype} shown as black to white"
        return "; ".join([text, shown, *notes])
    return "; ".join([text, *notes])


def _mapped(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Sequence[_Item]
) -> Iterator[_Result]:
    """Yield a function's results in order; threads compute a few of them ahead."""
    for start in range(0, len(items), _WINDOW):
        yield from pool.map(function, items[start : start + _WINDOW])


def _kept(
    blocks: Callable[[], Iterator[Rows]],
    shape: tuple[int, ...],
    depth: str,
    name: str,
    made_of: str,
    folder: Path,
) -> tuple[pixels.Images, Rows | None]:
    """Return images with eight bits, and as deep as they are, from the cache or into it."""
    first = storage.cached(
        blocks, shape=shape, name=name, made_of=made_of, folder=folder, dtype=depth
    )
    if depth == "uint8":
        return first, None
    images = storage.cached(
        lambda: map(fitting.to_uint8, storage.chunks(first)),
        shape=shape,
        name=f"{name}-uint8",
        made_of=made_of,
        folder=folder,
    )
    return images, first


def _in_memory(
    blocks: Iterable[Rows], bar: tqdm | None = None
) -> tuple[pixels.Images, Rows | None]:
    made = []
    with bar or contextlib.nullcontext():
        for block in blocks:
            made.append(block)
            if bar is not None:
                bar.update(len(block))
    rows = np.concatenate(made) if len(made) > 1 else made[0]
    return (rows, None) if rows.dtype == np.uint8 else (fitting.to_uint8(rows), rows)


def _image_set(
    images: pixels.Images,
    deep: Rows | None,
    fit: Fit,
    asked: Asked,
    *,
    name: str,
    files: tuple[str, ...] = (),
    account: str,
) -> ImageSet:
    show = asked.reading.show
    return ImageSet(
        images,
        name,
        deep=deep,
        values=fit.values,
        dtype=fit.dtype,
        look=pixels.Look(tuple(show), fit.alpha)
        if show
        else pixels.Look.usual(fit.channels, alpha=fit.alpha),
        files=files,
        account=account,
    )


@contextlib.contextmanager
def _own_limit() -> Iterator[None]:
    """Leave it to us how large pictures may be: what Pillow says of it is no help."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def open_image(
    path: str | Path, *, like: ImageSet | None = None, side: int | None = None
) -> tuple[UInt8[np.ndarray, "height width channel"], np.ndarray | None]:
    """Return one picture with eight bits; and with more, where it or its set has them.

    Args:
        path: the picture's file; of several frames the first is taken.
        like: the set whose channels, range and size it is brought to: cut to their shape, and grey
            repeated, colours weighed to grey, opacity added or laid over white as they need it.
        side: the longer side that it is scaled to, without a set.
    """
    path = Path(path)
    part, reading = Part(printable(str(path)), path), Reading()
    with _own_limit():
        header = _inspect(part, reading)
        frame = next(formats.read(path, header, origin=part.name))[None]
    extent = Extent.of(frame, alpha=header.alpha, origin=part.name)
    if like is None:
        size, _ = fitting.choose_size([(header.height, header.width)], side=side, origin=part.name)
        colours = header.channels - header.alpha
        fit = _fit_of(size, colours, header.alpha, header.dtype, extent, reading)
    else:
        height, width, channels = like.images.shape[1:]
        fit = Fit(
            size=(height, width),
            colours=channels - like.look.alpha,
            alpha=like.look.alpha,
            dtype=like.dtype,
            values=like.values,
            depth=str(like.given.dtype),
        )
        if like.values == (0, 1) and np.dtype(like.dtype).kind in "iu" and extent.high > 1:
            # Masks are 0 and 1 in their set, and black and white in a picture.
            white = pixels.peak(frame.dtype)
            fit = dataclasses.replace(fit, dtype=header.dtype, values=(0, white))
    images, deep = _in_memory([fit(frame, alpha=header.alpha)])
    return images[0], None if deep is None else deep[0]


# Arrays


def _open_arrays(path: Path, asked: Asked) -> ImageSet:
    """Return the images, and where it has them the factors, of a file of arrays."""
    name, reading = printable(path.name), asked.reading
    stack = arrays.open_arrays(path, key=reading.key)
    # Four channels of eight bits are colours and opacity, unless it is said what to show.
    num, height, width, channels = stack.shape
    alpha = channels == 4 and stack.dtype == np.uint8 and not reading.show
    large = stack.whole is None or storage.is_mapped(stack.whole)
    folder, cached = asked.cache(printable(str(path.resolve())), str(alpha))
    made_of = printable(storage.identity(path))
    file = folder / f"{cached}.{workdir.fingerprint(made_of)}.json"
    facts = _Facts.load(file) if large else None
    if facts is None:
        extent = Extent()
        for block in stack.blocks():
            extent = extent.joined(Extent.of(block, alpha=alpha, origin=name))
            if stack.dtype == np.uint8 and not alpha and extent.high > 1:
                break
        size, _ = fitting.choose_size([(height, width)], side=asked.side, origin=name)
        colours = channels - alpha
        fit = _fit_of(size, colours, alpha, str(stack.dtype), extent, reading)
        shape = (num, *fit.size, fit.channels)
        notes = ["opaque, so without their fourth channel"] if alpha and extent.opaque else []
        facts = _Facts(shape, fit, (), (), _account(shape, fit, notes))
    fit, shape = facts.fit, facts.shape

    def blocks() -> Iterator[Rows]:
        return (fit(block, alpha=alpha) for block in stack.blocks())

    plain = fit.values == (0, 255) and not alpha and stack.dtype == np.uint8
    if (
        plain
        and shape == stack.shape
        and stack.whole is not None
        and (not large or stack.whole.flags.c_contiguous)
    ):
        images, deep = stack.whole if large else np.ascontiguousarray(stack.whole), None
    elif large:
        images, deep = _kept(blocks, shape, fit.depth, cached, made_of, folder)
        facts.save(file)
    else:
        images, deep = _in_memory(blocks())
    opened = _image_set(images, deep, fit, asked, name=name, account=facts.account)
    if stack.factors is None:
        return opened
    return dataclasses.replace(opened, factors=stack.factors, factor_names=stack.names)


# Factors


def _with_table(images: ImageSet, path: Path) -> ImageSet:
    """Return a set with the columns of a table as factors, words as numbers with labels."""
    table = tables.read_table(path)
    rows = _rows_of(images, table, printable(path.name))
    names = table.names or tuple(f"factor_{i}" for i in range(len(table.columns)))
    labels, columns = dict(images.labels), []
    for name, column in zip(names, table.columns, strict=True):
        if isinstance(column, list):
            words = sorted(set(column), key=_natural)
            labels[name] = tuple(words)
            column = np.array([words.index(word) for word in column], float)
        elif not np.isfinite(column).all():
            raise UserError(
                f"column {name} of {printable(path.name)} has rows without a finite number",
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
    # By the whole name, without folder, without suffix, without both; each where only one has it.
    ways: list[Callable[[str], str]] = [
        lambda text: text,
        lambda text: text.rsplit("/", 1)[-1],
        lambda text: text.rsplit(".", 1)[0],
        lambda text: text.rsplit("/", 1)[-1].rsplit(".", 1)[0],
    ]
    keys = [text.strip().replace("\\", "/").removeprefix("./") for text in index]
    numbers = [str(number) for number in range(total)]
    candidates = [[way(file) for file in images.files] for way in ways if images.files]
    best = max(
        (labels for labels in [*candidates, numbers] if len(set(labels)) == total),
        key=lambda labels: len(set(labels) & set(keys)),
        default=numbers,
    )
    row_of = {key: row for row, key in enumerate(keys)}
    without_row = [label for label in best if label not in row_of]
    known = set(best)
    without_image = [key for key in keys if key not in known]
    if without_row or without_image or len(row_of) < num_rows:
        twice = [key for key, count in Counter(keys).items() if count > 1]
        problems = [
            f"{len(some)} {what}: {', '.join(some[:3])}"
            for some, what in (
                (without_row, "images without a row"),
                (without_image, "rows without an image"),
                (twice, "names on several rows"),
            )
            if some
        ]
        raise UserError(
            f"{name} has {num_rows} rows and {images.name} {total} images; {', '.join(problems)}",
            cure="give one row an image, named as its file or by its number from 0",
        )
    return [row_of[label] for label in best]
