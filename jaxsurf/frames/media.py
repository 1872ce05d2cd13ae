"""Frames -> files: GIF, PNG, and strips of several methods one below the other.

Frames are uint8 NHWC. A GIF has one palette of at most 256 colours for all its frames, fitted to
all of them, and no dithering: a colour that stands still in the frames stands still in the file.
Frames with at most 256 colours in all come back exactly. Files are written at once or not at all.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxsurf.errors import check_least
from jaxsurf.frames.decode import Frames
from jaxsurf.images import pixels
from jaxsurf.workdir import replacing

FRAME_MS = 60.0
# Browsers slow down frames that are shorter than this to 100 ms.
SHORTEST_FRAME_MS = 20.0
# GIF counts time in hundredths of a second.
TICK_MS = 10
LABEL_HEIGHT = 18
GAP = 2

Picture = UInt8[np.ndarray, "down along channel"]


def gif(frames: Frames, *, frame_ms: float = FRAME_MS) -> bytes:
    """Return an endlessly repeated GIF, each frame shown for so many milliseconds.

    A GIF holds equal frames in a row as one longer frame, so it may have fewer frames than
    `frames`; its total duration is always `frame_ms` times their number, to the nearest 10 ms.
    """
    pixels.check(frames, origin="an animation")
    check_least("the time of a frame in milliseconds", frame_ms, SHORTEST_FRAME_MS)
    # A palette starts as a median cut, which is rough, and is improved by k-means until at most one
    # pixel in a thousand changes its colour.
    few = max(1, frames[..., 0].size // 1000)
    stacked = Image.fromarray(frames.reshape(-1, *frames.shape[2:]))
    made = stacked.quantize(256, kmeans=few, dither=Image.Dither.NONE)
    height, width = frames.shape[1:3]
    pages = [made.crop((0, top, width, top + height)) for top in range(0, made.height, height)]
    # In whole ticks, so that no rounding adds up.
    ends = np.rint(np.arange(len(frames) + 1) * frame_ms / TICK_MS).astype(int)
    content = io.BytesIO()
    pages[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=pages[1:],
        duration=(np.diff(ends) * TICK_MS).tolist(),
        loop=0,
        optimize=False,
    )
    return content.getvalue()


def write_png(path: Path, picture: Picture) -> None:
    """Write one uint8 picture as PNG."""
    import imageio.v3 as iio

    with replacing(path) as temporary:
        iio.imwrite(temporary, picture, extension=".png")


def strip(rows: Mapping[str, Frames], *, num_shown: int = 9, scale: int = 2) -> Picture:
    """Return evenly chosen frames side by side on white, a row for each animation by its label.

    All are of one size; the first and the last frame are shown, enlarged by `scale` as all are.
    """
    pictures = []
    for frames in rows.values():
        places = np.linspace(0, len(frames) - 1, min(num_shown, len(frames)))
        large = frames[np.rint(places).astype(int)].repeat(scale, axis=1).repeat(scale, axis=2)
        gapped = np.pad(large, [(0, 0), (0, GAP), (0, GAP), (0, 0)], constant_values=255)
        pictures.append(np.concatenate(list(gapped), axis=1))
    width = max(picture.shape[1] for picture in pictures)
    font = ImageFont.load_default(size=LABEL_HEIGHT - 5)
    bands = []
    for label, picture in zip(rows, pictures, strict=True):
        band = Image.new("RGB", (width, LABEL_HEIGHT), "white")
        place = (3, LABEL_HEIGHT // 2)
        ImageDraw.Draw(band).text(place, label, fill="black", font=font, anchor="lm")
        right = [(0, 0), (0, width - picture.shape[1]), (0, 0)]
        bands += [np.array(band), np.pad(picture, right, constant_values=255)]
    return np.concatenate(bands)
