"""Layers, the report's above all, as slices and matrix products, for CPUs.

XLA's CPU backend is slow at strided and transposed convolutions and at their gradients, but fast at
plain products (BUILD_NOTES.md has the figures). Here a convolution is a product of patches, which
are slices put side by side. Values and gradients are those of the plain layers, up to rounding.

A map that a transposed convolution of stride 2 makes consists of blocks of 2 x 2 values. The four
kinds of place in a block, *corners*, depend on different parts of the kernel, so that each is a
product of its own; they are put together only where somebody needs the map as a whole. All kernels
are [height, width, in, out] but for those of transposed convolutions, [height, width, out, in].
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsurf.models import pooling
from jaxsurf.models.pooling import PAIRS, Maps


def convolve(maps: Maps, kernel: Float[Array, "3 3 in out"], *, padding: int) -> Maps:
    """Return a convolution of stride 2 with zero padding."""
    side = (maps.shape[1] + 2 * padding - 3) // 2 + 1
    return _product(_patches(_padded(maps, padding), side=side, stride=2), kernel)


def convolve_and_pool(maps: Maps, kernel: Float[Array, "3 3 in out"], *, padding: int) -> Maps:
    """Return `convolve` with the maximum of each block of 2 x 2 values; it makes an even side."""
    side = (maps.shape[1] + 2 * padding - 3) // 4 + 1
    padded = _padded(maps, padding)
    corners = [
        _product(_patches(padded[:, 2 * row :, 2 * column :], side=side, stride=4), kernel)
        for row, column in PAIRS
    ]
    return pooling.largest(*corners)


def plain(maps: Maps, kernel: Float[Array, "3 3 in out"]) -> Maps:
    """Return XLA's own convolution of stride 1, with zeros around; it keeps the sides."""
    return jax.lax.conv_general_dilated(
        maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.custom_vjp
def widen(maps: Maps, kernel: Float[Array, "3 3 in out"]) -> Maps:
    """Return `plain`, of few channels; only reverse-mode differentiation works."""
    return plain(maps, kernel)


def _widen_forward(maps: Maps, kernel: Array) -> tuple[Maps, tuple[Maps, Array]]:
    return plain(maps, kernel), (maps, kernel)


def _widen_backward(known: tuple[Maps, Array], change: Maps) -> tuple[Maps, Array]:
    """Return both gradients, the maps' as one product and a sum over the kernel's places.

    Places of the map are kept together, not its few channels. Place p of the gradient is the sum
    over places k of the kernel of change p - k + 1 through it.
    """
    maps, kernel = known
    batch, height, width, depth = maps.shape
    weights, rows = kernel.reshape(9 * depth, -1), change.reshape(-1, change.shape[-1])
    through = jax.lax.dot_general(weights, rows, (((1,), (1,)), ((), ())))
    through = through.reshape(3, 3, depth, batch, height, width)
    around = jnp.pad(jax.lax.optimization_barrier(through), ((0, 0),) * 4 + ((1, 1),) * 2)
    summed = sum(
        around[i, j, :, :, 2 - i : 2 - i + height, 2 - j : 2 - j + width]
        for i, j in product(range(3), range(3))
    )
    of_maps = jax.lax.optimization_barrier(summed).transpose(1, 2, 3, 0)
    return of_maps, *jax.linear_transpose(partial(plain, maps), kernel)(change)


widen.defvjp(_widen_forward, _widen_backward)


def enlarge(maps: Maps, kernel: Float[Array, "3 3 out in"]) -> Maps:
    """Return a transposed convolution of stride 2: of side 2 n + 1 where maps have side n."""
    side = maps.shape[1]
    corners = enlarged_corners(_padded(maps, 0, 1), kernel)
    return _joined(corners)[:, : 2 * side + 1, : 2 * side + 1]


def enlarged_corners(maps: Maps, kernel: Float[Array, "3 3 out in"]) -> list[Maps]:
    """Return the four corners of the first n blocks of what `enlarge` returns, n the maps' side.

    Value 2 m of a line is the sum of input m through the kernel's place 0 and input m - 1 through
    place 2; value 2 m + 1 is input m through place 1.
    """
    side = maps.shape[1]
    padded = _padded(maps, 1, 0)
    reached = (((0, 1), (2, 0)), ((1, 1),))  # by corner: place in the kernel, shift of the slice
    corners = []
    for rows, columns in product(reached, reached):
        parts = list(product(rows, columns))
        patches = [padded[:, i : i + side, j : j + side] for (_, i), (_, j) in parts]
        places = [kernel[a, b].T for (a, _), (b, _) in parts]
        corners.append(_product(jnp.concatenate(patches, -1), jnp.concatenate(places)))
    return corners


def finish(corners: Sequence[Maps], kernel: Float[Array, "2 2 out in"]) -> Maps:
    """Return a transposed convolution of stride 1 that crops 2 values from every side.

    Value s of a line is the sum of input s + 2 through the kernel's place 0 and input s + 1 through
    place 1, so that the very first input is not used.

    Args:
        corners: of its input, whose last value is left out.
        kernel: of the layer.
    """
    depth, last = kernel.shape[2], corners[0].shape[1] - 1
    weights = kernel.transpose(3, 0, 1, 2).reshape(-1, 4 * depth)
    through = [_product(maps, weights).reshape(*maps.shape[:3], 2, 2, depth) for maps in corners]

    def value(row: int, column: int) -> Maps:
        """Return a corner of the output."""
        summed = []
        for a, b in PAIRS:
            (below, i), (right, j) = divmod(row + 2 - a, 2), divmod(column + 2 - b, 2)
            corner = through[2 * i + j]
            summed.append(corner[:, below : below + last, right : right + last, a, b])
        return sum(summed[1:], start=summed[0])

    return _joined([value(row, column) for row, column in PAIRS])


def _padded(maps: Maps, before: int, after: int | None = None) -> Maps:
    edges = (before, before if after is None else after)
    return jnp.pad(maps, ((0, 0), edges, edges, (0, 0)))


def _patches(maps: Maps, *, side: int, stride: int) -> Maps:
    """Return the 3 x 3 surroundings of every stride-th place, as channels."""
    reach = stride * (side - 1) + 1
    places = product(range(3), range(3))
    return jnp.concatenate(
        [maps[:, a : a + reach : stride, b : b + reach : stride] for a, b in places], axis=-1
    )


def _product(patches: Maps, kernel: Array) -> Maps:
    """Return channels times the kernel, whose last axis stays; one product for the whole batch."""
    weights = kernel.reshape(patches.shape[-1], kernel.shape[-1])
    rows = patches.reshape(-1, patches.shape[-1]) @ weights
    return rows.reshape(*patches.shape[:-1], weights.shape[-1])


def _joined(corners: Sequence[Maps]) -> Maps:
    """Return the map whose blocks have these corners."""
    batch, side, _, depth = corners[0].shape
    blocks = jnp.stack(corners, axis=3).reshape(batch, side, side, 2, 2, depth)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * side, 2 * side, depth)
