"""From files of any kind to one set: what is taken of each, in which form, and what is left out.

All files are looked at before the first is converted, since what becomes of one depends on all:
size, channels, black and white. What takes long to convert is kept in the cache, together with what
was found out (`Taken`), and is there at once the next time.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import dacite
import numpy as np
from PIL import Image
from tqdm import tqdm

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import fitting, formats, pixels, storage
from jaxsurf.images.fitting import Extent, Fit, Rows
from jaxsurf.images.formats import Header, Part
from jaxsurf.images.image_set import ImageSet, Request

NAMED = 5  # in an account
# So many files, or bytes that they unpack to, take seconds.
_MANY, _MUCH = 2_000, 64 * storage.MIB
# Files handed to threads at once.
_WINDOW = 512

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of a source without opening its files."""

    title: str  # what the set is called
    place: str = ""  # where the source lies
    made_of: str = ""  # its present state, for the cache; empty where nothing is to be kept
    left_out: Sequence[tuple[str, str]] = ()  # names and reasons of what else was there


@dataclass(frozen=True)
class Taken:
    """What is taken of a source, once all of it was looked at."""

    shape: tuple[int, ...]  # of all images together
    fit: Fit  # brings each to the form of the set
    notes: tuple[str, ...]  # what else there is to say, for the account
    heavy: bool  # whether what is converted is kept in the cache
    names: tuple[str, ...] = ()  # one an image
    unread: tuple[tuple[str, str], ...] = ()  # names of others, each with the reason

    def account(self, left_out: Sequence[tuple[str, str]]) -> str:
        """Return what was taken and what was left out, in a line."""
        (num, height, width, _), fit = self.shape, self.fit
        kind = {1: "grey", 3: "RGB"}.get(fit.colours, f"{fit.colours} channels")
        opacity = ("A" if kind == "RGB" else " and opacity") if fit.alpha else ""
        said = [f"{num} image{'s' * (num > 1)}, {width} x {height} pixels, {kind}{opacity}"]
        if fit.values != (0, pixels.peak(np.dtype(fit.dtype))):
            low, high = (f"{value:g}" for value in fit.values)
            said.append(f"values {low} to {high} of {fit.dtype} shown as black to white")
        left = [*self.unread, *left_out]
        return "; ".join([*said, *self.notes, *([listed(left)] if left else [])])


def assemble(
    find: Callable[[], Taken],
    convert: Callable[[Taken], Iterator[Rows]],
    request: Request,
    origin: Origin,
    whole: Rows | None = None,
) -> ImageSet:
    """Return a set of images from the cache, or made now.

    `find` looks at a source, and `convert` yields its images, fitted, a few at a time; `whole`
    holds all of them, and is used as it is where the set has its form.
    """
    # What is shown, and factors, are no part of the images.
    reading = dataclasses.replace(request.reading, show=(), factors="")
    name = f"own-{workdir.fingerprint(origin.place, f'side {request.side}', repr(reading))}"
    folder = storage.cache_folder(request.cache_dir)
    file = folder / f"{name}.{workdir.fingerprint(origin.made_of)}.json"
    known = None
    if origin.made_of and file.with_suffix(".npy").exists():
        with contextlib.suppress(OSError, ValueError, TypeError, dacite.DaciteError):
            found = json.loads(file.read_text(encoding="utf-8"))
            config = dacite.Config(cast=[tuple], check_types=False)
            known = dacite.from_dict(Taken, found, config)
    taken = known or find()
    fit, deep = taken.fit, None
    plain = fit.depth == "uint8" and fit.values == (0, 255)
    if plain and whole is not None and (whole.dtype, whole.shape) == (np.uint8, taken.shape):
        images = whole
    elif origin.made_of and taken.heavy:
        kept = {"shape": taken.shape, "made_of": origin.made_of, "folder": folder}
        images = storage.cached(lambda: convert(taken), name=name, dtype=fit.depth, **kept)
        if fit.depth != "uint8":
            deep = images
            images = storage.cached(
                lambda: map(fitting.eight_bits, storage.chunks(deep)), name=f"{name}-uint8", **kept
            )
        if known is None:
            with contextlib.suppress(UserError, OSError):  # it is found again the next time
                for old in folder.glob(f"{name}.*.json"):  # of older states of the source
                    old.unlink(missing_ok=True)
                workdir.write_text(file, json.dumps(dataclasses.asdict(taken)))
    else:
        doing = f"reading {origin.title}"
        with tqdm(total=taken.shape[0], unit=" images", desc=doing, delay=1) as bar:
            images = np.empty(taken.shape, fit.depth)  # parts, joined, would take twice the memory
            for block in convert(taken):
                images[bar.n : bar.n + len(block)] = block
                bar.update(len(block))
        if fit.depth != "uint8":
            images, deep = fitting.eight_bits(images), images
    show = request.reading.show
    usual = pixels.Look.usual(fit.channels, alpha=fit.alpha)
    return ImageSet(
        images,
        origin.title,
        deep=deep,
        source_range=fit.values,
        source_dtype=fit.dtype,
        look=pixels.Look(tuple(show), fit.alpha) if show else usual,
        files=taken.names,
        account=taken.account(origin.left_out),
    )


