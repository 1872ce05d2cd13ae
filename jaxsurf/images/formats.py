"""Pictures and films as they are encoded: frames in the file's own type, and what a header says.

A frame is an array of height, width and channels: grey, red, green and blue, or what the channels
of a TIFF file are; where there is opacity it is the last of them. Palettes are looked up, and the
camera's note of which side is up is obeyed.

Pillow reads pictures of eight bits and all that moves, tifffile other TIFF files, by their axes
(`TCYX`: C are channels, T images), and PyAV films.
"""

import contextlib
import importlib.util
import io
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeGuard

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageMode, ImageOps, ImageSequence, UnidentifiedImageError

from jaxsurf.errors import UserError
from jaxsurf.images import storage

Pixels = Shaped[np.ndarray, "height width channel"]
# A file, what it holds, or a picture that is unpacked already.
Encoded = Path | bytes | np.ndarray

# All that Pillow or tifffile reads and people keep pictures in.
PICTURES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".gif"),
    *(".pgm", ".ppm", ".pbm", ".pnm"),
)
FILMS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
# Those whose further frames are images too; those of others are previews.
_MOVING = ("GIF", "PNG", "WEBP", "TIFF")
# What tifffile unpacks by itself: none, deflate (two numbers), PackBits.
_UNPACKED = (1, 8, 32946, 32773)
# Large pictures of a single colour, as PNG and GIF files, take a byte for half of this.
_MOST_IN_A_BYTE = 2_000
# Orientations of the camera that turn a picture on its side.
_ON_ITS_SIDE = (5, 6, 7, 8)
_ORIENTATION = 0x0112
_BEHIND = 1 << 16  # bytes at the end of a PNG file, where such a note may be


class Part(NamedTuple):
    """A file of a source: its name for people, and where it lies or what it holds."""

    name: str
    file: Encoded


@dataclass(frozen=True)
class Header:
    """What can be known of a picture or film without unpacking it."""

    frames: int
    height: int
    width: int
    channels: int  # alpha among them
    alpha: bool
    dtype: str
    others: int = 0  # series of a TIFF file beside the first, such as a preview: left out


def inspect(part: Part, max_pixels: int) -> Header:
    """Return the header of a picture or film; refuse frames of more than `max_pixels`."""
    name, file = part
    most = _MOST_IN_A_BYTE
    with _refusing(name):
        if isinstance(file, np.ndarray):
            found = Header(1, *file.shape, alpha=file.shape[-1] in (2, 4), dtype=str(file.dtype))
        elif _is_film(file):
            found = None
            for count, frame in enumerate(_film(file), start=1):
                found = Header(count, *frame.shape, alpha=False, dtype="uint8")
                _check_size(found.height, found.width, name, max_pixels)
            if found is None:
                raise ValueError("it has no frame")
        else:
            with _open_tiff(file) as tiff:
                if tiff is not None:
                    found, most = _tiff_header(tiff), storage.MOST_IN_A_BYTE
            if tiff is None:
                # Pillow leaves files open that it finds damaged.
                with _stream(file) as stream, Image.open(stream) as image:
                    found = _header(image)
    _check_size(found.height, found.width, name, max_pixels)
    if not (isinstance(file, np.ndarray) or _is_film(file)):
        size = len(file) if isinstance(file, bytes) else file.stat().st_size
        claimed = found.height * found.width * found.channels * np.dtype(found.dtype).itemsize
        # A flipped bit of a header, or a bomb.
        if claimed > max_pixels / 4 and claimed > _MOST_IN_A_BYTE * size:
            cure = f"remove it, or set data.max_pixels to {4 * claimed} if it is what it should be"
            raise UserError(
                f"{name} claims {claimed / 1e6:.0f} MB of pixels in {size} bytes", cure=cure
            )
        storage.check_claim(name, claimed * found.frames, size, most=most)
    return found


def read(part: Part, header: Header) -> Iterator[Pixels]:
    """Yield the frames of a picture or film, all of them as its header says."""
    file, count = part.file, 0
    shape = (header.height, header.width, header.channels)
    with _refusing(part.name):
        if isinstance(file, np.ndarray):
            frames = [file]
        else:
            frames = _film(file) if _is_film(file) else _frames(file)
        for frame in frames:
            if frame.shape != shape or str(frame.dtype) != header.dtype:
                raise ValueError(f"a frame is {frame.dtype}{frame.shape}, not {shape}")
            count += 1
            yield frame
        if count != header.frames:
            raise ValueError(f"it has {count} frames, not {header.frames}")


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    with storage.refusing(name, "is not a picture that can be read", cure="remove or replace it"):
        try:
            yield
        except UnidentifiedImageError as error:
            raise ValueError("in no known format") from error
        except Exception as error:
            if "imagecodecs" not in str(error):
                raise
            cure = "pip install imagecodecs"
            raise UserError(f"{name} needs one more package", cure=cure) from error


