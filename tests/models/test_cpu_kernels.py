"""Layers against XLA's plain ones, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models import cpu_kernels

PLAIN = {"window_strides": (2, 2), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def convolved(maps, kernel, padding):
    edges = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(maps, kernel, padding=edges, **PLAIN)


def transposed(maps, kernel, *, stride, crop):
    edge = kernel.shape[0] - 1 - crop
    return jax.lax.conv_general_dilated(
        maps,
        kernel[::-1, ::-1],
        window_strides=(1, 1),
        padding=[(edge, edge)] * 2,
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def assert_same(mine, plain, *arguments):
    """Compare values, and the gradients of a sum that weighs every value differently."""
    weights = draw(*jax.eval_shape(plain, *arguments).shape, seed=9)

    def computed(function):
        def weighed(*given):
            values = function(*given)
            assert values.shape == weights.shape
            return jnp.sum(weights * values), values

        numbers = tuple(range(len(arguments)))
        gradients, values = jax.jit(jax.grad(weighed, numbers, has_aux=True))(*arguments)
        return values, gradients

    (found, gradients), (expected, plain_gradients) = computed(mine), computed(plain)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for here, there in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


def pooled(maps, kernel):
    return nnx.max_pool(convolved(maps, kernel, 1), (2, 2), strides=(2, 2))


def both(maps, middle, last):
    return cpu_kernels.finish(cpu_kernels.enlarged_corners(maps, middle), last)


def plain_both(maps, middle, last):
    return transposed(transposed(maps, middle, stride=2, crop=0), last, stride=1, crop=2)


padded, bare = ({"padding": width} for width in (1, 0))
LAYERS = [
    (partial(cpu_kernels.convolve, **padded), partial(convolved, **padded), (8, 5), (3, 5, 7)),
    (partial(cpu_kernels.convolve, **bare), partial(convolved, **bare), (11, 5), (3, 5, 7)),
    (cpu_kernels.convolve_and_pool, pooled, (16, 3), (3, 3, 7)),
    (cpu_kernels.enlarge, partial(transposed, stride=2, crop=0), (5, 3), (3, 7, 3)),
    (both, plain_both, (5, 3), (3, 7, 3), (2, 4, 7)),  # without the map between them
]


@pytest.mark.parametrize("layer", LAYERS)
def test_strided_and_transposed_convolutions_are_xlas(layer):
    mine, plain, (side, depth), *kernels = layer
    assert_same(mine, plain, draw(2, side, side, depth), *(draw(k[0], *k) for k in kernels))


@pytest.mark.parametrize("sides", [(5, 7), (16, 2)], ids=str)
def test_convolution_to_fewer_channels_also_of_several_at_once(sides):
    given = draw(3, *sides, 6), draw(3, 3, 6, 2, seed=1)
    assert_same(cpu_kernels.narrow, cpu_kernels.plain, *given)
    several = [jnp.stack([array, 2 * array]) for array in given]
    assert_same(jax.vmap(cpu_kernels.narrow), jax.vmap(cpu_kernels.plain), *several)
    changes = tuple(draw(*array.shape, seed=2) for array in given)
    mine, theirs = (
        jax.jit(partial(jax.jvp, each))(given, changes)[1]
        for each in (cpu_kernels.narrow, cpu_kernels.plain)
    )
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sides", [(8, 8), (7, 4)], ids=str)
@pytest.mark.parametrize(
    ("mine", "stride"), [(cpu_kernels.pool_blocks, 2), (cpu_kernels.pool_overlapping, 1)]
)
def test_the_first_of_equals_has_the_gradient_of_pooling(mine, stride, sides, dtype):
    few_values = jnp.asarray(np.round(np.random.default_rng(0).normal(size=(2, *sides, 3))), dtype)

    def plain(maps):
        return nnx.max_pool(maps, (2, 2), strides=(stride, stride))

    @partial(jax.jit, static_argnums=0)
    def computed(pool, maps):
        values, back = jax.vjp(pool, maps)
        # Whole numbers, so that their sums are exact in any order.
        change = jnp.arange(values.size).reshape(values.shape) % 9
        return values, back(change.astype(dtype))[0]

    for found, expected in zip(
        computed(mine, few_values), computed(plain, few_values), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
