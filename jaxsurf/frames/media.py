"""Frames -> files: GIF, PNG, and strips of several methods one below the other.

Frames are uint8 NHWC, in red, green and blue; with an opacity where that is said. A GIF has one
palette of at most 256 colours for all its frames, fitted to all of them, and no dithering: a colour
that stands still in the frames stands still in the file. Frames with at most 256 colours in all
come back exactly. Files are written at once or not at all.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxsurf.errors import check_least
from jaxsurf.frames.decode import Frames
from jaxsurf.images import formats
from jaxsurf.workdir import replacing, replacing_folder

FRAME_MS = 60.0
# Browsers slow down frames that are shorter than this to 100 ms.
SHORTEST_FRAME_MS = 20.0
# GIF counts time in hundredths of a second.
TICK_MS = 10
LABEL_HEIGHT = 18
GAP = 2
LARGEST_DOUBLED = 96  # pixels

Picture = UInt8[np.ndarray, "down along channel"]


def gif(frames: Frames, *, frame_ms: float = FRAME_MS) -> bytes:
    """Return an endlessly repeated GIF, each frame shown for so many milliseconds.

    Where frames have an opacity as their fourth channel, what is less than half opaque is left out.
    Equal frames in a row become one longer frame: the total duration is always `frame_ms` times the
    number of frames, to the nearest 10 ms.
    """
    check_least("the time of a frame in milliseconds", frame_ms, SHORTEST_FRAME_MS)
    # A palette starts as a median cut, which is rough, and is improved by k-means until at most one
    # pixel in a thousand changes its colour.
    few = max(1, frames[..., 0].size // 1000)
    rows = frames.reshape(-1, *frames.shape[2:])
    clear = rows[..., 3] < 128 if rows.shape[-1] == 4 else np.zeros(0, bool)
    # Whatever colour stands where nothing is seen would take a place in the palette.
    colours = rows[..., :3] * ~clear[..., None] if clear.any() else rows[..., :3]
    stacked = Image.fromarray(np.ascontiguousarray(colours))
    made = stacked.quantize(255 if clear.any() else 256, kmeans=few, dither=Image.Dither.NONE)
    options: dict[str, Any] = {}
    if clear.any():
        places = np.array(made)
        places[clear] = 255
        palette = made.getpalette() or []
        made = Image.fromarray(places, mode="P")
        made.putpalette(palette + [255] * (768 - len(palette)))
        options = {"transparency": 255, "disposal": 2}  # each frame begins with nothing
    height, width = frames.shape[1:3]
    pages = [made.crop((0, top, width, top + height)) for top in range(0, made.height, height)]
    # In whole ticks, so that no rounding adds up.
    ends = np.rint(np.arange(len(frames) + 1) * frame_ms / TICK_MS).astype(int)
    options |= {"duration": (np.diff(ends) * TICK_MS).tolist(), "loop": 0, "optimize": False}
    return _saved(pages, "GIF", **options)


def apng(frames: Frames, *, frame_ms: float = FRAME_MS) -> bytes:
    """Return an endlessly repeated animated PNG, which keeps every value and the opacity."""
    return _saved([*map(Image.fromarray, frames)], "PNG", duration=round(frame_ms), loop=0)


def _saved(pages: list[Image.Image], kind: str, **options: Any) -> bytes:  # noqa: ANN401
    content = io.BytesIO()
    pages[0].save(content, kind, save_all=True, append_images=pages[1:], **options)
    return content.getvalue()


def write_frames(folder: Path, frames: Frames) -> None:
    """Write each frame as a PNG of its own: `0000.png`, `0001.png`, ..."""
    with replacing_folder(folder) as fresh:
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(fresh / f"{number:04}.png")


def write_film(path: Path, frames: Frames, *, frame_ms: float = FRAME_MS) -> None:
    """Write frames in red, green and blue as MP4 (H.264), which every browser plays.

    Sides are made even, as the format needs them, by repeating the last line. Without the package
    `av`, a `UserError` is raised.
    """
    formats.check_films("MP4")
    import imageio.v3 as iio

    even = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    options = {"codec": "libx264", "fps": 1000 / frame_ms, "out_pixel_format": "yuv420p"}
    padded = np.pad(frames, even, mode="edge")
    with replacing(path) as temporary:
        made = iio.imwrite("<bytes>", padded, extension=".mp4", plugin="pyav", **options)
        temporary.write_bytes(made)


def write_stack(path: Path, frames: Shaped[np.ndarray, "frame height width channel"]) -> None:
    """Write frames of any type and number of channels as a TIFF that ImageJ opens as a stack."""
    import tifffile

    kept = frames if frames.dtype in (np.uint8, np.uint16) else frames.astype(np.float32)
    with replacing(path) as temporary:
        axes = np.moveaxis(kept, -1, 1)
        tifffile.imwrite(temporary, axes, imagej=True, metadata={"axes": "TCYX"})


def write_png(path: Path, picture: Picture) -> None:
    """Write one uint8 picture as PNG."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, "PNG")


def strip(rows: Mapping[str, Frames], *, num_shown: int = 9, scale: int = 0) -> Picture:
    """Return evenly chosen frames side by side on white, a row for each animation by its label.

    All are of one size; `scale` enlarges them: if none is given by 2, where a frame is not large.
    """
    height, width = next(iter(rows.values())).shape[1:3]
    scale = scale or (2 if max(height, width) <= LARGEST_DOUBLED else 1)
    along = min(num_shown, max(map(len, rows.values()))) * (scale * width + GAP)
    font, bands = ImageFont.load_default(size=LABEL_HEIGHT - 5), []
    for label, frames in rows.items():
        places = np.linspace(0, len(frames) - 1, min(num_shown, len(frames)))
        large = frames[np.rint(places).astype(int)].repeat(scale, axis=1).repeat(scale, axis=2)
        gapped = np.pad(large, [(0, 0), (0, GAP), (0, GAP), (0, 0)], constant_values=255)
        picture = np.concatenate(list(gapped), axis=1)
        band = Image.new("RGB", (along, LABEL_HEIGHT), "white")
        place = (3, LABEL_HEIGHT // 2)
        ImageDraw.Draw(band).text(place, label, fill="black", font=font, anchor="lm")
        right = [(0, 0), (0, along - picture.shape[1]), (0, 0)]
        bands += [np.array(band), np.pad(picture, right, constant_values=255)]
    return np.concatenate(bands)
