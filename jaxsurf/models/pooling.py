"""Max-pooling as a maximum of slices.

The gradient of XLA's own pooling is slow on CPUs. For GPUs it is a scatter: where squares overlap
it is added up in the order of the moment, so that two runs may differ, and where XLA is asked not
to do so (`pipeline/command/compiler.py`) scatters take long. Values and gradients are those of the
plain layers: of equal values the first has the gradient, while `jnp.maximum` would share it out.
Only reverse-mode differentiation works.
"""

from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

Maps = Float[Array, "batch height width channel"]
Slack = Float[Array, ""] | Float[Array, "batch 1 1 1"]
PAIRS = tuple(product(range(2), range(2)))


def overlapping(maps: Maps) -> Maps:
    """Return the maximum of every square of 2 x 2 values: a line less than there was."""
    down, along = maps.shape[1] - 1, maps.shape[2] - 1
    return largest(*(maps[:, row : row + down, column : column + along] for row, column in PAIRS))


def blocks(maps: Maps, *, rounding: float = 0.0) -> Maps:
    """Return the maximum of each block of 2 x 2 values; an odd last line is left out.

    Where an image is flat, values of a block are as equal as they were computed: of those that are
    equal up to rounding the first has the gradient, as of equal ones.

    Args:
        maps: to be pooled.
        rounding: how far values of an image that should be equal may lie apart, as a share of
            their root mean square.
    """
    batch, height, width, depth = maps.shape
    down, along = height // 2, width // 2
    split = maps[:, : 2 * down, : 2 * along].reshape(batch, down, 2, along, 2, depth)
    corners = [split[:, :, row, :, column] for row, column in PAIRS]
    return largest(*corners, slack=rounding * _magnitude(maps) if rounding else 0.0)


def _magnitude(maps: Maps) -> Float[Array, "batch 1 1 1"]:
    """Return the root mean square of each image's values."""
    squares = jnp.square(jax.lax.stop_gradient(maps))
    return jnp.sqrt(jnp.mean(squares, axis=(1, 2, 3), keepdims=True))


def largest(*maps: Maps, slack: Array | float = 0.0) -> Maps:
    """Return the largest of the four values of each square, given in the order of `PAIRS`.

    Those that differ by no more than the slack count as equal.
    """
    return _first_largest(jnp.asarray(slack, maps[0].dtype), *maps)


@jax.custom_vjp
def _first_largest(slack: Slack, *maps: Maps) -> Maps:
    del slack
    found = maps[0]
    for more in maps[1:]:
        found = jnp.maximum(found, more)
    return found


def _forward(
    slack: Slack, *maps: Maps
) -> tuple[Maps, tuple[Int8[Array, "batch height width channel"], Slack]]:
    found, winner = maps[0], jnp.zeros(maps[0].shape, jnp.int8)
    for number, more in enumerate(maps[1:], start=1):
        winner = jnp.where(more > found + slack, jnp.int8(number), winner)
        found = jnp.maximum(found, more)
    return found, (winner, slack)


def _backward(
    known: tuple[Int8[Array, "batch height width channel"], Slack], change: Maps
) -> tuple[Array, ...]:
    winner, slack = known
    return 0 * slack, *(jnp.where(winner == number, change, 0) for number in range(len(PAIRS)))


_first_largest.defvjp(_forward, _backward)
