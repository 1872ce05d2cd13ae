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

from jaxsurf.models import cpu_kernels
from jaxsurf.models.autoencoder import Autoencoder, Codes, Constant, Images, MeanImage, ModelConfig

NUM_FREQUENCIES = 64  # of the Fourier features
ENCODER_HIDDEN = 256  # width of the layer before the code
DECODER_HIDDEN = 512  # width of the perceptron after it


class SmoothEncoder(nnx.Module):
    """Space-to-depth, three convolutions (two of them strided), two dense layers."""

    def __init__(
        self, config: ModelConfig, *, size: tuple[int, int], depth: int, rngs: nnx.Rngs
    ) -> None:
        wide, last = 2 * config.channels, (size[0] // 16) * (size[1] // 16)
        self.conv1 = nnx.Conv(16 * depth + 2, wide, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(wide, wide, (3, 3), strides=2, rngs=rngs)
        self.conv3 = nnx.Conv(wide, wide, (3, 3), strides=2, rngs=rngs)
        self.dense = nnx.Linear(last * wide, ENCODER_HIDDEN, rngs=rngs)
        self.to_code = nnx.Linear(ENCODER_HIDDEN, config.latent_dim, rngs=rngs)

    def __call__(self, images: Images) -> Codes:
        """Return the codes of centred images."""
        batch, height, width, depth = images.shape
        blocks = images.reshape(batch, height // 4, 4, width // 4, 4, depth)
        patches = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 4, width // 4, -1)
        lines = [jnp.linspace(-1.0, 1.0, side) for side in patches.shape[1:3]]
        places = jnp.stack(jnp.meshgrid(*lines, indexing="ij"), axis=-1)
        places = jnp.broadcast_to(places, (*patches.shape[:3], 2))
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
        self, config: ModelConfig, *, size: tuple[int, int], depth: int, rngs: nnx.Rngs
    ) -> None:
        channels, narrow, latent_dim = config.channels, config.channels // 2, config.latent_dim
        self.base = (size[0] // 4, size[1] // 4)
        frequencies = jax.random.normal(rngs.params(), (latent_dim, NUM_FREQUENCIES))
        self.frequencies = nnx.Param(frequencies)
        self.dense1 = nnx.Linear(latent_dim + 2 * NUM_FREQUENCIES, DECODER_HIDDEN, rngs=rngs)
        self.dense2 = nnx.Linear(DECODER_HIDDEN, DECODER_HIDDEN, rngs=rngs)
        self.to_map = nnx.Linear(DECODER_HIDDEN, math.prod(self.base) * narrow, rngs=rngs)
        self.conv1 = nnx.Conv(narrow, 4 * channels, (3, 3), rngs=rngs)
        zeros = nnx.initializers.zeros
        self.conv2 = nnx.Conv(channels, 4 * depth, (3, 3), kernel_init=zeros, rngs=rngs)

    def __call__(self, codes: Codes) -> Images:
        """Return what codes add to the mean image."""
        waves = codes @ self.frequencies[...].astype(jnp.float32)
        hidden = jnp.concatenate([codes, jnp.sin(waves), jnp.cos(waves)], axis=-1)
        hidden = nnx.gelu(self.dense1(hidden.astype(self.dense1.kernel.dtype)))
        hidden = nnx.gelu(self.dense2(hidden))
        hidden = nnx.gelu(self.to_map(hidden))
        hidden = hidden.reshape(-1, *self.base, self.conv1.in_features)
        hidden = nnx.gelu(cpu_kernels.depth_to_space(self.conv1(hidden)))
        if jax.default_backend() == "cpu":
            bias = cast(nnx.Param, self.conv2.bias)[...][None, None, None]
            hidden = cpu_kernels.narrow(hidden, self.conv2.kernel[...]) + bias
        else:
            hidden = self.conv2(hidden)
        return cpu_kernels.depth_to_space(hidden)


class SmoothAutoencoder(Autoencoder):
    """Encoder and decoder around the mean image."""

    def __init__(self, config: ModelConfig, *, mean_image: MeanImage, rngs: nnx.Rngs) -> None:
        self.set_size(mean_image)
        depth = mean_image.shape[2]
        self.mean_image = Constant(jnp.asarray(mean_image, jnp.float32))
        self.encoder = SmoothEncoder(config, size=self.padded, depth=depth, rngs=rngs)
        self.decoder = SmoothDecoder(config, size=self.padded, depth=depth, rngs=rngs)

    def encode(self, images: Images) -> Codes:
        """Return the latent codes of images."""
        return self.encoder(self.pad(images - self.mean_image[...][None]))

    def decode(self, codes: Codes) -> Images:
        """Return the images of latent codes; values may leave [0, 1] a little."""
        return self.mean_image[...][None] + self.crop(self.decoder(codes))
