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

TILE = 4  # results of a line
POINTS = 6  # as many as the inputs that they depend on
_ROOT = math.sqrt(2)
_FINITE = np.array([0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT])
# Of each point, where its inverse stands; the last is infinity.
_INVERSE = np.array([5, 3, 4, 1, 2, 0])


def _matrices() -> tuple[Matrix, Matrix, Matrix]:
    """Return what transforms kernels [6 x 3], maps [6 x 6] and results [4 x 6] of a line.

    A kernel's row is its value at a point over the point's size, by which inverse points agree;
    results are put together by powers of the points; what is left for the maps is then given.
    """
    sizes = np.where(_FINITE == 0, 1, np.abs(_FINITE))
    kernels = np.vstack([np.vander(_FINITE, 3, increasing=True) / sizes[:, None], [0, 0, 1]])
    results = np.vstack([np.vander(_FINITE, TILE, increasing=True), [0, 0, 0, 1]]).T
    products = np.einsum("jp,pk->jkp", results, kernels).reshape(-1, POINTS)
    wanted = np.array([np.eye(POINTS)[j + k] for j in range(TILE) for k in range(3)])
    maps = np.linalg.lstsq(products, wanted)[0]
    return kernels, np.where(np.abs(maps) < 1e-9, 0, maps), results


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
    """Return the convolution of stride 1 with zero padding that keeps height and width."""
    return _joined(_products(_tiles(maps, _OF_MAPS), kernel), _OF_RESULTS, maps.shape)


def _forward(maps: Maps, kernel: Transformed) -> tuple[Maps, tuple[Maps, Transformed]]:
    return convolve(maps, kernel), (maps, kernel)


def _backward(known: tuple[Maps, Transformed], change: Maps) -> tuple[Maps, Transformed]:
    """Return both gradients; compiled, what nobody asks for is left out."""
    maps, kernel = known
    turned = _products(_tiles(change, _OF_MAPS[_INVERSE]), kernel, of=2)
    of_maps = _joined(turned, _OF_RESULTS[:, _INVERSE], maps.shape)
    inputs, outputs = _tiles(maps, _OF_MAPS), _tiles(change, _OF_RESULTS.T)
    return of_maps, _products(inputs.transpose(0, 2, 1), outputs)


convolve.defvjp(_forward, _backward)


def _tiles(maps: Maps, matrix: Matrix) -> Tiles:
    """Return the transformed values of every tile: 4 x 4, or with those around it 6 x 6.

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
    places = [padded[:, :, i : i + TILE * (along - 1) + 1 : TILE] for i in range(reach)]
    lines = jax.lax.optimization_barrier(_combined(matrix, places))
    places = [lines[:, :, i : i + TILE * (down - 1) + 1 : TILE] for i in range(reach)]
    return _combined(matrix, places).reshape(POINTS**2, batch * down * along, depth)


def _products(left: Tiles, right: Array, *, of: int = 1) -> Array:
    """Return the matrix products at each place; of which axis of the right ones is summed over.

    The barriers keep sums from being done anew inside of products, and the other way round.
    """
    left, right = jax.lax.optimization_barrier((left, right))
    product = jax.lax.dot_general(left, right, (((2,), (of,)), ((0,), (0,))))
    return jax.lax.optimization_barrier(product)


def _joined(tiles: Tiles, matrix: Matrix, shape: tuple[int, ...]) -> Maps:
    """Return the maps of a shape, but for their depth, of which these are the products."""
    (batch, height, width, _), (down, along) = shape, _counts(shape)
    depth = tiles.shape[-1]
    values = tiles.reshape(POINTS, POINTS, batch, down, along, depth)
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
