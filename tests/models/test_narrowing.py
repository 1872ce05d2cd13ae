"""The convolution to fewer channels against the plain one: values, and gradients in both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.models import narrowing
from jaxsurf.models.products import plain


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(params=[(4, 4), (5, 7), (16, 2)], ids=str)
def arguments(request):
    return draw(3, *request.param, 6), draw(3, 3, 6, 2, seed=1)


def test_values_and_both_modes_of_differentiation(arguments):
    expected = plain(*arguments)
    np.testing.assert_allclose(narrowing.convolve(*arguments), expected, rtol=1e-5, atol=1e-5)
    changes = [draw(*array.shape, seed=2) for array in arguments]
    mine, theirs = (
        jax.jvp(function, arguments, tuple(changes))[1] for function in (narrowing.convolve, plain)
    )
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    weights = draw(*expected.shape, seed=3)
    mine, theirs = (
        jax.vjp(function, *arguments)[1](weights) for function in (narrowing.convolve, plain)
    )
    for here, there in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


def test_several_at_once():
    many = draw(2, 3, 8, 8, 6), draw(2, 3, 3, 6, 2, seed=1)

    def gradient(function):
        return jax.vmap(jax.grad(lambda kernel, maps: jnp.sum(function(maps, kernel) ** 2)))

    mine, theirs = (gradient(each)(*many[::-1]) for each in (narrowing.convolve, plain))
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)
