"""What many images have in common: their mean, and how much they differ from it.

Both are sums of whole numbers, taken a few megabytes at a time: exact, in any order.
"""

import numpy as np
from jaxtyping import Float, UInt8

from jaxsurf import mapped
from jaxsurf.images import pixels

# Images whose squares are summed at once: 16 bytes a value for as many, not for a million.
VARIANCE_CHUNK = 256

Images = UInt8[np.ndarray, "image height width channel"]


def mean(images: Images) -> Float[np.ndarray, "height width channel"]:
    """Return the mean image, on [0, 1]."""
    total = np.zeros(images.shape[1:], np.uint64)
    for some in mapped.portions(images):
        total += some.sum(axis=0, dtype=np.uint64)
    return total / len(images) / pixels.PEAK


def variance(images: Images) -> float:
    """Return the error, on [0, 1], of answering every image with the mean image."""
    total = np.zeros(images.shape[1:], np.uint64)
    squares = np.zeros_like(total)
    for some in mapped.portions(images, rows=VARIANCE_CHUNK):
        chunk = some.astype(np.uint64)
        total += chunk.sum(axis=0)
        squares += np.square(chunk).sum(axis=0)
    # In whole numbers, so that the difference of squares loses nothing.
    variances = (len(images) * squares - np.square(total)) / len(images) ** 2
    return float(variances.mean()) / pixels.PEAK**2
