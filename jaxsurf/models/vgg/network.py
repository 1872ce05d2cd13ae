"""The network: convolutions with ReLU and max-pooling, frozen."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from jaxsurf.errors import UserError
from jaxsurf.images import pixels
from jaxsurf.models import cpu_kernels
from jaxsurf.models.autoencoder import Constant
from jaxsurf.models.vgg.weights import CONVOLUTIONS, Preparation, Weights, relu, up_to


class VGG16(nnx.Module):
    """Named ReLU outputs of VGG16, cut after the deepest that is asked for.

    It sees images as they are shown, and computes in a dtype; features are float32.
    """

    def __init__(
        self,
        weights: Weights,
        relus: Sequence[str],
        *,
        dtype: DTypeLike = jnp.float32,
        look: pixels.Look = pixels.RGB,
    ) -> None:
        needed = up_to(relus)
        if needed[-1] not in weights.kernels:
            deepest, asked = map(relu, (list(weights.kernels)[-1], needed[-1]))
            cause = f"the weights of VGG16 end at {deepest}, but {asked} is asked for"
            raise UserError(cause, cure="name a file with deeper ones")
        self.relus = tuple(relus)
        self.preparation: Preparation = weights.preparation
        self.dtype, self.look = dtype, look
        kernels, scale = weights.kernels, weights.preparation.feature_scale
        biases = {name: bias / scale for name, bias in weights.biases.items()}
        self.kernels, self.biases = (
            nnx.Dict({name: Constant(jnp.asarray(arrays[name])) for name in needed})
            for arrays in (kernels, biases)
        )

    def __call__(
        self, images: Float[Array, "batch height width channel"]
    ) -> dict[str, Float[Array, "batch _down _along _feature"]]:
        """Return the features of images with values in [0, 1], by name."""
        maps = prepare(self.look.rgb(images), self.preparation).astype(self.dtype)
        features = {}
        for name in up_to(self.relus):
            if name.endswith("conv1") and name != CONVOLUTIONS[0]:
                if min(maps.shape[1:3]) < 2:
                    cause = f"the images are too small for {relu(name)} of VGG16"
                    raise UserError(cause, cure="choose a layer before it, or larger images")
                maps = cpu_kernels.pool_blocks(maps)
            held = (self.kernels[name], self.biases[name])
            kernel, bias = (value[...].astype(maps.dtype) for value in held)
            maps = jax.nn.relu(cpu_kernels.plain(maps, kernel) + bias[None, None, None])
            if relu(name) in self.relus:
                features[relu(name)] = maps.astype(jnp.float32)
        return features


def prepare(
    images: Float[Array, "batch height width 3"], preparation: Preparation
) -> Float[Array, "batch height width 3"]:
    """Return the network's input, already divided by the feature scale."""
    ordered = images[..., ::-1] if preparation.bgr else images
    mean, deviation = jnp.asarray(preparation.mean), jnp.asarray(preparation.deviation)
    centred = preparation.peak * ordered - mean[None, None, None]
    return centred / (preparation.feature_scale * deviation[None, None, None])
