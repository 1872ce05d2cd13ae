"""The report's autoencoder, layer by layer.

Source: Yadlin & Botchan, "Data Interpolation in Latent Space", and its authors' PyTorch model: at
64 x 64 and with the same weights it gives the same output as that model. It works on [-1, 1] and
rescales inside itself. Images whose height or width is no multiple of 16, or below 32, are filled
up inside, and cut again. Weights start as PyTorch's do: within 1 / sqrt(fan-in), biases too.

Layers are computed as slices and matrix products (`cpu_kernels`). XLA's own strided and transposed
convolutions are slow with so few channels, on CPUs and on GPUs.
"""

import math
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike

from jaxsurf.models import cpu_kernels
from jaxsurf.models.autoencoder import Autoencoder, Codes, Images, MeanImage, ModelConfig

CODE_CHANNELS = 16  # channels of the decoder's first feature map, at a quarter of the side


def _starts(fan_in: int) -> dict[str, Any]:
    bound = 1 / math.sqrt(fan_in)

    def initialize(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return dict.fromkeys(("kernel_init", "bias_init"), initialize)


def _conv(inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (3, 3), strides=2, rngs=rngs, **_starts(9 * inputs))


def _up(inputs: int, outputs: int, *, size: int, rngs: nnx.Rngs) -> nnx.ConvTranspose:
    """Return weights of PyTorch's `ConvTranspose2d`; kernels: [height, width, outputs, inputs]."""
    starts = _starts(outputs * size**2)  # PyTorch: fan-in from axis 1
    shape = (size, size)
    return nnx.ConvTranspose(inputs, outputs, shape, transpose_kernel=True, rngs=rngs, **starts)


class ReferenceAutoencoder(Autoencoder):
    """Three strided convolutions in, three transposed convolutions out."""

    # A decoded frame has 2.5 MB of activations: 64 at once take four times as long a frame as 4.
    cpu_batch = 4

    def __init__(self, config: ModelConfig, *, mean_image: MeanImage, rngs: nnx.Rngs) -> None:
        self.set_size(mean_image, least=32)
        channels, depth = config.channels, mean_image.shape[2]
        self.base = (self.padded[0] // 4, self.padded[1] // 4)
        last = math.prod((side // 8 - 4) // 2 + 1 for side in self.padded)  # 3 at a side of 64
        self.conv1 = _conv(depth, channels, rngs=rngs)
        self.conv2 = _conv(channels, channels // 2, rngs=rngs)
        self.conv3 = _conv(channels // 2, channels // 4, rngs=rngs)
        size, seen = config.latent_dim, last * (channels // 4)
        self.to_code = nnx.Linear(seen, size, rngs=rngs, **_starts(seen))
        made = CODE_CHANNELS * math.prod(self.base)
        self.from_code = nnx.Linear(size, made, rngs=rngs, **_starts(size))
        self.up1 = _up(CODE_CHANNELS, 32, size=3, rngs=rngs)
        self.up2 = _up(32, 64, size=3, rngs=rngs)
        self.up3 = _up(64, depth, size=2, rngs=rngs)

    def encode(self, images: Images) -> Codes:
        """Return the latent codes of images."""
        # Biases are added and ReLU is taken after pooling, where fewer values are left.
        kernels, biases = _weights(self.conv1, self.conv2, self.conv3)
        hidden = (self.pad(images) * 2 - 1).astype(kernels[0].dtype)
        hidden = cpu_kernels.convolve_and_pool(hidden, kernels[0])
        hidden = nnx.relu(hidden + biases[0])
        hidden = cpu_kernels.convolve(hidden, kernels[1], padding=1)
        hidden = nnx.relu(cpu_kernels.pool_overlapping(hidden) + biases[1])
        hidden = nnx.relu(cpu_kernels.convolve(hidden, kernels[2], padding=0) + biases[2])
        # Channels first, as PyTorch flattens: weights carry over unchanged.
        hidden = hidden.transpose(0, 3, 1, 2).reshape(hidden.shape[0], -1)
        return self.to_code(hidden.astype(jnp.float32))

    def decode(self, codes: Codes) -> Images:
        """Return the images of latent codes; the last layer crops 2 values from every side."""
        kernels, biases = _weights(self.up1, self.up2, self.up3)
        hidden = self.from_code(codes).astype(kernels[0].dtype)
        hidden = hidden.reshape(-1, CODE_CHANNELS, *self.base).transpose(0, 2, 3, 1)
        hidden = nnx.relu(cpu_kernels.enlarge(hidden, kernels[0]) + biases[0])
        corners = cpu_kernels.enlarged_corners(hidden, kernels[1])
        corners = [nnx.relu(corner + biases[1]) for corner in corners]
        images = (jnp.tanh(cpu_kernels.finish(corners, kernels[2]) + biases[2]) + 1) / 2
        return self.crop(images)


def _weights(*layers: nnx.Conv | nnx.ConvTranspose) -> tuple[list[Array], list[Array]]:
    """Return kernels and biases, these ready to be added to maps."""
    kernels = [layer.kernel[...] for layer in layers]
    return kernels, [cast(nnx.Param, layer.bias)[...][None, None, None] for layer in layers]
