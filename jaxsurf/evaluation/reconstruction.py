"""How well a model gives back the images it is given: uint8 in, clean, in batches of one size.

Products are computed in full float32. Where looking at all images of a set would add nothing but
time, a sample stands for them, the same at every call: a mean over `SAMPLE` images differs from
that over all by less than a hundredth of the deviation between images.
"""

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxsurf.frames.decode import Frames
from jaxsurf.images import batches, pixels, storage
from jaxsurf.models.autoencoder import Autoencoder, inference_batch

# 1 / sqrt(16,384) is 0.8 %. As many images of 64 x 64 take 200 MB.
SAMPLE, SAMPLE_SEED = 16_384, 0


def reconstruct(model: Autoencoder, images: Frames) -> Frames:
    """Return the reconstruction of each image, rounded to uint8."""
    size = inference_batch(model)
    return batches.mapped(_reconstruct, images, shared=[model], size=size, bucketed=True)


def mse(model: Autoencoder, images: Frames) -> Float[np.ndarray, "image"]:
    """Return the mean squared error of each rounded reconstruction, on [0, 1]."""
    both = zip(reconstruct(model, images), images, strict=True)  # one by one: float64 is large
    return np.array([np.square(a / pixels.PEAK - b / pixels.PEAK).mean() for a, b in both])


def mean_mse(model: Autoencoder, images: Frames) -> float:
    """Return the mean of `mse` over a set: over all images, or those that stand for them."""
    return float(mse(model, sample(images)).mean())


def sample(images: Frames) -> UInt8[np.ndarray, "sampled height width channel"]:
    """Return the images that stand for a set: all as they are, or `SAMPLE` drawn at random."""
    if len(images) <= SAMPLE:
        return images
    drawn = np.random.default_rng(SAMPLE_SEED).choice(len(images), SAMPLE, replace=False)
    return storage.take(images, np.sort(drawn))


@jax.jit
def _reconstruct(
    model: Autoencoder, images: UInt8[Array, "batch height width channel"]
) -> UInt8[Array, "batch height width channel"]:
    with jax.default_matmul_precision("highest"):
        return pixels.to_uint8(model(pixels.to_float(images)))
