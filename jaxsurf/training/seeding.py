"""Randomness and data order as pure functions of the seed.

The noise of an image comes from `fold_in(fold_in(key, step), slot)`, with its slot in the batch, so
that any part of a batch draws its own; the order of the images in an epoch comes from
`fold_in(key, epoch)` of a second stream.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


@dataclass(frozen=True)
class Streams:
    """One named stream of randomness a purpose, all from one seed."""

    weights: Key[Array, ""]
    noise: Key[Array, ""]
    order: Key[Array, ""]


def make_streams(seed: int) -> Streams:
    """Return the streams of a seed."""
    return Streams(*jax.random.split(jax.random.key(seed), 3))


@partial(jax.jit, static_argnames=("num_images", "num_slots"))
def epoch_order(
    key: Key[Array, ""], epoch: Int[Array, ""], *, num_images: int, num_slots: int
) -> Int[Array, "slot"]:
    """Return the image numbers of an epoch in order.

    Every image comes once; if the batches have more slots than there are images, the last batch is
    filled up with the first images of the same order.
    """
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_images)
    return jnp.resize(order, (num_slots,))


def noise_keys(
    key: Key[Array, ""], step: Int[Array, ""], slots: Int[Array, "image"]
) -> Key[Array, "image"]:
    """Return the keys of the noise of images in some slots of a step's batch."""
    return jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, step)))(slots)
