"""The one pixel convention.

Images are NHWC, RGB. At rest and on disk they are uint8; inside JAX they are float32 in [0, 1].
Conversion divides by 255 and back rounds to the nearest value, so uint8 -> float -> uint8 is exact.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxsurf.errors import UserError

PEAK = 255.0


def to_float(images: UInt8[Array, "*shape"] | np.ndarray) -> Float[Array, "*shape"]:
    """Return uint8 pixels as float32 in [0, 1]."""
    return jnp.asarray(images).astype(jnp.float32) / PEAK


def to_uint8(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """Return float pixels as uint8: clipped to [0, 1], rounded to the nearest value."""
    return jnp.round(jnp.clip(images, 0.0, 1.0) * PEAK).astype(jnp.uint8)


def check(images: np.ndarray, *, origin: str) -> UInt8[np.ndarray, "image height width channel"]:
    """Return images as they are if they follow the convention.

    Args:
        images: the array to look at.
        origin: where it came from, for the message.

    Raises:
        UserError: the array is not uint8, not NHWC with three channels, or holds no image.
    """
    if images.dtype != np.uint8:
        raise UserError(
            f"{origin} holds {images.dtype} values, but images are uint8",
            cure="convert them to 0..255 first",
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(
            f"{origin} has shape {images.shape}, but images are (number, height, width, 3)",
            cure="put the channels last, three of them",
        )
    if not images.size:
        raise UserError(f"{origin} holds no image")
    return images
