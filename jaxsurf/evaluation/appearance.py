"""What the eye misses first in a reconstruction, as numbers: sharp edges, and colour.

A mean squared error mixes the two. A blurred image keeps its colours, an outline without its fill
keeps its edges; here each loss has a measure of its own that hardly sees the other. Images are
NHWC, RGB, uint8 or float in [0, 1]; what is measured comes as one value an image, and the caller
reduces.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num

from jaxsurf.errors import UserError
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
    not at all. But for what happens at the border, no blur raises it: averages of values have a
    k largest whose sum is at most that of the values themselves. A reconstruction's, divided by its
    original's, is 1 where it is perfect and less where it is blurred.

    Args:
        images: at least 3 x 3 pixels.
        share: of the pixels, above 0 and at most 1. The default is what the arm's outline takes in
            its images of 64 pixels, and nothing of the background.

    Returns:
        Change of luminance from 0 to 1 per pixel: 0.5 on a step from black to white, 0 for an image
        of one colour.

    Raises:
        UserError: the images are not of this kind, or there is no such share.
    """
    _check(images, smallest=3)
    if not 0 < share <= 1:
        raise UserError(f"the share of pixels is {share:g}, but must be above 0 and at most 1")

    def of_some(some: Images) -> Values:
        gradients = _gradients(_on_one(some) @ np.array(LUMINANCE)).reshape(len(some), -1)
        number = max(1, round(share * gradients.shape[1]))
        return np.partition(gradients, -number, axis=1)[:, -number:].mean(axis=1)

    return _in_chunks(of_some, images)


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

    Raises:
        UserError: the images are not of this kind, smaller than the window, or differ in shape.
    """
    if window < 1:
        raise UserError(f"the window is {window} pixels, but must be at least 1")
    _check(images, smallest=window)
    _check(references, smallest=window)
    if images.shape != references.shape:
        raise UserError(
            f"images of shape {images.shape} can't be compared with references of shape "
            f"{references.shape}",
            cure="give one reference an image, of the same size",
        )

    def of_some(some: Images, other: Images) -> Values:
        difference = (_on_one(some) - _on_one(other)) * pixels.PEAK
        return np.abs(_window_means(difference, window)).mean(axis=(1, 2, 3))

    return _in_chunks(of_some, images, references)


def _on_one(images: Images) -> Float[np.ndarray, "image height width 3"]:
    """Return images in [0, 1]."""
    return images / pixels.PEAK if images.dtype == np.uint8 else images.astype(np.float64)


def _gradients(
    luminance: Float[np.ndarray, "image height width"],
) -> Float[np.ndarray, "image inner_height inner_width"]:
    """Return the Sobel gradient's magnitude at all pixels but the border's, per pixel.

    Sobel's masks are a central difference across, (1, 2, 1) along, so 8 times the slope.
    """
    down = luminance[:, 2:] - luminance[:, :-2]
    across = luminance[:, :, 2:] - luminance[:, :, :-2]
    vertical = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    horizontal = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    return np.hypot(vertical, horizontal) / 8


def _window_means(
    values: Float[np.ndarray, "image height width 3"], window: int
) -> Float[np.ndarray, "image windows_down windows_across 3"]:
    """Return the mean of every window that lies within the image, by running sums."""
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (1, 0)
        sums = np.moveaxis(np.pad(values.cumsum(axis), padding), axis, 0)
        values = np.moveaxis(sums[window:] - sums[:-window], 0, axis) / window
    return values


def _in_chunks(measure: Callable[..., Values], *images: Images) -> Values:
    """Return what `measure` gives, for some images at a time."""
    starts = range(0, len(images[0]), CHUNK)
    parts = [measure(*(array[start : start + CHUNK] for array in images)) for start in starts]
    return np.concatenate(parts)


def _check(images: Images, *, smallest: int) -> None:
    """Refuse what is not images of at least some side.

    Raises:
        UserError: it is not.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise UserError(
            f"images of shape {images.shape} can't be measured",
            cure="they must be (number, height, width, 3), at least one",
        )
    if min(images.shape[1:3]) < smallest:
        raise UserError(
            f"images of {images.shape[1]} x {images.shape[2]} pixels are smaller than the "
            f"{smallest} x {smallest} that are measured at a time",
            cure="measure larger ones",
        )
    if images.dtype != np.uint8 and not (
        np.issubdtype(images.dtype, np.floating) and images.min() >= 0 and images.max() <= 1
    ):
        raise UserError(
            f"images of {images.dtype} from {images.min():g} to {images.max():g} can't be measured",
            cure="give uint8, or floats in [0, 1]",
        )
