"""Pooling against the plain layers: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models import pooling

FORMS = {
    "blocks": (pooling.blocks, (2, 2)),
    "overlapping": (pooling.overlapping, (1, 1)),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sides", [(8, 8), (7, 4), (3, 5)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_the_first_of_equals_has_the_gradient(form, sides, dtype):
    mine, strides = FORMS[form]
    random = np.random.default_rng(0)
    few_values = jnp.asarray(np.round(random.normal(size=(2, *sides, 3))), dtype)
    found, back = jax.vjp(mine, few_values)
    expected, plain_back = jax.vjp(
        lambda maps: nnx.max_pool(maps, (2, 2), strides=strides), few_values
    )
    np.testing.assert_array_equal(found, expected)
    # Whole numbers, so that their sums are exact in any order.
    change = jnp.asarray(np.arange(found.size).reshape(found.shape) % 9, dtype)
    np.testing.assert_array_equal(back(change)[0], plain_back(change)[0])


def test_of_values_equal_up_to_rounding_the_first_has_the_gradient():
    def pooled(maps):
        return pooling.blocks(maps, rounding=3e-6)

    near = jnp.array([[1, 1 + 1e-6], [0.5, 1 - 1e-6]], jnp.float32)
    clear = jnp.array([[1, 1.0001], [0.5, 1]], jnp.float32)
    # What is near is measured by each image's own values.
    maps = jnp.stack([near, clear, 1000 * near])[..., None]
    np.testing.assert_array_equal(jnp.squeeze(pooled(maps)), maps.max(axis=(1, 2, 3)))
    gradient = jax.grad(lambda maps: jnp.sum(pooled(maps)))(maps)[..., 0]
    first, second = [[1, 0], [0, 0]], [[0, 1], [0, 0]]
    np.testing.assert_array_equal(gradient, [first, second, first])
