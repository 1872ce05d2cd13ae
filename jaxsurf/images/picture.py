"""One picture: from an encoded file, or an array of its pixels, to uint8 RGB.

Whatever the file holds becomes three channels of eight bits: grey is repeated, a palette is looked
up, transparency is laid over white, 16-bit grey is rounded, and the camera's note of which side is
up is obeyed. To fit a square, a picture is cut to its centred square, then resized.
"""

import io
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxsurf.errors import UserError

Pixels = UInt8[np.ndarray, "height width 3"]
WHITE = (255, 255, 255, 255)
# What Pillow raises where a file is damaged: SyntaxError for PNG, those of `struct` and of tuples
# and numbers that are not what they should be for notes inside JPEG and PNG.
BROKEN = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError, struct.error),
    *(TypeError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError),
)
# 65535 / 255: the brightest 16-bit value becomes the brightest 8-bit one.
SIXTEEN_TO_EIGHT = 257


def open_image(path: str | Path, *, side: int | None = None) -> Pixels:
    """Return the pixels of one picture file.

    Args:
        path: a file in any format that Pillow reads, PNG and JPEG among them.
        side: height and width to fit it to, in pixels; None keeps its own.

    Raises:
        UserError: the file is missing or is no picture that can be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return decode(data, origin=str(path), side=side)


def decode(data: bytes, *, origin: str, side: int | None = None) -> Pixels:
    """Return the pixels of an encoded picture.

    Args:
        data: the content of a picture file.
        origin: where it came from, for the message.
        side: height and width to fit it to, in pixels; None keeps its own.

    Raises:
        UserError: it is no picture that can be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            rgb = _to_rgb(upright, origin)
    except UnidentifiedImageError as error:
        raise UserError(
            f"{origin} is in no picture format that is known", cure="remove or replace it"
        ) from error
    except BROKEN as error:
        raise UserError(
            f"{origin} is not a picture that can be read ({error})", cure="remove or replace it"
        ) from error
    return np.asarray(rgb if side is None else _fit(rgb, side))


def from_array(array: Shaped[np.ndarray, "..."], *, origin: str, side: int | None = None) -> Pixels:
    """Return the pixels of a picture given as an array.

    Args:
        array: uint8, (height, width) or (height, width, channels) with 1 or 3 channels.
        origin: where it came from, for the message.
        side: height and width to fit it to, in pixels; None keeps its own.

    Raises:
        UserError: the array is something else.
    """
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 1)
    if grey:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=-1)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise UserError(
            f"{origin} holds {array.dtype} pictures of shape {array.shape}, "
            "but uint8 (height, width, 1 or 3) is needed"
        )
    if side is None or array.shape[:2] == (side, side):
        return array
    return np.asarray(_fit(Image.fromarray(array), side))


def resize(
    images: UInt8[np.ndarray, "image height width 3"], side: int | None
) -> UInt8[np.ndarray, "image side side 3"]:
    """Return pictures fitted to a square; as they are if `side` is None or already theirs."""
    if side is None or images.shape[1:3] == (side, side):
        return images
    return np.stack([np.asarray(_fit(Image.fromarray(image), side)) for image in images])


def _fit(image: Image.Image, side: int) -> Image.Image:
    """Return the picture's centred square, resized without aliasing."""
    if side < 1:
        raise UserError(f"side is {side}, but must be at least 1")
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    # Cut first: a resize of a region would let in some of what lies around it.
    square = image.crop((left, top, left + edge, top + edge))
    return square.resize((side, side), Image.Resampling.LANCZOS)


def _to_rgb(image: Image.Image, origin: str) -> Image.Image:
    """Return a picture of any mode as eight-bit RGB."""
    if image.mode.startswith("I;16"):
        eight = np.rint(np.asarray(image) / SIXTEEN_TO_EIGHT).astype(np.uint8)
        return Image.fromarray(eight).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(
            f"{origin} holds 32-bit values, whose white is unknown", cure="save it with 8 bits"
        )
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, WHITE)
        return Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
