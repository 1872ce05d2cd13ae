"""Convolutions by tiles against plain ones: values, both gradients, rounding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxsurf.models import products, winograd
from jaxsurf.models.products import plain


def by_tiles(maps, kernel):
    return winograd.convolve(maps, winograd.transform(kernel))


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# Whole tiles, parts of tiles either way, less than one.
@pytest.mark.parametrize("sides", [(8, 8), (5, 7), (16, 2), (1, 1)], ids=str)
def test_values_and_both_gradients(sides):
    maps, kernel = draw(3, *sides, 6), draw(3, 3, 6, 5, seed=1)
    weights = draw(3, *sides, 5, seed=2)

    @partial(jax.jit, static_argnums=0)
    def all_of(function, maps, kernel):
        values, back = jax.vjp(function, maps, kernel)
        return values, *back(weights)

    found, expected = (all_of(function, maps, kernel) for function in (by_tiles, plain))
    for here, there in zip(found, expected, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


def test_several_maps_and_kernels_at_once():
    maps, kernels = draw(2, 3, 8, 8, 6), draw(2, 3, 3, 6, 5, seed=1)

    def gradients(function):
        def loss(maps, kernel):
            return jnp.sum(function(maps, kernel) ** 2)

        return jax.jit(jax.vmap(jax.grad(loss, (0, 1))))(maps, kernels)

    for here, there in zip(gradients(by_tiles), gradients(plain), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("convolve", [winograd.convolve, products.widen])
def test_maps_may_be_split_over_devices_where_kernels_are_whole(convolve):
    mesh = jax.make_mesh((4,), ("part",), axis_types=(jax.sharding.AxisType.Auto,))
    maps, kernel = draw(4, 1, 4, 4, 3), draw(3, 3, 3, 5, seed=1)
    if convolve is winograd.convolve:
        kernel = winograd.transform(kernel)

    def gradient(maps, kernel):
        return jax.grad(lambda maps: jnp.sum(convolve(maps, kernel) ** 2))(maps)

    def of_one(maps, kernel):
        own = jax.lax.pcast(kernel, "part", to="varying")
        return jax.vmap(gradient, in_axes=(0, None))(maps, own)

    spread = jax.shard_map(of_one, mesh=mesh, in_specs=(P("part"), P()), out_specs=P("part"))
    for here, there in zip(jax.jit(spread)(maps, kernel), maps, strict=True):
        np.testing.assert_allclose(here, jax.jit(gradient)(there, kernel), rtol=1e-4, atol=1e-4)


def test_rounding_is_a_few_times_that_of_a_plain_convolution():
    maps, kernel = jax.nn.relu(draw(2, 16, 16, 128)), draw(3, 3, 128, 16, seed=1)
    with jax.enable_x64(True):
        exact = np.asarray(plain(maps.astype(jnp.float64), kernel.astype(jnp.float64)))
    errors = {
        function: np.sqrt(np.mean((np.asarray(function(maps, kernel), np.float64) - exact) ** 2))
        for function in (by_tiles, plain)
    }
    assert 0 < errors[by_tiles] < 1.5e-6 * np.std(exact)
    assert errors[by_tiles] < 8 * errors[plain]
