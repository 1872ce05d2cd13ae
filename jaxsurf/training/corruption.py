"""The noises of a denoising autoencoder.

The strength of `normal` is a standard deviation on the report's pixel range [-1, 1]; images here
are in [0, 1], where the same noise has half of it. That of `white` is the share of values that
become middle grey: 0 on the report's range, 0.5 here. Noisy values are not
clipped. Source: Vincent et al., "Extracting and Composing Robust Features with Denoising
Autoencoders", 2008, and the report's authors' code for what `normal` and `white` do.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxsurf.errors import UserError

KINDS = ("none", "normal", "white")
MIDDLE_GREY = 0.5


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """How inputs are spoilt during training.

    Attributes:
        kind: `normal` adds Gaussian noise; `white` sets single values (pixel and channel apart) to
            middle grey; `none` leaves images alone.
        strength: `normal`: standard deviation on [-1, 1]; `white`: the share of values.
    """

    kind: str = "normal"
    strength: float = 0.05

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"corruption.kind is {self.kind!r}", cure=f"choose one of {KINDS}")
        if not 0 <= self.strength < math.inf or (self.kind == "white" and self.strength > 1):
            raise UserError(
                f"corruption.strength is {self.strength}",
                cure="choose a number >= 0, and for 'white' a share <= 1",
            )


def corrupt(
    key: Key[Array, ""],
    images: Float[Array, "batch height width channel"],
    *,
    config: CorruptionConfig,
) -> Float[Array, "batch height width channel"]:
    """Return images with fresh noise of the configured kind."""
    if config.kind == "normal":
        return images + config.strength / 2 * jax.random.normal(key, images.shape)
    if config.kind == "white":
        lost = jax.random.bernoulli(key, config.strength, images.shape)
        return jnp.where(lost, MIDDLE_GREY, images)
    return images
