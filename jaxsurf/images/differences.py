"""How far images of one set are from one another.

Images follow the convention of `jaxsurf.images.pixels`. A difference is the root of the mean
squared difference over all values of two images, on 0-255; it is 0 where they are equal. Squares
are added up in float64, where whole numbers of this size are exact, so that the result depends on
neither the order of adding nor the size of a portion.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxsurf import mapped
from jaxsurf.errors import UserError
from jaxsurf.images import pixels

# Pixel values that are compared at once: 8 MB of differences, which a processor's cache nearly
# holds. Larger portions take longer.
_CHUNK = 1_000_000


def rms(
    images: UInt8[np.ndarray, "image height width 3"], pairs: Int[np.ndarray, "pair 2"]
) -> Float[np.ndarray, "pair"]:
    """Return the root-mean-square difference of each pair of images, on 0-255.

    Pairs are compared in portions: beside the result, memory for one portion (or for one pair of
    images larger than that) is used, however many pairs there are.

    Args:
        images: the pixels.
        pairs: the numbers of two images each.

    Raises:
        UserError: the pixels do not follow the convention, or a number is that of no image.
    """
    pixels.check(images, origin="a set to compare")
    pairs = np.asarray(pairs)
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < len(images)):
        raise UserError(
            f"images {pairs.min()} to {pairs.max()} are compared, but there are {len(images)}",
            cure=f"use numbers from 0 to {len(images) - 1}",
        )
    num_values = images[0].size
    rows = max(1, _CHUNK // num_values)
    squares = np.empty(len(pairs))
    for start in range(0, len(pairs), rows):
        some = pairs[start : start + rows]
        both = mapped.take(images, some).reshape(len(some), 2, num_values)
        # uint8 would wrap around.
        difference = np.subtract(both[:, 0], both[:, 1], dtype=np.float64)
        squares[start : start + rows] = np.vecdot(difference, difference)
    return np.sqrt(squares / num_values)
