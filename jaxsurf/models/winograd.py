"""3 x 3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks", 2016): a line of four results is a product of polynomials, known by its values at
six points, so that a tile of 4 x 4 results takes 36 multiplications a pair of channels instead of
144. They are 36 matrix products over all tiles; the rest are sums.

The points are 0, infinity, and plus and minus the root of 2 and of 1/2. Each one's inverse is among
them, so a kernel that is turned by half a circle, as gradients want it, is the same numbers in
another order. And they round well: errors are three times the plain convolution's, half as large
as with the usual points 0, 1, -1, 2, -2 (BUILD_NOTES.md).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Maps = Float[Array, "batch height width channel"]
Tiles = Float[Array, "36 tile channel"]
Transformed = Float[Array, "36 in out"]
Matrix = Float[np.ndarray, "row column"]

# How far results that should be equal may lie apart, as a share of their root mean square.
ROUNDING = 3e-6
TILE = 4  # results of a line
POINTS = 6  # as many as the inputs that they depend on
_ROOT = math.sqrt(2)
_FINITE = np.array([0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT])
# Of each point, where its inverse stands; the last is infinity.
_INVERSE = np.array([5, 3, 4, 1, 2, 0])


def _matrices() -> tuple[Matrix, Matrix, Matrix]:
    """Return what transforms kernels K [6 x 3], maps M [6 x 6] and results R [4 x 6] of a line.

    With a kernel g and inputs d, result j is the sum over points p of R[j, p] (K g)[p] (M d)[p],
    which has to be the sum over k of g[k] d[j + k]. Rows of K are values at a point over the
    point's size, by which inverse points agree, columns of R its powers; M follows from both.
    """
    sizes = np.where(_FINITE == 0, 1, np.abs(_FINITE))
    of_kernels = np.vstack([np.vander(_FINITE, 3, increasing=True) / sizes[:, None], [0, 0, 1]])
    of_results = np.vstack([np.vander(_FINITE, TILE, increasing=True), [0, 0, 0, 1]]).T
    factors = np.einsum("jp,pk->jkp", of_results, of_kernels).reshape(-1, POINTS)
    wanted = np.array([np.eye(POINTS)[j + k] for j in range(TILE) for k in range(3)])
    of_maps = np.linalg.lstsq(factors, wanted, rcond=None)[0]
    return of_kernels, np.round(of_maps, 12), of_results


_OF_KERNELS, _OF_MAPS, _OF_RESULTS = _matrices()


def transform(kernel: Float[Array, "3 3 in out"]) -> Transformed:
    """Return a kernel as `convolve` takes it, four times as large."""
    # Rows and columns at once, so that it is one product.
    both = jnp.asarray(np.kron(_OF_KERNELS, _OF_KERNELS), kernel.dtype)
    flat = kernel.reshape(9, -1)
    product = jnp.matmul(both, flat, precision=jax.lax.Precision.HIGHEST)
    return product.reshape(-1, *kernel.shape[2:])


@jax.custom_vjp
def convolve(maps: Maps, kernel: Transformed) -> Maps:
    """Return the convolution of stride 1 with zero padding that keeps height and width.

    Only reverse-mode differentiation works.

    Args:
        maps: what is convolved.
        kernel: what `transform` returned; with any other numbers the gradient of the maps is wrong.
    """
    return _joined(_multiplied(_tiles(maps, _OF_MAPS), kernel), _OF_RESULTS, maps.shape)


def _forward(maps: Maps, kernel: Transformed) -> tuple[Maps, tuple[Maps, Transformed]]:
    return convolve(maps, kernel), (maps, kernel)


def _backward(known: tuple[Maps, Transformed], change: Maps) -> tuple[Maps, Transformed]:
    """Return both gradients; compiled, what nobody asks for is left out.

    The maps' is the convolution of the change with the kernel turned round, whose value at a point
    is the kernel's at the inverse: not the kernel is put in that order, but what it meets.
    """
    maps, kernel = known
    met = _multiplied(_tiles(change, _OF_MAPS[_INVERSE]), kernel.transpose(0, 2, 1))
    of_maps = _joined(met, _OF_RESULTS[:, _INVERSE], maps.shape)
    inputs, outputs = _tiles(maps, _OF_MAPS), _tiles(change, _OF_RESULTS.T)
    return of_maps, _multiplied(inputs.transpose(0, 2, 1), outputs)


convolve.defvjp(_forward, _backward)


def _tiles(maps: Maps, matrix: Matrix) -> Tiles:
    """Return the transformed values of every tile: 4 x 4, or with those around it 6 x 6.

    Barriers, here and below, keep sums from being done anew wherever they are used.

    Args:
        maps: cut into tiles.
        matrix: what transforms a line of a tile, [6 x 4] or [6 x 6].
    """
    batch, height, width, depth = maps.shape
    reach = matrix.shape[1]
    around = (reach - TILE) // 2
    down, along = _counts(maps.shape)
    edges = [(around, TILE * n - side + around) for n, side in ((down, height), (along, width))]
    padded = jnp.pad(maps, ((0, 0), *edges, (0, 0)))
    # Value i of every tile's lines, then of its columns: [point, batch, height, along, depth], then
    # [point down, point along, batch, down, along, depth].
    values = [padded[:, :, i : i + TILE * (along - 1) + 1 : TILE] for i in range(reach)]
    lines = jax.lax.optimization_barrier(_combined(matrix, values))
    values = [lines[:, :, i : i + TILE * (down - 1) + 1 : TILE] for i in range(reach)]
    tiles = _combined(matrix, values).reshape(POINTS**2, batch * down * along, depth)
    return jax.lax.optimization_barrier(tiles)


def _multiplied(
    left: Float[Array, "36 row inner"], right: Float[Array, "36 inner column"]
) -> Float[Array, "36 row column"]:
    """Return 36 matrix products."""
    return jax.lax.optimization_barrier(jnp.matmul(left, right))


def _joined(tiles: Tiles, matrix: Matrix, shape: tuple[int, ...]) -> Maps:
    """Return the maps of a shape, but for their depth, of which these are the products."""
    (batch, height, width, _), (down, along) = shape, _counts(shape)
    depth = tiles.shape[-1]
    values = tiles.reshape(POINTS, POINTS, batch, down, along, depth)
    # [row of a tile, point along, ...], then [column of a tile, row of a tile, ...].
    lines = jax.lax.optimization_barrier(_combined(matrix, list(values)))
    blocks = _combined(matrix, [lines[:, i] for i in range(POINTS)])
    maps = blocks.transpose(2, 3, 1, 4, 0, 5).reshape(batch, TILE * down, TILE * along, depth)
    return maps[:, :height, :width]


def _counts(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the numbers of tiles down and along maps."""
    return -(-shape[1] // TILE), -(-shape[2] // TILE)


def _combined(matrix: Matrix, parts: list[Array]) -> Array:
    """Return the matrix times a list of arrays, stacked; zeros and ones cost nothing."""
    return jnp.stack([_sum(row, parts) for row in matrix])


def _sum(row: Float[np.ndarray, "column"], parts: list[Array]) -> Array:
    terms = [
        part if factor == 1 else jnp.asarray(factor, part.dtype) * part
        for factor, part in zip(row, parts, strict=True)
        if factor != 0
    ]
    return sum(terms[1:], start=terms[0])
