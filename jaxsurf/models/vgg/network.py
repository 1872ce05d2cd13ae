"""The network: convolutions with ReLU and max-pooling, frozen."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from jaxsurf.errors import UserError
from jaxsurf.models import pooling, products, winograd
from jaxsurf.models.interface import Constant
from jaxsurf.models.vgg import layers
from jaxsurf.models.vgg.weights import Preparation, Weights

# Maps of three channels take longer by tiles than by `products.widen`; VGG16's others have 64 up.
LEAST_CHANNELS = 16


class Convolution(nnx.Module):
    """A 3 x 3 convolution with zero padding, and ReLU; nothing of it is trained."""

    def __init__(self, kernel: Array, bias: Array, *, for_cpu: bool) -> None:
        self.kernel = Constant(kernel)
        self.bias = Constant(bias)
        self.for_cpu = for_cpu
        by_tiles = for_cpu and kernel.shape[2] >= LEAST_CHANNELS
        self.transformed = Constant(winograd.transform(kernel)) if by_tiles else None

    def __call__(
        self, maps: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width out"]:
        """Return the maps after ReLU, computed in the precision of what comes in."""
        return jax.nn.relu(
            self._convolve(maps) + self.bias[...].astype(maps.dtype)[None, None, None]
        )

    def _convolve(self, maps: Array) -> Array:
        if self.transformed is not None:
            return winograd.convolve(maps, self.transformed[...].astype(maps.dtype))
        convolve = products.widen if self.for_cpu else products.plain
        return convolve(maps, self.kernel[...].astype(maps.dtype))


class VGG16(nnx.Module):
    """Named ReLU outputs of VGG16, cut after the deepest that is asked for."""

    def __init__(
        self,
        weights: Weights,
        relus: Sequence[str],
        *,
        dtype: DTypeLike = jnp.float32,
        for_cpu: bool | None = None,
    ) -> None:
        """Make the network.

        Args:
            weights: deep enough for what is asked.
            relus: outputs to return, `relu1_1` to `relu5_3`.
            dtype: of the computation; features are float32 in any case.
            for_cpu: in the form that CPUs are quick with, the same up to rounding; unless said,
                where JAX computes on one, in float32.

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
        quick = jax.default_backend() == "cpu" and jnp.dtype(dtype) == jnp.float32
        self.for_cpu = quick if for_cpu is None else for_cpu
        scale = weights.preparation.feature_scale
        for name in needed:
            bias = jnp.asarray(weights.biases[name] / scale)
            kernel = jnp.asarray(weights.kernels[name])
            setattr(self, name, Convolution(kernel, bias, for_cpu=self.for_cpu))

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
                maps = self._pool(maps, before=name)
            maps = getattr(self, name)(maps)
            if layers.relu(name) in self.relus:
                features[layers.relu(name)] = maps.astype(jnp.float32)
        return features

    def _pool(
        self, maps: Float[Array, "batch height width feature"], *, before: str
    ) -> Float[Array, "batch half_height half_width feature"]:
        if min(maps.shape[1:3]) < 2:
            raise UserError(
                f"the images are too small for {layers.relu(before)} of VGG16: their features are "
                f"{maps.shape[1]} x {maps.shape[2]} before it",
                cure="choose a layer before it, or larger images",
            )
        return pooling.blocks(maps, rounding=winograd.ROUNDING if self.for_cpu else 0.0)


def prepare(
    images: Float[Array, "batch height width 3"], preparation: Preparation
) -> Float[Array, "batch height width 3"]:
    """Return the network's input, already divided by the feature scale."""
    ordered = images[..., ::-1] if preparation.bgr else images
    mean, deviation = jnp.asarray(preparation.mean), jnp.asarray(preparation.deviation)
    centred = preparation.peak * ordered - mean[None, None, None]
    return centred / (preparation.feature_scale * deviation[None, None, None])
