"""What XLA's CPU backend is slow at, in a form that it is fast with.

- Strided and transposed convolutions and their gradients, as slices and matrix products. A GPU is
  slow at transposed convolutions too, so that the report's model has this form everywhere.
- `narrow`: a convolution to fewer channels with a quicker gradient.
- Max-pooling as a maximum of slices. The gradient of XLA's own is slow on CPUs and a scatter on
  GPUs, which takes long where results must not depend on the order of the moment.

Values and gradients are those of the plain layers, up to rounding; BUILD_NOTES.md has the figures.
Images are NHWC. Kernels are [height, width, in, out], of transposed convolutions [..., out, in].

A map that a transposed convolution of stride 2 makes consists of blocks of 2 x 2 values. The four
kinds of place in a block, *corners*, depend on different parts of the kernel, so that each is a
product of its own; they are put together only where somebody needs the map as a whole.
"""

from collections.abc import Iterable, Sequence
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Maps = Float[Array, "batch height width channel"]
Pooled = Float[Array, "batch down along channel"]
Made = Float[Array, "batch down along out"]
Kernel = Float[Array, "3 3 channel out"]
TransposedKernel = Float[Array, "3 3 out channel"]
PAIRS = tuple(product(range(2), range(2)))


def convolve(maps: Maps, kernel: Kernel, *, padding: int) -> Made:
    """Return a convolution of stride 2 with zero padding."""
    down, along = ((side + 2 * padding - 3) // 2 + 1 for side in maps.shape[1:3])
    patches = _patches(_padded(maps, padding, padding), down, along, stride=2)
    return _product(patches, kernel)


def convolve_and_pool(maps: Maps, kernel: Kernel) -> Made:
    """Return the maximum of each block of 2 x 2 values of `convolve`, padded by 1, of even side."""
    down, along = ((side - 1) // 4 + 1 for side in maps.shape[1:3])
    padded = _padded(maps, 1, 1)
    return _largest(
        _product(_patches(padded[:, 2 * row :, 2 * column :], down, along, stride=4), kernel)
        for row, column in PAIRS
    )


def pool_overlapping(maps: Maps) -> Pooled:
    """Return the maximum of every square of 2 x 2 values: a line less than there was."""
    down, along = maps.shape[1] - 1, maps.shape[2] - 1
    return _largest(maps[:, row : row + down, column : column + along] for row, column in PAIRS)


def pool_blocks(maps: Maps) -> Pooled:
    """Return the maximum of each block of 2 x 2 values; an odd last line is left out."""
    batch, height, width, depth = maps.shape
    down, along = height // 2, width // 2
    split = maps[:, : 2 * down, : 2 * along].reshape(batch, down, 2, along, 2, depth)
    return _largest(split[:, :, row, :, column] for row, column in PAIRS)


def enlarge(maps: Maps, kernel: TransposedKernel) -> Made:
    """Return a transposed convolution of stride 2: of side 2 n + 1 where maps have side n."""
    down, along = maps.shape[1:3]
    corners = enlarged_corners(_padded(maps, 0, 1), kernel)
    return depth_to_space(jnp.concatenate(corners, axis=-1))[:, : 2 * down + 1, : 2 * along + 1]


def enlarged_corners(maps: Maps, kernel: TransposedKernel) -> list[Made]:
    """Return the four corners of the first n blocks of what `enlarge` returns, n the maps' side.

    Value 2 m of a line is the sum of input m through the kernel's place 0 and input m - 1 through
    place 2; value 2 m + 1 is input m through place 1.
    """
    down, along = maps.shape[1:3]
    padded = _padded(maps, 1, 0)
    reached = (((0, 1), (2, 0)), ((1, 1),))  # by corner: place in the kernel, shift of the slice
    corners = []
    for rows, columns in product(reached, reached):
        parts = list(product(rows, columns))
        patches = [padded[:, i : i + down, j : j + along] for (_, i), (_, j) in parts]
        places = [kernel[a, b].T for (a, _), (b, _) in parts]
        corners.append(_product(jnp.concatenate(patches, -1), jnp.concatenate(places)))
    return corners


def finish(corners: Sequence[Maps], kernel: Float[Array, "2 2 out channel"]) -> Made:
    """Return a transposed convolution of stride 1 that crops 2 values from every side.

    Value s of a line is the sum of input s + 2 through the kernel's place 0 and input s + 1 through
    place 1, so that the very first input is not used; the corners leave out its last value.
    """
    depth, down, along = kernel.shape[2], corners[0].shape[1] - 1, corners[0].shape[2] - 1
    weights = kernel.transpose(3, 0, 1, 2).reshape(-1, 4 * depth)
    through = [_product(maps, weights).reshape(*maps.shape[:3], 2, 2, depth) for maps in corners]

    def corner_at(row: int, column: int) -> Array:
        summed = []
        for a, b in PAIRS:
            (below, i), (right, j) = divmod(row + 2 - a, 2), divmod(column + 2 - b, 2)
            corner = through[2 * i + j]
            summed.append(corner[:, below : below + down, right : right + along, a, b])
        return sum(summed[1:], start=summed[0])

    return depth_to_space(jnp.concatenate([corner_at(*pair) for pair in PAIRS], axis=-1))


def plain(maps: Maps, kernel: Kernel) -> Float[Array, "batch height width out"]:
    """Return XLA's own convolution of stride 1, with zeros around; it keeps the sides."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def depth_to_space(maps: Maps) -> Made:
    """Return the map whose blocks of 2 x 2 values stand one behind the other in the channels."""
    batch, down, along, depth = maps.shape
    blocks = maps.reshape(batch, down, along, 2, 2, depth // 4).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(batch, 2 * down, 2 * along, depth // 4)


@jax.custom_jvp
def narrow(maps: Maps, kernel: Kernel) -> Float[Array, "batch height width out"]:
    """Return `plain` to fewer channels, whose gradient CPUs compute in half the time.

    The gradient with respect to a kernel correlates input and output. XLA lays out nine shifted
    copies of the one that it takes for the image, and JAX makes that the input, the wider of the
    two here; with the roles turned the copies are of the output.
    """
    return plain(maps, kernel)


@narrow.defjvp
def _narrow_jvp(primals: tuple[Maps, Kernel], tangents: tuple[Maps, Kernel]) -> tuple[Array, Array]:
    (maps, kernel), (maps_change, kernel_change) = primals, tangents
    # The changed kernel is taken for an image and the maps for its kernel. That is slow itself, but
    # its transpose is what is wanted. Place h of the output is the sum over places p of the maps
    # times kernel place p - h + 1, so that it counts backwards.
    numbers = lax.ConvDimensionNumbers(
        lhs_spec=(3, 2, 0, 1),  # kernel: its outputs are the batch, its inputs the channels
        rhs_spec=(0, 3, 1, 2),  # maps: their batch is what comes out, their channels go in
        out_spec=(3, 0, 1, 2),
    )
    around = [(side - 2, side - 2) for side in maps.shape[1:3]]
    backwards = lax.conv_general_dilated(
        kernel_change, maps, (1, 1), around, dimension_numbers=numbers
    )
    return narrow(maps, kernel), narrow(maps_change, kernel) + backwards[:, ::-1, ::-1]


def _largest(maps: Iterable[Maps]) -> Maps:
    """Return the largest value at each place; of equal ones the first has the gradient."""
    found, *others = maps
    for more in others:
        found = jnp.where(more > found, more, found)
    return found


def _padded(maps: Maps, before: int, after: int) -> Pooled:
    return jnp.pad(maps, ((0, 0), (before, after), (before, after), (0, 0)))


def _patches(maps: Maps, down: int, along: int, *, stride: int) -> Made:
    """Return the 3 x 3 surroundings of every stride-th place, as channels."""
    low, right = stride * (down - 1) + 1, stride * (along - 1) + 1
    places = product(range(3), range(3))
    return jnp.concatenate(
        [maps[:, a : a + low : stride, b : b + right : stride] for a, b in places], axis=-1
    )


def _product(
    patches: Float[Array, "batch height width in"], kernel: Float[Array, "... out"]
) -> Float[Array, "batch height width out"]:
    """Return channels times the kernel, whose last axis stays; one product for the whole batch."""
    weights = kernel.reshape(patches.shape[-1], kernel.shape[-1])
    rows = patches.reshape(-1, patches.shape[-1]) @ weights
    return rows.reshape(*patches.shape[:-1], weights.shape[-1])
