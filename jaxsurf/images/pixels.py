"""The one pixel convention, and what many images have in common.

Images are NHWC, RGB. At rest and on disk they are uint8; inside JAX they are float32 in [0, 1], and
uint8 -> float -> uint8 is exact. Means, variances and differences are sums of whole numbers, taken
a few megabytes at a time: exact, whatever the order of adding and the size of a chunk.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import storage

PEAK = 255.0
# Pixel values that are squared at once: 8 MB of float64, which a processor's cache nearly holds.
_VALUES = 1_000_000

# Pixel values of pairs of images, half of them, that are in memory at once.
_HELD = 32 * 2**20

Images = UInt8[np.ndarray, "image height width channel"]


def to_float(images: UInt8[Array, "*shape"] | np.ndarray) -> Float[Array, "*shape"]:
    """Return uint8 pixels as float32 in [0, 1]."""
    return jnp.asarray(images).astype(jnp.float32) / PEAK


def to_uint8(images: Float[Array | np.ndarray, "*shape"]) -> UInt8[Array, "*shape"]:
    """Return float pixels as uint8: clipped to [0, 1], rounded to the nearest value."""
    return jnp.round(jnp.clip(images, 0.0, 1.0) * PEAK).astype(jnp.uint8)


def check(images: np.ndarray, *, origin: str) -> Images:
    """Return images as they are; refuse others than uint8, NHWC, RGB, and no image at all."""
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


def mean(images: Images) -> Float[np.ndarray, "height width channel"]:
    """Return the mean image, on [0, 1]."""
    total = np.zeros(images.shape[1:], np.uint64)
    for some in storage.chunks(images):
        total += some.sum(axis=0, dtype=np.uint64)
    return total / len(images) / PEAK


def variance(images: Images) -> float:
    """Return the error, on [0, 1], of answering every image with the mean image."""
    total = np.zeros(images.shape[1:], np.uint64)
    squares = np.zeros_like(total)
    for some in storage.chunks(images, rows=max(1, _VALUES // images[0].size)):
        wide = some.astype(np.uint64)
        total += wide.sum(axis=0)
        squares += np.square(wide).sum(axis=0)
    # In whole numbers, so that the difference of squares loses nothing.
    variances = (len(images) * squares - np.square(total)) / len(images) ** 2
    return float(variances.mean()) / PEAK**2


def rms(
    images: UInt8[np.ndarray, "image *values"], pairs: Int[np.ndarray, "pair 2"]
) -> Float[np.ndarray, "pair"]:
    """Return the root of the mean squared difference of pairs of images, on 0-255."""
    num_values = images[0].size
    rows, held = max(1, _VALUES // num_values), max(1, _HELD // num_values)
    squares = np.empty(len(pairs))
    for first in range(0, len(pairs), held):
        # Pairs share images, each of which may have to be read from a disk.
        numbers, places = np.unique(pairs[first : first + held], return_inverse=True)
        some = storage.take(images, numbers).reshape(len(numbers), num_values)
        places = places.reshape(-1, 2)
        for start in range(0, len(places), rows):
            one, other = places[start : start + rows].T
            # uint8 would wrap around.
            difference = np.subtract(some[one], some[other], dtype=np.float64)
            squares[first + start :][: len(one)] = np.vecdot(difference, difference)
    return np.sqrt(squares / num_values)