def _check_size(height: int, width: int, name: str, max_pixels: int) -> None:
    if not 0 < height * width <= max_pixels:
        raise UserError(
            f"{name} has {height * width / 1e6:.0f} megapixels, {width} x {height}, "
            f"more than the {max_pixels / 1e6:g} million allowed",
            cure=f"scale it down, or set data.max_pixels to {height * width} if you trust it",
        )


def _stream(file: Path | bytes) -> IO[bytes]:
    return io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")


# Pillow


def _mode(image: Image.Image) -> str:
    """Return the mode that a picture is converted to."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Portable grey maps of 16 bits are read as 32.
        return "I;16" if image.format == "PPM" or image.mode[1:] else image.mode
    grey = image.mode in ("1", "L", "LA", "La") or _rawmode(image) == "LA;16B"
    if image.has_transparency_data:
        return "LA" if grey else "RGBA"
    # Later frames of a GIF may be of another kind than the first; nor do all show in their palette.
    film = image.format in ("GIF", "PNG", "WEBP") and getattr(image, "n_frames", 1) > 1
    if grey and not (film and image.format == "GIF"):
        return "L"
    return "RGBA" if film else "RGB"


def _rawmode(image: Image.Image) -> str:
    """Return how the pixels of a picture that is not unpacked yet are stored."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else ""
    return args if isinstance(args, str) else ""


def _header(image: Image.Image) -> Header:
    mode, (width, height) = _mode(image), image.size
    # That of a PNG file may stand behind its pixels: all are unpacked to look for it. TIFF's is
    # obeyed by Pillow itself.
    known = not hasattr(image, "png") or _has_exif(image)
    if image.format != "TIFF" and known and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
        width, height = height, width
    frames = getattr(image, "n_frames", 1) if image.format in _MOVING else 1
    deep = frames == 1 and _rawmode(image) in ("RGB;16B", "RGBA;16B", "LA;16B")
    kind = ImageMode.getmode(mode)
    dtype = "uint16" if deep else str(np.dtype(kind.typestr))
    return Header(frames, height, width, len(kind.bands), mode in ("LA", "RGBA"), dtype)


def _has_exif(image: Image.Image) -> bool:
    """Return whether a PNG file may have notes of the camera, before its pixels or behind them."""
    if any("exif" in str(name) for name in image.info):
        return True
    stream: Any = image.fp  # type: ignore[attr-defined]
    place = stream.tell()
    stream.seek(-min(_BEHIND, stream.seek(0, io.SEEK_END)), io.SEEK_END)
    tail = stream.read()
    stream.seek(place)
    return b"eXIf" in tail or b"Raw profile type exif" in tail


def _frames(file: Path | bytes) -> Iterator[Pixels]:
    with _open_tiff(file) as tiff:
        if tiff is not None:
            yield from _tiff_frames(tiff)
            return
    with _stream(file) as stream, Image.open(stream) as image:
        header, mode, raw = _header(image), _mode(image), _rawmode(image)
        if header.dtype == "uint16" and mode != "I;16":
            yield _sixteen_bits(image, stream, raw)
            return
        frames = ImageSequence.Iterator(image) if header.frames > 1 else [image]
        for frame in frames:
            upright = ImageOps.exif_transpose(frame)
            if mode in ("I;16", "I", "F"):
                pixels = np.asarray(upright).astype(header.dtype)
            else:
                pixels = np.asarray(upright if upright.mode == mode else upright.convert(mode))
            yield pixels.reshape(*pixels.shape[:2], -1)


def _sixteen_bits(image: Image.Image, stream: IO[bytes], raw: str) -> Pixels:
    """Return a PNG of 16 bits a channel, of which Pillow itself keeps the upper eight."""
    halves = []
    # Grey with opacity is two times two bytes, so four channels.
    for stored in ("RGBA",) if raw == "LA;16B" else (raw, raw[:-1] + "L"):
        with Image.open(stream) as again:
            again.tile = [tile._replace(args=stored) for tile in again.tile]  # type: ignore[attr-defined]
            halves.append(np.asarray(ImageOps.exif_transpose(again)).astype(np.uint16))
    if raw == "LA;16B":
        return halves[0][..., ::2] * 256 + halves[0][..., 1::2]
    return halves[0] * 256 + halves[1]


# TIFF


