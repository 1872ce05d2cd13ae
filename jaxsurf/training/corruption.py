"""The noises of a denoising autoencoder.

The strength of `normal` is a standard deviation on the report's pixel range [-1, 1]; images here
are in [0, 1], where the same noise has half of it. Noisy values are not clipped. Source: Vincent et
al., "Extracting and Composing Robust Features with Denoising Autoencoders", 2008, and the report's
authors' code for what `normal` and `white` do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxsurf.errors import UserError, check_choice
from jaxsurf.models.autoencoder import Images

MIDDLE_GREY = 0.5  # 0 on the report's range


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
        check_choice("corruption.kind", self.kind, ("none", "normal", "white"))
        if not 0 <= self.strength < math.inf or (self.kind == "white" and self.strength > 1):
            raise UserError(
                f"corruption.strength is {self.strength}",
                cure="choose a number >= 0, and for 'white' a share <= 1",
            )


@no_type_check
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Noise:
    """A corruption as numbers, so that one compiled program serves several."""

    kind: Int[Array, ""]  # its place in `kinds`
    strength: Float[Array, ""]
    # What the program can do; each costs time, whichever is chosen.
    kinds: tuple[str, ...] = field(metadata={"static": True})


def make_noise(config: CorruptionConfig, kinds: Sequence[str] = ()) -> Noise:
    """Return a corruption as numbers, for a program of some kinds, or of this kind alone."""
    known = tuple(kinds) or (config.kind,)
    return Noise(jnp.int32(known.index(config.kind)), jnp.float32(config.strength), known)


def corrupt(keys: Key[Array, "batch"], images: Images, noise: Noise) -> Images:
    """Return images with fresh noise, each by a key of its own."""
    # In one line an image: CPUs are slow at loops whose innermost is of three channels.
    line = (math.prod(images.shape[1:]),)

    def made(kind: str) -> Array:
        own = jax.random.clone(keys)  # only one kind is kept: each may have the keys to itself
        if kind == "normal":
            drawn = jax.vmap(lambda key: jax.random.normal(key, line))(own)
            return images + noise.strength / 2 * drawn.reshape(images.shape)
        if kind == "white":
            hit = jax.vmap(lambda key: jax.random.bernoulli(key, noise.strength, line))(own)
            return jnp.where(hit.reshape(images.shape), MIDDLE_GREY, images)
        return images

    all_made = [made(kind) for kind in noise.kinds]
    return jax.lax.select_n(noise.kind, *all_made) if len(all_made) > 1 else all_made[0]
