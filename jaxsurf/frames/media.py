"""Frames -> files: GIF, PNG, and strips of several methods one below the other.

Frames are uint8 NHWC. A GIF has one palette of at most 256 colours for all its frames, fitted to
all of them, and no dithering: a colour that stands still in the frames stands still in the file.
Frames with at most 256 colours in all come back exactly. Files are written at once or not at all.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import KDTree

from jaxsurf.errors import UserError
from jaxsurf.frames.decode import Frames
from jaxsurf.writing import replacing

FRAME_MS = 60.0
# Browsers slow down frames that are shorter than this to 100 ms.
SHORTEST_FRAME_MS = 20.0
# GIF counts time in hundredths of a second.
TICK_MS = 10
MOST_COLOURS = 256
# Median cut is a rough start; the mean error hardly falls after ten rounds of k-means.
PALETTE_ROUNDS = 10
LABEL_HEIGHT = 18
GAP = 2

Picture = UInt8[np.ndarray, "height width channel"]


def write_gif(path: Path, frames: Frames, *, frame_ms: float = FRAME_MS) -> None:
    """Write an endlessly repeated GIF.

    A GIF holds equal frames in a row as one longer frame, so it may have fewer frames than
    `frames`; its total duration is always `frame_ms` times their number, to the nearest 10 ms.

    Args:
        path: where to.
        frames: at least one frame.
        frame_ms: how long each frame is shown, in milliseconds.

    Raises:
        UserError: there is no frame, frames are too short, or the file can't be written.
    """
    _check_frames(frames)
    if not SHORTEST_FRAME_MS <= frame_ms < math.inf:
        raise UserError(
            f"a frame can't be shown for {frame_ms:g} ms: browsers slow down what is shorter",
            cure=f"ask for {SHORTEST_FRAME_MS:g} ms or more",
        )
    palette, indices = quantise(frames)
    first, *others = [_paletted(index, palette) for index in indices]
    with replacing(path) as temporary:
        first.save(
            temporary,
            save_all=True,
            append_images=others,
            duration=durations_ms(len(frames), frame_ms=frame_ms),
            loop=0,
            optimize=False,
        )


def write_png(path: Path, picture: Picture) -> None:
    """Write one uint8 picture as PNG.

    Raises:
        UserError: the file can't be written.
    """
    with replacing(path) as temporary:
        iio.imwrite(temporary, picture, extension=".png")


def durations_ms(num_frames: int, *, frame_ms: float) -> list[int]:
    """Return the duration of each frame in whole ticks of 10 ms, so that no rounding adds up."""
    ends = np.rint(np.arange(num_frames + 1) * frame_ms / TICK_MS).astype(int)
    return (np.diff(ends) * TICK_MS).tolist()


def quantise(
    frames: Frames,
) -> tuple[UInt8[np.ndarray, "colour 3"], UInt8[np.ndarray, "frame height width"]]:
    """Return one palette for all frames, and which of its colours each pixel has.

    The palette starts as a median cut and is improved by k-means over the distinct colours,
    weighted by how often they occur (Lloyd, Least squares quantization in PCM, 1982).
    """
    packed = frames.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    codes, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.uint8)
    palette = colours if len(colours) <= MOST_COLOURS else _fitted(colours, counts)
    nearest = _nearest(colours, palette).astype(np.uint8)
    return palette, nearest[places].reshape(frames.shape[:3])


def strip(rows: Mapping[str, Frames], *, num_shown: int = 9, scale: int = 2) -> Picture:
    """Return evenly chosen frames side by side, a labelled row for each animation.

    Args:
        rows: animations by their label, all of the same height and width.
        num_shown: how many frames of each, first and last included; fewer where there are fewer.
        scale: how many pixels of the strip a pixel of a frame is wide.

    Returns:
        The picture, on white.

    Raises:
        UserError: there is no row or no frame.
    """
    if not rows:
        raise UserError("a strip needs at least one animation")
    pictures = [_row(frames, num_shown=num_shown, scale=scale) for frames in rows.values()]
    width = max(picture.shape[1] for picture in pictures)
    bands = [
        band
        for label, picture in zip(rows, pictures, strict=True)
        for band in (_label(label, width=width), _widened(picture, width=width))
    ]
    return np.concatenate(bands)


def _row(frames: Frames, *, num_shown: int, scale: int) -> Picture:
    """Return evenly chosen frames side by side."""
    _check_frames(frames)
    places = np.linspace(0, len(frames) - 1, min(num_shown, len(frames)))
    large = frames[np.rint(places).astype(int)].repeat(scale, axis=1).repeat(scale, axis=2)
    gapped = np.pad(large, [(0, 0), (0, GAP), (0, GAP), (0, 0)], constant_values=255)
    return np.concatenate(list(gapped), axis=1)


def _widened(picture: Picture, *, width: int) -> Picture:
    """Return a picture with white on its right, up to a width."""
    return np.pad(picture, [(0, 0), (0, width - picture.shape[1]), (0, 0)], constant_values=255)


def _label(text: str, *, width: int) -> Picture:
    """Return black text on a white band."""
    band = Image.new("RGB", (width, LABEL_HEIGHT), "white")
    font = ImageFont.load_default(size=LABEL_HEIGHT - 5)
    ImageDraw.Draw(band).text((3, LABEL_HEIGHT // 2), text, fill="black", font=font, anchor="lm")
    return np.array(band)


def _check_frames(frames: Frames) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise UserError(
            f"frames of shape {frames.shape} and type {frames.dtype} can't be written",
            cure="give uint8 frames (number, height, width, 3), at least one",
        )


def _fitted(
    colours: UInt8[np.ndarray, "distinct 3"], counts: Int[np.ndarray, "distinct"]
) -> UInt8[np.ndarray, "colour 3"]:
    """Return the palette that k-means finds, starting from a median cut of the colours."""
    start = Image.fromarray(colours[None]).quantize(MOST_COLOURS).getpalette() or []
    palette = np.unique(np.array(start, np.float64).reshape(-1, 3), axis=0)
    for _ in range(PALETTE_ROUNDS):
        palette = _centroids(colours, counts, _nearest(colours, palette), len(palette))
    return np.rint(palette).astype(np.uint8)


def _centroids(
    colours: UInt8[np.ndarray, "distinct 3"],
    counts: Int[np.ndarray, "distinct"],
    owners: Int[np.ndarray, "distinct"],
    num: int,
) -> Float[np.ndarray, "colour 3"]:
    """Return the weighted mean of each palette colour's own colours; drop those without any."""
    weights = np.bincount(owners, counts, minlength=num)
    sums = [np.bincount(owners, counts * channel, minlength=num) for channel in colours.T]
    return (np.stack(sums, axis=-1) / np.maximum(weights, 1)[:, None])[weights > 0]


def _nearest(
    colours: UInt8[np.ndarray, "distinct 3"], palette: Float[np.ndarray, "colour 3"]
) -> Int[np.ndarray, "distinct"]:
    """Return the nearest palette colour of each colour."""
    return np.asarray(KDTree(palette).query(colours)[1])


def _paletted(
    index: UInt8[np.ndarray, "height width"], palette: UInt8[np.ndarray, "colour 3"]
) -> Image.Image:
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    return image
