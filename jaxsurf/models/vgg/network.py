"""The network: convolutions with ReLU and max-pooling, frozen."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from jaxsurf.errors import UserError
from jaxsurf.models.interface import Constant
from jaxsurf.models.vgg import layers
from jaxsurf.models.vgg.weights import Preparation, Weights


class Convolution(nnx.Module):
    """A 3 x 3 convolution with zero padding, and ReLU; nothing of it is trained."""

    def __init__(self, kernel: Array, bias: Array) -> None:
        self.kernel = Constant(kernel)
        self.bias = Constant(bias)

    def __call__(
        self, maps: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width out"]:
        """Return the maps after ReLU, computed in the precision of what comes in."""
        kernel, bias = self.kernel[...].astype(maps.dtype), self.bias[...].astype(maps.dtype)
        out = jax.lax.conv_general_dilated(
            maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.nn.relu(out + bias[None, None, None])


class VGG16(nnx.Module):
    """Named ReLU outputs of VGG16, cut after the deepest that is asked for."""

    def __init__(
        self, weights: Weights, relus: Sequence[str], *, dtype: DTypeLike = jnp.float32
    ) -> None:
        """Make the network.

        Args:
            weights: deep enough for what is asked.
            relus: outputs to return, `relu1_1` to `relu5_3`.
            dtype: of the computation; features are float32 in any case.

        Raises:
            UserError: VGG16 has no such output, or the weights end before it.
        """
        needed = layers.up_to(relus)
        if needed[-1] not in weights.kernels:
            raise UserError(
                f"the weights of VGG16 end at {weights.deepest}, but "
                f"{layers.relu(needed[-1])} is asked for",
                cure="name a file with deeper ones",
            )
        self.relus = tuple(relus)
        self.preparation: Preparation = weights.preparation
        self.dtype = dtype
        scale = weights.preparation.feature_scale
        for name in needed:
            bias = jnp.asarray(weights.biases[name] / scale)
            setattr(self, name, Convolution(jnp.asarray(weights.kernels[name]), bias))

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> dict[str, Float[Array, "batch height width feature"]]:
        """Return the features of images with values in [0, 1], by name.

        Raises:
            UserError: the images are too small for so many poolings.
        """
        maps = prepare(images, self.preparation).astype(self.dtype)
        features = {}
        for name in layers.up_to(self.relus):
            if name.endswith("conv1") and name != layers.CONVOLUTIONS[0]:
                maps = _pool(maps, before=name)
            maps = getattr(self, name)(maps)
            if layers.relu(name) in self.relus:
                features[layers.relu(name)] = maps.astype(jnp.float32)
        return features


def prepare(
    images: Float[Array, "batch height width 3"], preparation: Preparation
) -> Float[Array, "batch height width 3"]:
    """Return the network's input, already divided by the feature scale."""
    ordered = images[..., ::-1] if preparation.bgr else images
    mean, deviation = jnp.asarray(preparation.mean), jnp.asarray(preparation.deviation)
    centred = preparation.peak * ordered - mean[None, None, None]
    return centred / (preparation.feature_scale * deviation[None, None, None])


def _pool(
    maps: Float[Array, "batch height width feature"], *, before: str
) -> Float[Array, "batch half_height half_width feature"]:
    if min(maps.shape[1:3]) < 2:
        raise UserError(
            f"the images are too small for {layers.relu(before)} of VGG16: their features are "
            f"{maps.shape[1]} x {maps.shape[2]} before it",
            cure="choose a layer before it, or larger images",
        )
    return nnx.max_pool(maps, (2, 2), strides=(2, 2))
