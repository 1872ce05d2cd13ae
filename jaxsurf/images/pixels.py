"""The one pixel convention, and what many images have in common.

Images are NHWC with one channel or more. At rest they are uint8, and models may be given the same
images in more depth: uint16, whose white is 65,535, or float32, whose white is 1. Inside JAX they
are float32 in [0, 1], and uint8 -> float -> uint8 is exact. Variances and differences are sums of
whole numbers: exact, whatever the size of a chunk.
"""

from dataclasses import dataclass
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Int, Shaped, UInt8

from jaxsurf.errors import UserError
from jaxsurf.images import storage

PEAK = 255.0
# Pixel values that are squared at once: 8 MB of float64, which a processor's cache nearly holds.
_VALUES = 1_000_000

# Pixel values of pairs of images, half of them, that are in memory at once.
_HELD = 32 * 2**20

Images = UInt8[np.ndarray, "image height width channel"]
_Pixels = TypeVar("_Pixels", np.ndarray, Array)


@dataclass(frozen=True)
class Look:
    """How images of any channels are shown in red, green and blue.

    One channel is shown in grey, two in magenta and green. With `alpha`, the last channel of images
    is their opacity, by which the others are multiplied; they are shown on white.
    """

    channels: tuple[int, ...] = (0, 1, 2)
    alpha: bool = False

    @classmethod
    def usual(cls, num_channels: int, *, alpha: bool = False) -> "Look":
        """Return the look of images of which nothing else is known: their first three channels."""
        return cls(tuple(range(min(3, num_channels - alpha))), alpha)

    def rgb(self, images: _Pixels) -> _Pixels:
        """Return images with three channels, in the type of the images."""
        if self == RGB and images.shape[-1] == 3:
            return images
        red, green, blue = {1: (0, 0, 0), 2: (0, 1, 0), 3: (0, 1, 2)}[len(self.channels)]
        colours = images[..., np.array(self.channels)[[red, green, blue]]]
        if not self.alpha:
            return colours
        white = 255 if images.dtype == np.uint8 else 1
        # What is premultiplied is never above its opacity, but for what a model makes of it.
        return colours + (white - images[..., -1:]).clip(0, white - colours)

    def straight(self, images: Images) -> Images:
        """Return images that have an opacity in red, green, blue and opacity, not multiplied."""
        opacity = images[..., -1:]
        colours = Look(self.channels).rgb(images) * (255.0 / np.maximum(opacity, 1))
        return np.concatenate([colours.clip(0, 255).round().astype(np.uint8), opacity], axis=-1)


RGB = Look()


def peak(dtype: DTypeLike) -> float:
    """Return the value of white."""
    kind: np.dtype = np.dtype(dtype)
    return 1.0 if kind.kind == "f" else float(np.iinfo(kind.type).max)


def to_float(images: Shaped[Array, "*shape"] | np.ndarray) -> Float[Array, "*shape"]:
    """Return pixels of any depth as float32 in [0, 1]."""
    return jnp.asarray(images).astype(jnp.float32) / peak(images.dtype)


def to_uint8(images: Float[Array | np.ndarray, "*shape"]) -> UInt8[Array, "*shape"]:
    """Return float pixels as uint8: clipped to [0, 1], rounded to the nearest value."""
    return jnp.round(jnp.clip(images, 0.0, 1.0) * PEAK).astype(jnp.uint8)


def check(images: np.ndarray, *, origin: str) -> Images:
    """Return images as they are; refuse others than uint8, NHWC, and no image at all."""
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"{origin} holds {images.dtype} values of shape {images.shape}, but images are uint8 "
            "of (number, height, width, channels)",
            cure="convert them to 0..255, and put the channels last",
        )
    if not images.size:
        raise UserError(f"{origin} holds no image")
    return images


def mean(
    images: Shaped[np.ndarray, "image height width channel"],
) -> Float[np.ndarray, "height width channel"]:
    """Return the mean image, on [0, 1], of images of any depth."""
    total = np.zeros(images.shape[1:], np.float64 if images.dtype.kind == "f" else np.uint64)
    for some in storage.chunks(images):
        total += some.sum(axis=0, dtype=total.dtype)
    return total / len(images) / peak(images.dtype)


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
    squares = [np.empty(0)]
    for some_pairs in storage.chunks(pairs, rows=held):
        # Pairs share images, each of which may have to be read from a disk.
        numbers, places = np.unique(some_pairs, return_inverse=True)
        some = storage.take(images, numbers).reshape(len(numbers), num_values)
        for few in storage.chunks(places.reshape(-1, 2), rows=rows):
            # uint8 would wrap around.
            difference = np.subtract(some[few[:, 0]], some[few[:, 1]], dtype=np.float64)
            squares.append(np.vecdot(difference, difference))
    return np.sqrt(np.concatenate(squares) / num_values)