@contextlib.contextmanager
def _open_tiff(file: Path | bytes) -> Iterator[Any]:
    """Open a TIFF file that is deep, of many channels, or has axes; yield None for all others."""
    with _stream(file) as stream:
        start = stream.read(4)
    if start not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        yield None
        return
    import tifffile

    # It reports damage on standard error, beside raising it.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with tifffile.TiffFile(io.BytesIO(file) if isinstance(file, bytes) else file) as tiff:
        page = tiff.series[0].keyframe
        plain = set(tiff.series[0].axes) <= set("YXSIQ") and len(page.extrasamples) < 2
        codecs = importlib.util.find_spec("imagecodecs") is not None
        packed = int(page.compression) not in _UNPACKED and not codecs
        # Other kinds of colour, a palette, black for white: Pillow knows all of them.
        coloured = int(page.photometric) not in (1, 2) or _ORIENTATION in page.tags
        few = page.bitspersample < 8 or (page.bitspersample == 8 and (coloured or packed))
        yield None if plain and few else tiff


def _tiff_header(tiff: Any) -> Header:  # noqa: ANN401  # imported lazily: no name for its type
    series, page = tiff.series[0], tiff.series[0].keyframe
    sizes = dict(zip(series.axes, series.shape, strict=True))
    height, width = sizes["Y"], sizes["X"]
    if int(page.tags.valueof(_ORIENTATION, 1)) in _ON_ITS_SIDE:
        height, width = width, height
    kinds = [int(kind) for kind in page.extrasamples]
    return Header(
        frames=math.prod(size for axis, size in sizes.items() if axis not in "CSYX"),
        height=height,
        width=width,
        channels=sizes.get("C", 1) * sizes.get("S", 1),
        alpha=bool(kinds) and kinds[-1] in (1, 2) and page.photometric == 2,
        dtype=str(storage.plain_type(series.dtype)),
        others=len(tiff.series) - 1,
    )


def _tiff_frames(tiff: Any) -> Iterator[Pixels]:  # noqa: ANN401
    """Yield all images, upright, reading the pages of one at a time."""
    series, page = tiff.series[0], tiff.series[0].keyframe
    outer = series.axes[: len(series.axes) - len(page.axes)]
    sizes = series.shape[: len(outer)]
    if len(series.pages) == math.prod(sizes):
        numbers = np.arange(len(series.pages)).reshape(sizes)
        if "C" in outer:
            numbers = np.moveaxis(numbers, outer.index("C"), -1)
        numbers = numbers.reshape(-1, numbers.shape[-1] if "C" in outer else 1)
        nothing = np.zeros(page.shape, series.dtype)  # of a page that OME's notes promise alone
        images = ([series.pages[number] for number in some] for some in numbers.tolist())
        stacks = (
            np.stack([nothing if one is None else one.asarray() for one in some]) for some in images
        )
        axes = "C" + page.axes
    else:  # written in one go behind a single page
        stacks, axes = [series.asarray()], series.axes
    note = int(page.tags.valueof(_ORIENTATION, 1))
    down, along = (-1 if note in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    for stack in stacks:
        for frame in _channels_last(stack, axes):
            upright = frame.swapaxes(0, 1) if note in _ON_ITS_SIDE else frame
            yield upright[::down, ::along]


def _channels_last(rows: np.ndarray, axes: str) -> Shaped[np.ndarray, "image height width channel"]:
    images = [axis for axis, name in enumerate(axes) if name not in "CSYX"]
    last = [axis for name in "YXCS" for axis, here in enumerate(axes) if here == name]
    height, width, *channels = (rows.shape[axis] for axis in last)
    rows = rows.transpose(*images, *last).reshape(-1, height, width, math.prod(channels))
    return rows.astype(storage.plain_type(rows.dtype))


# Films


def _is_film(file: Encoded) -> TypeGuard[Path]:
    return isinstance(file, Path) and file.suffix.lower() in FILMS


def check_films(what: str) -> None:
    """Refuse what needs films read or written, where imageio's plugin for them is missing."""
    if importlib.util.find_spec("av") is None:
        raise UserError(f"{what} needs the package av", cure="pip install 'jaxsurf[films]'")


def _film(file: Path) -> Iterator[Pixels]:
    check_films(f"{file} is a film, which")
    import av.error  # imageio's own plugin for it leaves out which side is up

    with file.open("rb") as stream:
        try:
            with av.open(stream, mode="r") as opened:
                for frame in opened.decode(video=0):
                    pixels = frame.to_ndarray(format="rgb24")
                    yield np.rot90(pixels, round(frame.rotation / 90))
        except (OSError, av.error.FFmpegError, IndexError) as error:
            raise ValueError("it is no film, or damaged") from error