def collect(parts: Sequence[Part], request: Request, origin: Origin) -> ImageSet:
    """Return the frames of pictures and films, in order, as one set."""
    headers: dict[int, Header] = {}  # of the parts that are taken

    def stream(number: int, fit: Fit) -> Iterator[Rows]:
        header, frames = headers[number], formats.read(parts[number], headers[number])
        size = header.height * header.width * header.channels * np.dtype(header.dtype).itemsize
        while some := list(itertools.islice(frames, max(1, storage.CHUNK_BYTES // size))):
            yield fit(np.stack(some), alpha=header.alpha)

    def convert(taken: Taken) -> Iterator[Rows]:
        if not headers:  # the images in the cache were damaged
            find()
        if len(headers) == 1:
            return stream(next(iter(headers)), taken.fit)
        return _mapped(pool, lambda n: np.concatenate(list(stream(n, taken.fit))), [*headers])

    def find() -> Taken:
        found, taken = _survey(pool, parts, request, origin.title)
        headers.update(found)
        return taken

    # Pillow unpacks and scales outside of Python's lock. Generators don't own the threads: they may
    # be closed while one is started, and would wait for themselves.
    with own_limit(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return assemble(find, convert, request, origin)


@contextlib.contextmanager
def own_limit() -> Iterator[None]:
    """Leave it to us how large pictures may be: what Pillow says of it is no help."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def listed(left_out: Sequence[tuple[str, str]]) -> str:
    """Return what to say of files that were left out."""
    named = ", ".join(f"{name} ({reason})" for name, reason in left_out[:NAMED])
    more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    return f"{len(left_out)} file{'s' * (len(left_out) > 1)} left out: {named}{more}"


def _survey(
    pool: ThreadPoolExecutor, parts: Sequence[Part], request: Request, title: str
) -> tuple[dict[int, Header], Taken]:
    """Look at all headers, and at pixels where these decide something; return what is taken."""
    reading = request.reading
    unread: list[tuple[str, str]] | None = [] if reading.skip_unreadable else None

    def measure(number: int, white: float = np.inf) -> Extent:
        part, header = parts[number], headers[number]
        frames = formats.read(part, header)
        own = Extent.of(frames, alpha=header.alpha, origin=part.name, white=white)
        wide = fitting.WIDER if header.dtype != dtype else 1
        return Extent(own.low * wide, own.high * wide, own.opaque)

    look = functools.partial(formats.inspect, max_pixels=reading.max_pixels)
    numbers = range(len(parts))
    headers = _attempts(pool, lambda n: look(parts[n]), parts, numbers, title, unread)
    colours = {header.channels - header.alpha: parts[n].name for n, header in headers.items()}
    dtypes = {header.dtype: parts[n].name for n, header in headers.items()}
    for kinds, able, what in (
        (colours, {1, 3}, "channels"),
        (dtypes, {"uint8", "uint16"}, "values"),
    ):
        if len(kinds) > 1 and not able.issuperset(kinds):
            (one, first), (other, second) = list(kinds.items())[:2]
            raise UserError(
                f"{first} has {one} {what}, but {second} has {other}",
                cure="keep them in folders of their own",
            )
    dtype = "uint16" if "uint16" in dtypes else next(iter(dtypes))
    alpha = any(header.alpha for header in headers.values())
    if alpha or dtype != "uint8" or reading.skip_unreadable:
        extents = _attempts(pool, measure, parts, list(headers), title, unread)
        headers = {number: headers[number] for number in extents}
        extent = functools.reduce(Extent.joined, extents.values())
    else:  # no more is asked than whether all are masks of 0 and 1
        extent = Extent()
        for number in headers:
            extent = extent.joined(measure(number, white=1))
            if extent.high > 1:
                break
    sizes = [(one.height, one.width) for one in headers.values() for _ in range(one.frames)]
    size, num_cut = fitting.choose_size(sizes, side=request.side, origin=title)
    fit = Fit.choose(size, max(colours), dtype, extent, reading.range, alpha=alpha)
    names = [
        parts[number].name if one.frames == 1 else f"{parts[number].name}#{frame}"
        for number, one in headers.items()
        for frame in range(one.frames)
    ]
    notes = [f"{num_cut} of them cut to this shape"] if num_cut else []
    others = sum(header.others for header in headers.values())
    notes += [f"{others} other series of TIFF files left out"] if others else []
    return headers, Taken(
        shape=(len(names), *fit.size, fit.channels),
        fit=fit,
        notes=tuple(notes),
        heavy=len(parts) >= _MANY
        or sum(h * w for h, w in sizes) * max(colours) * np.dtype(dtype).itemsize >= _MUCH,
        names=tuple(names),
        unread=tuple(unread or ()),
    )


def _attempts(
    pool: ThreadPoolExecutor,
    function: Callable[[int], _Result],
    parts: Sequence[Part],
    numbers: Sequence[int],
    title: str,
    unread: list[tuple[str, str]] | None,
) -> dict[int, _Result]:
    """Return a function's results; parts that it refuses are noted in `unread`, if there is one."""

    def attempt(number: int) -> _Result | UserError:
        try:
            return function(number)
        except UserError as error:
            return error

    found = {}
    tried = tqdm(_mapped(pool, attempt, numbers), f"looking at {title}", len(numbers), delay=1)
    for number, one in zip(numbers, tried, strict=True):
        if not isinstance(one, UserError):
            found[number] = one
        elif unread is None:
            raise one
        else:
            unread.append((parts[number].name, "unreadable"))
    if not found:
        raise UserError(f"{title} holds no picture that can be read: {listed(unread or [])}")
    return found


def _mapped(
    pool: ThreadPoolExecutor, function: Callable[[int], _Result], numbers: Sequence[int]
) -> Iterator[_Result]:
    """Yield a function's results in order; threads compute a few of them ahead."""
    for start in range(0, len(numbers), _WINDOW):
        yield from pool.map(function, numbers[start : start + _WINDOW])
