"""Autoencoders by name; what they take and return is said in `interface`."""

from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.interface import Autoencoder
from jaxsurf.models.reference import ReferenceAutoencoder
from jaxsurf.models.smooth import SmoothAutoencoder

__all__ = ["Autoencoder", "ModelConfig", "make_autoencoder"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which autoencoder, and how large.

    Attributes:
        name: `smooth` (ours) or `reference` (the report's).
        latent_dim: number of values in a code.
        channels: width. `reference`: the output channels of its first convolution (64, 128 or
            256 in the report). `smooth`: the channels of its finest stage.
    """

    name: str = "smooth"
    latent_dim: int = 2
    channels: int = 32

    def __post_init__(self) -> None:
        if self.name not in ("smooth", "reference"):
            raise UserError(
                f"model.name is {self.name!r}", cure="choose 'smooth' or 'reference' instead"
            )
        if self.latent_dim < 1:
            raise UserError(f"model.latent_dim is {self.latent_dim}, but must be at least 1")
        if self.channels < 4 or self.channels % 4:
            raise UserError(f"model.channels is {self.channels}, but must be a multiple of 4")


def make_autoencoder(
    config: ModelConfig, *, mean_image: np.ndarray, key: jax.Array, as_products: bool | None = None
) -> Autoencoder:
    """Return a new model with random weights.

    Args:
        config: which model, and how large.
        mean_image: [height, width, channel], float in [0, 1]; `smooth` adds it to its output, the
            others take its shape alone.
        key: where the weights come from.
        as_products: how `reference` computes its layers, which changes nothing but time and
            rounding; None chooses what is fast on this backend: products on CPUs.

    Raises:
        UserError: images of that shape do not suit the model.
    """
    rngs = nnx.Rngs(params=key)
    size = {"latent_dim": config.latent_dim, "channels": config.channels}
    if config.name == "reference":
        products = jax.default_backend() == "cpu" if as_products is None else as_products
        return ReferenceAutoencoder(
            image_shape=mean_image.shape, **size, as_products=products, rngs=rngs
        )
    return SmoothAutoencoder(mean_image=mean_image, **size, rngs=rngs)
