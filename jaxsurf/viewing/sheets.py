"""Many small pictures as one file: equal cells, row after row, for canvases to draw from.

A page that holds its pictures itself has one sheet of thumbnails for a set, and one for all frames
of an animation. Pictures are uint8 NHWC in red, green and blue; frames may have an opacity.
"""

import base64
import io
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, features

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

Pictures = UInt8[np.ndarray, "picture height width channel"]


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
        source = f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode('ascii')}"
        facts = {name: value for name, value in vars(self).items() if name != "content"}
        return {"src": source, **facts}


def of_thumbnails(
    images: Iterable[UInt8[np.ndarray, "_some height width channel"]],
) -> Sheet:
    """Return images, given some at a time, at most `LARGEST_THUMBNAIL` wide and high, as a JPEG."""
    every = (Image.fromarray(image) for some in images for image in some)
    small = np.stack([_shrunk(image, LARGEST_THUMBNAIL) for image in every])
    height, width = small.shape[1:3]
    fill = [(0, 0), (0, -height % BLOCK), (0, -width % BLOCK), (0, 0)]
    return _sheet(np.pad(small, fill, mode="edge"), width, height, kind="jpeg")


def of_film(content: bytes, *, frame_ms: float, kept: Int[np.ndarray, "kept"]) -> Sheet:
    """Return some frames of a GIF or an animated PNG as a sheet; its opacity where it has some.

    A WebP, exact as long as that is small; a PNG where there is no WebP.

    Args:
        content: the file.
        frame_ms: how long a frame is shown, in milliseconds.
        kept: the numbers of the frames, ascending.

    Raises:
        ValueError: the file is no film.
    """
    side = min(LARGEST_FRAME, math.isqrt(MOST_PIXELS // len(kept)))
    frames = read_film(content, frame_ms=frame_ms, kept=kept, side=side)
    frames = frames if (frames[..., 3] < 255).any() else frames[..., :3]
    height, width = frames.shape[1:3]
    return _sheet(frames, width, height, kind="webp" if features.check("webp") else "png")


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
    scale = side / max(picture.size)
    if scale < 1:
        width, height = (max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture)


def _sheet(cells: Pictures, width: int, height: int, *, kind: str) -> Sheet:
    number, high, wide, channels = cells.shape
    across = min(max(1, round(math.sqrt(number * high / wide))), LONGEST_SIDE // wide)
    down = -(-number // across)
    filled = np.concatenate(
        [cells, np.zeros((across * down - number, high, wide, channels), np.uint8)]
    )
    rows = filled.reshape(down, across, high, wide, channels).swapaxes(1, 2)
    picture = Image.fromarray(rows.reshape(down * high, across * wide, channels))
    return Sheet(
        content=_encoded(picture, kind),
        kind=kind,
        width=width,
        height=height,
        cell=(wide, high),
        across=across,
        opacity=channels == 4,
    )


def _encoded(picture: Image.Image, kind: str) -> bytes:
    options = {
        "jpeg": [{"quality": THUMBNAIL_QUALITY, "optimize": True, "subsampling": 0}],
        "png": [{"optimize": True}],
        "webp": [{"lossless": True}, {"quality": FILM_QUALITY}],
    }
    content = b""
    for some in options[kind]:
        file = io.BytesIO()
        picture.save(file, kind.upper(), **some)
        content = file.getvalue()
        if len(content) <= LARGEST_EXACT:
            break
    return content
