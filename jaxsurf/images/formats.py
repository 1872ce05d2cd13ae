"""Pictures and films as they are encoded: frames in their own type, and what a header says.

A frame is an array of height, width and channels: grey, red, green and blue, or what the channels
of a TIFF file are; where there is opacity it is the last of them. Palettes are looked up, and the
camera's note of which side is up is obeyed. Values are as the file has them: uint8, uint16, or what
else a TIFF file holds.

Pillow reads pictures of eight bits and all that moves, tifffile other TIFF files, by their axes
(`TCYX`: C are channels, T images), and PyAV films.
"""

import importlib.util
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

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
_CHANNELS = {"L": 1, "I;16": 1, "I": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_DTYPES = {"I;16": "uint16", "I": "int32", "F": "float32"}
# What tifffile unpacks by itself: none, deflate (two numbers), PackBits.
_UNPACKED = (1, 8, 32946, 32773)
# Large pictures of a single colour, as PNG and GIF files, take a byte for half of this.
_MOST_IN_A_BYTE = 2_000
# Orientations of the camera that turn a picture on its side.
_ON_ITS_SIDE = (5, 6, 7, 8)
_ORIENTATION = 0x0112
_BEHIND = 1 << 16  # bytes at the end of a PNG file, where such a note may be


@dataclass(frozen=True)
class Header:
    """What can be known of a picture or film without unpacking it.

    Alpha counts as a channel. `others` are series of a TIFF file beside the first, of other sizes
    or kinds, such as a preview: they are left out.
    """

    frames: int
    height: int
    width: int
    channels: int
    alpha: bool
    dtype: str
    others: int = 0


def inspect(file: Encoded, *, origin: str, max_pixels: int) -> Header:
    """Return the header of a picture or film, whose `origin` is for messages.

    Raises:
        UserError: where it can't be read, or its frames have more than `max_pixels`.
    """
    most = _MOST_IN_A_BYTE
    try:
        if isinstance(file, np.ndarray):
            found = Header(1, *file.shape, alpha=file.shape[-1] in (2, 4), dtype=str(file.dtype))
        elif _is_film(file):
            height, width, count = 0, 0, 0
            for frame in _film(file):
                height, width, count = *frame.shape[:2], count + 1
                _check_size(height, width, origin, max_pixels)
            if not count:
                raise ValueError("it has no frame")
            found = Header(count, height, width, 3, alpha=False, dtype="uint8")
        elif (tiff := _Tiff.open(file)) is not None:
            with tiff:
                found, most = tiff.header, storage.MOST_IN_A_BYTE
        else:
            # Pillow leaves files open that it finds damaged.
            with _stream(file) as stream, Image.open(stream) as image:
                found = _header(image)
    except UserError:
        raise
    except Exception as error:  # of many kinds, for notes inside damaged pictures
        raise _unreadable(origin, error) from error
    _check_size(found.height, found.width, origin, max_pixels)
    size, claimed = _num_bytes(file), found.height * found.width * found.channels
    claimed *= np.dtype(found.dtype).itemsize
    # A flipped bit of a header, or a bomb.
    if claimed > max_pixels / 4 and claimed > _MOST_IN_A_BYTE * size:
        raise UserError(
            f"{origin} claims {claimed / 1e6:.0f} MB of pixels in {size} bytes",
            cure=f"remove it, or set data.max_pixels to {4 * claimed} if it is what it should be",
        )
    if not _is_film(file):
        storage.check_claim(origin, claimed * found.frames, size, most=most)
    return found


def read(file: Encoded, header: Header, *, origin: str) -> Iterator[Pixels]:
    """Yield the frames of a picture or film, all of them as its header says.

    Raises:
        UserError: where it can't be read.
    """
    shape, count = (header.height, header.width, header.channels), 0
    try:
        if isinstance(file, np.ndarray):
            frames = [file]
        elif _is_film(file):
            frames = _film(file)
        elif (tiff := _Tiff.open(file)) is not None:
            frames = tiff.frames()
        else:
            frames = _frames(file)
        for frame in frames:
            if frame.shape != shape or str(frame.dtype) != header.dtype:
                raise ValueError(f"a frame is {frame.dtype}{frame.shape}, not {shape}")
            count += 1
            yield frame
        if count != header.frames:
            raise ValueError(f"it has {count} frames, not {header.frames}")
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(origin, error) from error


def _check_size(height: int, width: int, origin: str, max_pixels: int) -> None:
    if not 0 < height * width <= max_pixels:
        raise UserError(
            f"{origin} has {height * width / 1e6:.0f} megapixels, {width} x {height}, "
            f"more than the {max_pixels / 1e6:g} million allowed",
            cure=f"scale it down, or set data.max_pixels to {height * width} if you trust it",
        )


def _num_bytes(file: Encoded) -> int:
    if isinstance(file, Path):
        return file.stat().st_size
    return len(file) if isinstance(file, bytes) else file.nbytes


def _unreadable(origin: str, error: Exception) -> UserError:
    reason = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "in no known format"
    elif isinstance(error, OSError) and error.strerror:
        return UserError(f"cannot read {origin}: {error.strerror}", cure="restore or remove it")
    elif "imagecodecs" in reason:
        return UserError(f"{origin} needs one more package", cure="pip install imagecodecs")
    reason = " ".join(reason.split())[:200]
    return UserError(
        f"{origin} is not a picture that can be read ({reason})", cure="remove or replace it"
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
    dtype = "uint16" if deep else _DTYPES.get(mode, "uint8")
    return Header(frames, height, width, _CHANNELS[mode], mode in ("LA", "RGBA"), dtype)


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


class _Tiff:
    """The images of a TIFF file that Pillow can't read: deep, of many channels, or with axes."""

    def __init__(self, file: Any) -> None:  # noqa: ANN401  # imported lazily: no name for its type
        self._file, self._series = file, file.series[0]
        page = self._series.keyframe
        sizes = dict(zip(self._series.axes, self._series.shape, strict=True))
        channels = sizes.get("C", 1) * sizes.get("S", 1)
        images = [size for axis, size in sizes.items() if axis not in "CSYX"]
        kinds, bits = [int(kind) for kind in page.extrasamples], self._series.dtype.kind == "b"
        self._note = int(page.tags.valueof(_ORIENTATION, 1))
        size = sizes["Y"], sizes["X"]
        height, width = size[::-1] if self._note in _ON_ITS_SIDE else size
        self.header = Header(
            frames=int(np.prod(images, dtype=int)),
            height=height,
            width=width,
            channels=channels,
            alpha=bool(kinds) and kinds[-1] in (1, 2) and page.photometric == 2,
            # Of one bit: truth values, 1 where it is white.
            dtype=str(np.dtype(np.uint8) if bits else self._series.dtype.newbyteorder("=")),
            others=len(file.series) - 1,
        )

    def __enter__(self) -> "_Tiff":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @classmethod
    def open(cls, file: Path | bytes) -> "_Tiff | None":
        """Return what is a TIFF file, but none that Pillow reads as well."""
        start = file[:4] if isinstance(file, bytes) else _start(file)
        if start not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return None
        import tifffile

        # It reports damage on standard error, beside raising it.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        tiff = tifffile.TiffFile(io.BytesIO(file) if isinstance(file, bytes) else file)
        try:
            page = tiff.series[0].keyframe
            plain = set(tiff.series[0].axes) <= set("YXSIQ") and len(page.extrasamples) < 2
            packed = int(page.compression) not in _UNPACKED and not _has_codecs()
            # Other kinds of colour, a palette, black for white: Pillow knows all of them.
            coloured = int(page.photometric) not in (1, 2) or _ORIENTATION in page.tags
            if plain and page.bitspersample <= 8 and (coloured or packed or page.bitspersample < 8):
                tiff.close()
                return None
            return cls(tiff)
        except BaseException:
            tiff.close()
            raise

    def frames(self) -> Iterator[Pixels]:
        """Yield all images, upright; the file is closed after them."""
        down, along = (-1 if self._note in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
        for frame in self._stored():
            upright = frame.swapaxes(0, 1) if self._note in _ON_ITS_SIDE else frame
            yield upright[::down, ::along]

    def _stored(self) -> Iterator[Pixels]:
        """Yield all images as they are stored, reading the pages of one at a time."""
        with self._file:
            series, page = self._series, self._series.keyframe
            outer = series.axes[: len(series.axes) - len(page.axes)]
            if len(series.pages) == np.prod(series.shape[: len(outer)], dtype=int):
                numbers = np.arange(len(series.pages)).reshape(series.shape[: len(outer)])
                if "C" in outer:
                    numbers = np.moveaxis(numbers, outer.index("C"), -1)
                numbers = numbers.reshape(-1, numbers.shape[-1] if "C" in outer else 1)
                for some in numbers:
                    pages = [self._page(int(number)) for number in some]
                    yield from _channels_last(np.stack(pages), "C" + page.axes)
            else:
                # Written in one go behind a single page.
                yield from _channels_last(series.asarray(), series.axes)

    def _page(self, number: int) -> np.ndarray:
        page = self._series.pages[number]
        if page is None:  # one that OME's notes promise
            return np.zeros(self._series.keyframe.shape, self._series.dtype)
        return page.asarray()


def _channels_last(rows: np.ndarray, axes: str) -> Iterator[Pixels]:
    images = [axis for axis, name in enumerate(axes) if name not in "CSYX"]
    last = [axis for name in "YXCS" for axis, here in enumerate(axes) if here == name]
    rows = rows.transpose(*images, *last)
    num_inside = len(last)
    shape = rows.shape[len(images) :]
    channels = int(np.prod(shape[2:], dtype=int)) if num_inside > 2 else 1
    # In the machine's order of bytes.
    dtype = np.dtype(np.uint8) if rows.dtype.kind == "b" else rows.dtype.newbyteorder("=")
    yield from rows.reshape(-1, *shape[:2], channels).astype(dtype)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _has_codecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


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
