"""What the eye misses first in a reconstruction, as numbers: sharp edges, and colour.

A mean squared error mixes the two. A blurred image keeps its colours, an outline without its fill
keeps its edges; here each loss has a measure of its own that hardly sees the other. Images are
NHWC, RGB, uint8 or float in [0, 1]; what is measured comes as one value an image, and the caller
reduces.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Num
from scipy import ndimage

from jaxsurf.images import pixels

Images = Num[np.ndarray, "image height width 3"]
Values = Float[np.ndarray, "image"]

# Luminance of R, G, B as stored, gamma and all (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)
# Images at once: in float64, the work on 256 of 64 x 64 takes some 50 MiB.
CHUNK = 256


def sharpness(images: Images, *, share: float = 0.05) -> Values:
    """Return how steep the strongest edges of each image are.

    The mean magnitude of the luminance's Sobel gradient over the pixels where it is largest:
    Tenengrad's gradient (Krotkov, "Focusing", IJCV 1, 1987; compared with others in Pertuz et al.,
    "Analysis of focus measure operators for shape-from-focus", Pattern Recognition 46, 2013), with
    a share of the pixels in place of a threshold, so that a weak edge counts as weak rather than
    not at all. A reconstruction's, divided by its original's, is 1 where it is perfect and less
    where it is blurred.

    Args:
        images: at least 3 x 3 pixels.
        share: of the pixels, above 0 and at most 1. The default is what the arm's outline takes in
            its images of 64 pixels, and nothing of the background.

    Returns:
        Change of luminance from 0 to 1 per pixel: 0.5 on a step from black to white, 0 for an image
        of one colour.
    """
    parts = []
    for some in _chunks(images):
        luminance = some @ np.array(LUMINANCE)
        # Sobel's masks are a central difference across, (1, 2, 1) along, so 8 times the slope.
        down, across = (
            ndimage.correlate1d(ndimage.correlate1d(luminance, (-1, 0, 1), axis), (1, 2, 1), along)
            for axis, along in ((1, 2), (2, 1))
        )
        gradients = np.hypot(down, across)[:, 1:-1, 1:-1].reshape(len(some), -1) / 8
        number = max(1, round(share * gradients.shape[1]))
        parts.append(np.partition(gradients, -number, axis=1)[:, -number:].mean(axis=1))
    return np.concatenate(parts)


def colour_error(images: Images, references: Images, *, window: int = 8) -> Values:
    """Return how far the local mean colour of each image is from that of its reference.

    The mean absolute difference, over channels and places, of means over square windows: what is
    left after a box blur of both. Blurred edges hardly change it, a lost fill does.

    Args:
        images: what is measured.
        references: of the same shape.
        window: side of a window, in pixels. The default is wider than a blurred edge, and about as
            wide as the object in 64-pixel images of the arm.

    Returns:
        On the 0-255 scale.
    """
    parts = []
    first, last = window // 2, (window - 1) // 2  # centres of windows that lie inside an image
    inside = slice(first, -last or None)
    for some, other in zip(_chunks(images), _chunks(references), strict=True):
        means = ndimage.uniform_filter((some - other) * pixels.PEAK, window, axes=(1, 2))
        parts.append(np.abs(means[:, inside, inside]).mean(axis=(1, 2, 3)))
    return np.concatenate(parts)


def _chunks(images: Images) -> Iterator[Float[np.ndarray, "some height width 3"]]:
    """Return images in [0, 1], some at a time."""
    peak = pixels.PEAK if images.dtype == np.uint8 else 1.0
    for start in range(0, len(images), CHUNK):
        yield images[start : start + CHUNK] / peak
