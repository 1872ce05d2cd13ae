"""Many small pictures as one file: equal cells, row after row, for canvases to draw from.

A page that holds its pictures itself has one sheet of thumbnails for a set, and one for all frames
of an animation. Pictures are uint8 NHWC in red, green and blue; frames may have an opacity.
"""

import base64
import io
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

# Pixels; larger pictures are made smaller. An arm of 64 x 64 is shown as it is.
LARGEST_THUMBNAIL, LARGEST_FRAME = 64, 256
# Thumbnails are seen for a moment: 1,600 of the arm take a megabyte so.
THUMBNAIL_QUALITY = 75
# A JPEG's blocks: colours of one thumbnail do not run into the next one.
BLOCK = 8
# Frames of a film that should be kept, and their pixels in all, which a browser unpacks into 64 MB.
MOST_FRAMES, MOST_PIXELS = 600, 16 * 2**20
# WebP has 14 bits for either side.
LONGEST_SIDE = 16_383
# Bytes up to which a film is kept exactly; photographs would take ten times of what is seen.
LARGEST_EXACT, FILM_QUALITY = 400_000, 88

Pictures = UInt8[np.ndarray, "_picture height width channel"]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A picture of many: the file, its type, the size of what is seen of a cell and of the cell."""

    content: bytes
    kind: str  # jpeg, webp or png
    width: int
    height: int
    cell: tuple[int, int]  # width and height, with what fills it up
    across: int  # cells in a row
    opacity: bool

    def describe(self) -> dict[str, str | int | tuple[int, int]]:
        """Return it as JSON holds it, the file as a data URL."""
        facts = {name: value for name, value in vars(self).items() if name != "content"}
        return {"src": data_url(self.content, self.kind), **facts}


def data_url(content: bytes, kind: str = "png") -> str:
    """Return the file of a picture as the address of an `img` element."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def of_thumbnails(images: Iterable[Pictures]) -> Sheet:
    """Return images, given some at a time, at most `LARGEST_THUMBNAIL` wide and high, as a JPEG."""
    every = (Image.fromarray(image) for some in images for image in some)
    small = np.stack([_shrunk(image, LARGEST_THUMBNAIL) for image in every])
    height, width = small.shape[1:3]
    fill = [(0, 0), (0, -height % BLOCK), (0, -width % BLOCK), (0, 0)]
    cells = np.pad(small, fill, mode="edge")
    options = {"quality": THUMBNAIL_QUALITY, "optimize": True, "subsampling": 0}
    return replace(_sheet(cells, "jpeg", options), width=width, height=height)


def of_frames(frames: Pictures) -> Sheet:
    """Return frames as a PNG that is quickly made."""
    return _sheet(frames, "png", {"compress_level": 1})


def of_film(content: bytes, *, frame_ms: float, kept: Int[np.ndarray, "kept"]) -> Sheet:
    """Return some frames of a GIF or an animated PNG as a sheet; its opacity where it has some.

    A WebP, exact as long as that is small. The numbers of the frames that are kept are ascending;
    ValueError if the file is no film.
    """
    side = min(LARGEST_FRAME, math.isqrt(MOST_PIXELS // len(kept)))
    frames = read_film(content, frame_ms=frame_ms, kept=kept, side=side)
    frames = frames if (frames[..., 3] < 255).any() else frames[..., :3]
    exact = _sheet(frames, "webp", {"lossless": True})
    small = len(exact.content) <= LARGEST_EXACT
    return exact if small else _sheet(frames, "webp", {"quality": FILM_QUALITY})


def read_film(
    content: bytes, *, frame_ms: float, kept: Int[np.ndarray, "kept"], side: int
) -> Pictures:
    """Return some frames of a film, at most `side` wide and high, with their opacity.

    Files hold equal frames in a row as one longer frame: their durations tell which one is shown at
    the time of a frame.
    """
    found: list[np.ndarray] = []
    try:
        with Image.open(io.BytesIO(content), formats=("GIF", "PNG")) as film:
            # What `frames.media` writes: a PNG rounds each frame, a GIF their ends. In the middle
            # of a frame both are right.
            each = round(frame_ms) if film.format == "PNG" else frame_ms
            times, end = (kept + 0.5) * each, 0.0
            last = getattr(film, "n_frames", 1) - 1
            for number in range(last + 1):
                film.seek(number)
                picture = _shrunk(film.convert("RGBA"), side)
                end = math.inf if number == last else end + float(film.info.get("duration", 0))
                found += [picture] * int(np.count_nonzero(times[len(found) :] < end))
    except (OSError, EOFError, SyntaxError, IndexError, struct.error) as error:
        raise ValueError(f"it is no film ({error})") from error
    return np.stack(found)


def _shrunk(picture: Image.Image, side: int) -> UInt8[np.ndarray, "height width channel"]:
    picture.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
    return np.asarray(picture)


def _sheet(cells: Pictures, kind: str, options: dict[str, Any]) -> Sheet:
    number, height, width, channels = cells.shape
    across = round(math.sqrt(number * height / width))
    across = max(1, min(across, number, LONGEST_SIDE // width))
    down = -(-number // across)
    filled = np.zeros((down * across, height, width, channels), np.uint8)
    filled[:number] = cells
    rows = filled.reshape(down, across, height, width, channels).swapaxes(1, 2)
    file = io.BytesIO()
    picture = Image.fromarray(rows.reshape(down * height, across * width, channels))
    picture.save(file, kind.upper(), **options)
    return Sheet(
        content=file.getvalue(),
        kind=kind,
        width=width,
        height=height,
        cell=(width, height),
        across=across,
        opacity=channels == 4,
    )
