"""The default autoencoder: sharp small objects from a code of two or three numbers.

Encoder: coordinate channels tell the convolutions where they are (Liu et al., "An Intriguing
Failing of Convolutional Neural Networks and the CoordConv Solution", 2018). Decoder: Fourier
features of the code let a small perceptron follow fine detail (Tancik et al., "Fourier Features
Let Networks Learn High Frequency Functions in Low Dimensional Domains", 2020); 3x3 convolutions
with depth-to-space (Shi et al., "Real-Time Single Image and Video Super-Resolution", 2016) enlarge
without the checkerboards, and without the slow gradient, of transposed convolutions; the result
is added to the mean image of the data, so that training spends nothing on the background. Images
whose height or width is no multiple of 16 are filled up inside, and cut again.
"""

import math
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsurf.models import cpu_kernels
from jaxsurf.models.autoencoder import (
    Autoencoder,
    Codes,
    Constant,
    Images,
    MeanImage,
    crop,
    pad,
    padded,
)

NUM_FREQUENCIES = 64  # of the Fourier features
ENCODER_HIDDEN = 256  # width of the layer before the code
DECODER_HIDDEN = 512  # width of the perceptron after it


def _space_to_depth(images: Array, block: int) -> Array:
    batch, height, width, depth = images.shape
    split = images.reshape(batch, height // block, block, width // block, block, depth)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, height // block, width // block, block * block * depth
    )


def _depth_to_space(features: Array, block: int) -> Array:
    batch, height, width, depth = features.shape
    split = features.reshape(batch, height, width, block, block, depth // block**2)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * block, width * block, -1)


def _coordinates(batch: int, height: int, width: int) -> Float[Array, "batch height width 2"]:
    lines = jnp.linspace(-1.0, 1.0, height), jnp.linspace(-1.0, 1.0, width)
    grid = jnp.stack(jnp.meshgrid(*lines, indexing="ij"), axis=-1)
    return jnp.broadcast_to(grid, (batch, height, width, 2))


class SmoothEncoder(nnx.Module):
    """Space-to-depth, three convolutions (two of them strided), two dense layers."""

    def __init__(
        self,
        *,
        size: tuple[int, int],
        depth: int,
        latent_dim: int,
        channels: int,
        rngs: nnx.Rngs,
    ) -> None:
        wide, last = 2 * channels, (size[0] // 16) * (size[1] // 16)
        self.conv1 = nnx.Conv(16 * depth + 2, wide, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(wide, wide, (3, 3), strides=2, rngs=rngs)
        self.conv3 = nnx.Conv(wide, wide, (3, 3), strides=2, rngs=rngs)
        self.dense = nnx.Linear(last * wide, ENCODER_HIDDEN, rngs=rngs)
        self.to_code = nnx.Linear(ENCODER_HIDDEN, latent_dim, rngs=rngs)

    def __call__(self, images: Images) -> Codes:
        """Return the codes of centred images."""
        patches = _space_to_depth(images, 4)
        places = _coordinates(*patches.shape[:3])
        hidden = jnp.concatenate([patches, places], axis=-1).astype(self.conv1.kernel.dtype)
        for conv in (self.conv1, self.conv2, self.conv3):
            hidden = nnx.gelu(conv(hidden))
        hidden = nnx.gelu(self.dense(hidden.reshape(hidden.shape[0], -1)))
        return self.to_code(hidden.astype(jnp.float32))


class SmoothDecoder(nnx.Module):
    """Fourier features, a perceptron, two stages of convolution and depth-to-space.

    The map that the perceptron ends in is narrow: its weights are most of the model's, and on CPUs
    their traffic through memory, not arithmetic, is what a training step waits for.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int],
        depth: int,
        latent_dim: int,
        channels: int,
        rngs: nnx.Rngs,
    ) -> None:
        self.base, narrow = (size[0] // 4, size[1] // 4), channels // 2
        self.frequencies = nnx.Param(
            jax.random.normal(rngs.params(), (latent_dim, NUM_FREQUENCIES))
        )
        self.dense1 = nnx.Linear(latent_dim + 2 * NUM_FREQUENCIES, DECODER_HIDDEN, rngs=rngs)
        self.dense2 = nnx.Linear(DECODER_HIDDEN, DECODER_HIDDEN, rngs=rngs)
        self.to_map = nnx.Linear(DECODER_HIDDEN, math.prod(self.base) * narrow, rngs=rngs)
        self.conv1 = nnx.Conv(narrow, 4 * channels, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(
            channels, 4 * depth, (3, 3), kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def __call__(self, codes: Codes) -> Images:
        """Return what codes add to the mean image."""
        waves = codes @ self.frequencies[...].astype(jnp.float32)
        hidden = jnp.concatenate([codes, jnp.sin(waves), jnp.cos(waves)], axis=-1)
        hidden = nnx.gelu(self.dense1(hidden.astype(self.dense1.kernel.dtype)))
        hidden = nnx.gelu(self.dense2(hidden))
        hidden = nnx.gelu(self.to_map(hidden))
        hidden = hidden.reshape(-1, *self.base, self.conv1.in_features)
        hidden = nnx.gelu(_depth_to_space(self.conv1(hidden), 2))
        if jax.default_backend() == "cpu":
            bias = cast(nnx.Param, self.conv2.bias)[...][None, None, None]
            hidden = cpu_kernels.narrow(hidden, self.conv2.kernel[...]) + bias
        else:
            hidden = self.conv2(hidden)
        return _depth_to_space(hidden, 2)


class SmoothAutoencoder(Autoencoder):
    """Encoder and decoder around the mean image."""

    def __init__(
        self,
        *,
        mean_image: MeanImage,
        latent_dim: int,
        channels: int,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, depth = mean_image.shape
        self.size = (height, width)
        self.padded = (padded(height), padded(width))
        shape = {
            "size": self.padded,
            "depth": depth,
            "latent_dim": latent_dim,
            "channels": channels,
        }
        self.mean_image = Constant(jnp.asarray(mean_image, jnp.float32))
        self.encoder = SmoothEncoder(**shape, rngs=rngs)
        self.decoder = SmoothDecoder(**shape, rngs=rngs)

    def encode(self, images: Images) -> Codes:
        """Return the latent codes of images."""
        return self.encoder(pad(images - self.mean_image[...][None], *self.padded))

    def decode(self, codes: Codes) -> Images:
        """Return the images of latent codes; values may leave [0, 1] a little."""
        return self.mean_image[...][None] + crop(self.decoder(codes), *self.size)
