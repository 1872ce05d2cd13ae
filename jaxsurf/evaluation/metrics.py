"""Measures of frames, images and latent paths, as pure functions.

What is measured of each example comes as one value an example, and the caller reduces: steps on
[0, 1], interpolation errors on 0-255 squared. All are better when smaller, but for PSNR.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Real, UInt8, UInt32

from jaxsurf.evaluation import reconstruction
from jaxsurf.frames.decode import Frames
from jaxsurf.images import batches, pixels, storage
from jaxsurf.images.pixels import Images
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.models.vgg.network import VGG16
from jaxsurf.training.objective import ObjectiveConfig, make_extractor

Values = Float[np.ndarray, "frame"]
Deep = Real[np.ndarray, "image height width channel"]
FlatImages = UInt8[Array, "image value"]
FlatFrames = UInt8[Array, "frame value"]

FRAME_CHUNK = 512
IMAGE_CHUNK = 2048
# Pixels minus 128 are whole numbers of at most 2^7, so 2^10 of their products add up to at most
# 2^24: every partial sum is a float32 without rounding.
EXACT_VALUES = 1024
# Bytes whose sum fits 16 bits (257 at most), of which a CPU adds up twice as many at once as of 32.
SHORT_SUM = 48
# In DiffMorpher's perceptual figures.
PERCEPTUAL_FRAMES = 17


class Nearest(NamedTuple):
    """The image of a set that is nearest to each frame; of equally near ones the first."""

    indices: Int[np.ndarray, "frame"]
    mse: Values  # mean squared difference over all values, on 0-255 squared


def mse(images: Deep, references: Deep) -> Float[np.ndarray, "image"]:
    """Return the mean squared difference of each image to its reference, on their scale."""
    difference = np.asarray(images, np.float64) - np.asarray(references, np.float64)
    return np.square(difference).mean(axis=(1, 2, 3))


def psnr_of_mse(mse: float) -> float:
    """Return the peak signal-to-noise ratio in dB of a mean squared error, for a peak of 1.

    10 log10(1 / mse), of one image or of the mean over many; infinite where the error is 0.
    """
    return -10.0 * float(np.log10(mse)) if mse else math.inf


def nearest_images(frames: Frames, images: Images) -> Nearest:
    """Return the image nearest to each frame, and how far it is.

    How far is the report's "interpolationMSE" (Yadlin & Botchan, Data Interpolation in Latent
    Space) without its uint8 overflow. Computed as products of whole numbers, without cancellation:
    right to about 1e-6 of the value, and 0 for a frame that is an image.
    """
    indices, least = np.zeros(len(frames), np.int64), np.full(len(frames), np.inf)
    for chunk, (found, sums) in enumerate(_over_images(_nearest, frames, images)):
        nearer = sums < least
        indices[nearer] = chunk * IMAGE_CHUNK + found[nearer]
        least[nearer] = sums[nearer]
    return Nearest(indices, least / images[0].size)


def interpolation_mse_wrapped(frames: Frames, images: Images) -> Values:
    """Return the report's own figure, whose differences and squares overflow in uint8.

    Modulo 256, so it means something only where every |difference| < 16; kept to compare with
    published numbers. On CPUs it is some five times slower.
    """
    sums = functools.reduce(np.minimum, _over_images(_smallest_wrapped, frames, images))
    return sums.astype(np.float64) / images[0].size


def consistency(model: Autoencoder, frames: Frames) -> Values:
    """Return how much a model changes each frame: |x - D(E(x))|, root mean square on 0-255.

    Large for what looks like no image that the model was trained on, also where no truth is known.
    What a model has decoded itself comes back better than an image does, which keeps its
    reconstruction error: compare decoded methods with each other. Rounding to uint8 makes 0.4 of 0,
    and adds little to more than 2.
    """
    return np.sqrt(reconstruction.mse(model, frames)) * pixels.PEAK


def steps(frames: Frames) -> Float[np.ndarray, "step"]:
    """Return how much each frame differs from the one before: root mean square, on [0, 1]."""
    both = itertools.pairwise(frames)  # in less memory, and so faster, than all at once
    changes = [np.square(after.astype(np.float64) - before).mean() for before, after in both]
    return np.sqrt(changes) / pixels.PEAK


def smoothness(frames: Frames) -> dict[str, float]:
    """Return how evenly an animation moves; one that stands still is perfectly even.

    The figures are the mean of its `steps`, the largest one, `jump`, their ratio (1 when all steps
    are equal), and `unevenness`, the steps' coefficient of variation (0 when all are equal).
    """
    sizes = steps(frames)
    if not sizes.any():
        return {"mean": 0.0, "largest": 0.0, "jump": 1.0, "unevenness": 0.0}
    mean, largest = float(sizes.mean()), float(sizes.max())
    unevenness = float(sizes.std()) / mean
    return {"mean": mean, "largest": largest, "jump": largest / mean, "unevenness": unevenness}


def perceptual(
    frames: Sequence[UInt8[np.ndarray, "frame height width channel"]],
    look: pixels.Look = pixels.RGB,
) -> dict[str, Float[np.ndarray, "pair"]]:
    """Return sum and variance of the perceptual steps of each animation: `ppl` and `pdv`.

    Both depend on the number of frames, `PERCEPTUAL_FRAMES` in DiffMorpher (Zhang et al., 2023,
    section 4.4). A step is LPIPS without its learned weights (Zhang et al., The Unreasonable
    Effectiveness of Deep Features as a Perceptual Metric, 2018, equation 1 with w = 1), on those of
    its layers that come with jaxsurf: to compare with each other, not with published figures.
    Cross-dissolves score well, and so do frames that stand still.
    """
    layers = {"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0}
    objective = ObjectiveConfig(perceptual=1.0, layers=layers, precision="float32")
    extract = make_extractor(objective, look)
    steps = batches.mapped(_perceptual_steps, np.stack(frames), shared=[extract], size=1)
    steps = steps.astype(np.float64)
    return {"ppl": steps.sum(axis=1), "pdv": steps.var(axis=1)}


@jax.jit
def _perceptual_steps(
    extract: VGG16, animations: UInt8[Array, "pair frame height width channel"]
) -> Float[Array, "pair step"]:
    def of_one(frames: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            found = extract(pixels.to_float(frames))
        total = jnp.zeros(len(frames) - 1)
        for maps in found.values():
            lengths = jnp.sqrt(jnp.sum(jnp.square(maps), axis=-1, keepdims=True))
            steps = jnp.diff(maps / (lengths + 1e-10), axis=0)  # as LPIPS's own code
            total += jnp.square(steps).sum(axis=-1).mean(axis=(1, 2))
        return total

    return jax.lax.map(of_one, animations)


def _over_images(
    run: Callable[[Array, Array], PyTree[Array]], frames: Frames, images: Images
) -> Iterator[PyTree[np.ndarray]]:
    """Give what a function returns for all frames, flattened, and some of the images at a time."""
    flat_frames, flat_images = (array.reshape(len(array), -1) for array in (frames, images))
    for some in storage.chunks(flat_images, rows=IMAGE_CHUNK):
        yield batches.mapped(run, flat_frames, shared=[some], size=FRAME_CHUNK, bucketed=True)


@jax.jit
def _nearest(images: FlatImages, frames: FlatFrames) -> tuple[Array, Array]:
    sums = squares(images, frames)
    return sums.argmin(axis=1), sums.min(axis=1)


@jax.jit
def squares(images: FlatImages, frames: FlatFrames) -> Float[Array, "frame image"]:
    """Return the sum of squared differences of each frame to each image, both flattened."""
    # |f|^2 + |i|^2 - 2 f.i of a block of values are exact; their sums are only rounded relatively.

    def add_block(total: Array, blocks: tuple[Array, Array]) -> tuple[Array, None]:
        # Pixels minus 128 have eight bits, so an accelerator's TF32 products are exact too.
        some, others = (array.astype(jnp.float32) - 128.0 for array in blocks)
        products = (some @ others.T).astype(jnp.int32)
        ours, theirs = (jnp.square(a).sum(axis=1).astype(jnp.int32) for a in (some, others))
        distances = ours[:, None] + theirs[None, :] - 2 * products
        return total + distances.astype(jnp.float32), None

    nothing = jnp.zeros((len(frames), len(images)), jnp.float32)
    blocks = (_in_blocks(frames, EXACT_VALUES), _in_blocks(images, EXACT_VALUES))
    return jax.lax.scan(add_block, nothing, blocks)[0]


def _in_blocks(rows: UInt8[Array, "row value"], size: int) -> UInt8[Array, "block row some"]:
    # Zeros that fill the last block differ from no other.
    padded = jnp.pad(rows, [(0, 0), (0, -rows.shape[1] % size)])
    return jnp.moveaxis(padded.reshape(len(rows), -1, size), 1, 0)


@jax.jit
def _smallest_wrapped(images: FlatImages, frames: FlatFrames) -> UInt32[Array, "frame"]:
    # Frames come last: a CPU then adds up many of them at once.
    frames = jnp.moveaxis(_in_blocks(frames, SHORT_SUM), 1, 2)

    def with_image(least: Array, image: Array) -> tuple[Array, None]:
        difference = frames - image[:, :, None]
        sums = jnp.sum(difference * difference, axis=1, dtype=jnp.uint16)
        return jnp.minimum(least, jnp.sum(sums, axis=0, dtype=jnp.uint32)), None

    # Not over frames, which several devices share.
    largest = jnp.full(frames.shape[2], jnp.iinfo(jnp.uint32).max, jnp.uint32)
    return jax.lax.scan(with_image, largest, jnp.moveaxis(_in_blocks(images, SHORT_SUM), 1, 0))[0]
