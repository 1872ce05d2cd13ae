"""What training makes small.

Every term has one value per example; the caller takes the mean, once. `mse` is the mean squared
error over all values, pixels in [0, 1]; a weight of 4 equals a weight of 1 on the report's pixel
range [-1, 1].
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsurf.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the terms.

    Attributes:
        mse: weight of the mean squared error.
        perceptual: weight of the perceptual term; not built yet, so only 0 is taken.
    """

    mse: float = 1.0
    perceptual: float = 0.0

    def __post_init__(self) -> None:
        if self.perceptual:
            raise UserError(
                f"objective.perceptual is {self.perceptual}, but the perceptual term is not built "
                "yet",
                cure="set it to 0",
            )
        if not 0 < self.mse < math.inf:
            raise UserError(f"objective.mse is {self.mse}, but must be above 0 and finite")


def mse(
    outputs: Float[Array, "batch height width channel"],
    images: Float[Array, "batch height width channel"],
) -> Float[Array, "batch"]:
    """Return the mean squared error of each example, over all its values."""
    return jnp.mean(jnp.square(outputs - images), axis=(1, 2, 3))


def total(
    outputs: Float[Array, "batch height width channel"],
    images: Float[Array, "batch height width channel"],
    *,
    config: ObjectiveConfig,
) -> tuple[Float[Array, "batch"], dict[str, Float[Array, "batch"]]]:
    """Return the weighted sum of the terms, and the unweighted terms by name."""
    terms = {"mse": mse(outputs, images)}
    return config.mse * terms["mse"], terms
