"""The report's autoencoder, layer by layer.

Source: Yadlin & Botchan, "Data Interpolation in Latent Space", and its authors' PyTorch model: at
64 x 64 and with the same weights it gives the same output as that model. It works on [-1, 1] and
rescales inside itself. Weights start as PyTorch's do: uniform within 1 / sqrt(fan-in), biases too.
"""

import math
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsurf.models import pooling, products
from jaxsurf.models.interface import Autoencoder, check_side
from jaxsurf.models.pooling import Maps

CODE_CHANNELS = 16  # channels of the decoder's first feature map, at a quarter of the side


def _uniform(bound: float) -> nnx.Initializer:
    def initialize(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialize


def _conv(inputs: int, outputs: int, *, padding: int, rngs: nnx.Rngs) -> nnx.Conv:
    bound = 1 / math.sqrt(inputs * 9)
    return nnx.Conv(
        inputs,
        outputs,
        (3, 3),
        strides=2,
        padding=padding,
        kernel_init=_uniform(bound),
        bias_init=_uniform(bound),
        rngs=rngs,
    )


class TransposedConv(nnx.Module):
    """PyTorch's `ConvTranspose2d(inputs, outputs, size, stride, padding=crop)`.

    The kernel is [height, width, outputs, inputs], PyTorch's with its axes moved.
    """

    def __init__(
        self, inputs: int, outputs: int, *, size: int, stride: int, crop: int, rngs: nnx.Rngs
    ) -> None:
        initialize = _uniform(1 / math.sqrt(outputs * size**2))  # PyTorch: fan-in from axis 1
        self.stride = stride
        self.margin = size - 1 - crop
        self.kernel = nnx.Param(initialize(rngs.params(), (size, size, outputs, inputs)))
        self.bias = nnx.Param(initialize(rngs.params(), (outputs,)))

    def __call__(
        self, images: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch large_height large_width outputs"]:
        """Return the enlarged feature maps."""
        margin = (self.margin, self.margin)
        enlarged = jax.lax.conv_general_dilated(
            images,
            self.kernel[...][::-1, ::-1],
            window_strides=(1, 1),
            padding=[margin, margin],
            lhs_dilation=(self.stride, self.stride),
            dimension_numbers=("NHWC", "HWOI", "NHWC"),
        )
        return enlarged + self.bias[...][None, None, None]


def _linear(inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    bound = 1 / math.sqrt(inputs)
    return nnx.Linear(
        inputs, outputs, kernel_init=_uniform(bound), bias_init=_uniform(bound), rngs=rngs
    )


class ReferenceAutoencoder(Autoencoder):
    """Three strided convolutions in, three transposed convolutions out.

    Attributes:
        as_products: compute layers as slices and matrix products (`products`), not as convolutions;
            the numbers are the same, up to rounding.
    """

    # A decoded frame has 2.5 MB of activations: 64 at once take four times as long a frame as 4.
    cpu_batch = 4

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        channels: int,
        as_products: bool,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, depth = image_shape
        self.as_products = as_products
        side = check_side(height, width, least=32)
        self.base = side // 4
        last = (side // 8 - 4) // 2 + 1  # 3 at a side of 64
        self.conv1 = _conv(depth, channels, padding=1, rngs=rngs)
        self.conv2 = _conv(channels, channels // 2, padding=1, rngs=rngs)
        self.conv3 = _conv(channels // 2, channels // 4, padding=0, rngs=rngs)
        self.to_code = _linear(last * last * (channels // 4), latent_dim, rngs=rngs)
        self.from_code = _linear(latent_dim, CODE_CHANNELS * self.base**2, rngs=rngs)
        self.up1 = TransposedConv(CODE_CHANNELS, 32, size=3, stride=2, crop=0, rngs=rngs)
        self.up2 = TransposedConv(32, 64, size=3, stride=2, crop=0, rngs=rngs)
        self.up3 = TransposedConv(64, depth, size=2, stride=1, crop=2, rngs=rngs)

    def encode(
        self, images: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch latent"]:
        """Return the latent codes of images."""
        features = self._features_by_products if self.as_products else self._features
        # Channels first, as PyTorch flattens: weights carry over unchanged.
        hidden = features((images * 2 - 1).astype(self.conv1.kernel.dtype)).transpose(0, 3, 1, 2)
        return self.to_code(hidden.reshape(hidden.shape[0], -1).astype(jnp.float32))

    def decode(
        self, codes: Float[Array, "batch latent"]
    ) -> Float[Array, "batch height width channel"]:
        """Return the images of latent codes."""
        hidden = self.from_code(codes).astype(self.up1.kernel.dtype)
        hidden = hidden.reshape(-1, CODE_CHANNELS, self.base, self.base).transpose(0, 2, 3, 1)
        enlarge = self._enlarged_by_products if self.as_products else self._enlarged
        return (jnp.tanh(enlarge(hidden)) + 1) / 2

    def _features(self, images: Maps) -> Maps:
        hidden = nnx.relu(self.conv1(images))
        hidden = pooling.blocks(hidden)
        hidden = nnx.relu(self.conv2(hidden))
        hidden = pooling.overlapping(hidden)
        return nnx.relu(self.conv3(hidden))

    def _features_by_products(self, images: Maps) -> Maps:
        # Biases are added and ReLU is taken after pooling, where fewer values are left.
        kernels, biases = _weights(self.conv1, self.conv2, self.conv3)
        hidden = products.convolve_and_pool(images, kernels[0], padding=1)
        hidden = nnx.relu(hidden + biases[0])
        hidden = pooling.overlapping(products.convolve(hidden, kernels[1], padding=1))
        hidden = nnx.relu(hidden + biases[1])
        return nnx.relu(products.convolve(hidden, kernels[2], padding=0) + biases[2])

    def _enlarged(self, maps: Maps) -> Maps:
        return self.up3(nnx.relu(self.up2(nnx.relu(self.up1(maps)))))

    def _enlarged_by_products(self, maps: Maps) -> Maps:
        kernels, biases = _weights(self.up1, self.up2, self.up3)
        hidden = nnx.relu(products.enlarge(maps, kernels[0]) + biases[0])
        corners = products.enlarged_corners(hidden, kernels[1])
        corners = [nnx.relu(corner + biases[1]) for corner in corners]
        return products.finish(corners, kernels[2]) + biases[2]


def _weights(*layers: nnx.Conv | TransposedConv) -> tuple[list[Array], list[Array]]:
    """Return kernels and biases, these ready to be added to maps."""
    kernels = [layer.kernel[...] for layer in layers]
    return kernels, [cast(nnx.Param, layer.bias)[...][None, None, None] for layer in layers]
