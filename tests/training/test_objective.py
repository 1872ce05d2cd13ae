import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxsurf.errors import UserError
from jaxsurf.training import objective
from jaxsurf.training.objective import ObjectiveConfig

OUTPUTS = jax.random.uniform(jax.random.key(0), (5, 7, 11, 3))
IMAGES = jax.random.uniform(jax.random.key(1), (5, 7, 11, 3))


def test_mse_is_numpys_one_value_an_example():
    difference = np.asarray(OUTPUTS, np.float64) - np.asarray(IMAGES, np.float64)
    expected = [np.mean(example**2) for example in difference]
    np.testing.assert_allclose(objective.mse(OUTPUTS, IMAGES), expected, rtol=1e-6)


def test_weight_of_four_is_the_mse_on_the_symmetric_range():
    total, terms = objective.total(OUTPUTS, IMAGES, config=ObjectiveConfig(mse=4.0))
    symmetric = objective.mse(2 * OUTPUTS - 1, 2 * IMAGES - 1)
    np.testing.assert_allclose(total, symmetric, rtol=1e-5)
    np.testing.assert_allclose(terms["mse"], objective.mse(OUTPUTS, IMAGES), rtol=1e-6)


def test_gradient_equals_finite_differences():
    # A sum over examples of order 1, in float32: a step of 1e-2 keeps rounding below 1e-3.
    check_grads(
        lambda outputs: jnp.sum(objective.mse(outputs, IMAGES)),
        (OUTPUTS,),
        order=1,
        modes=["rev"],
        rtol=1e-3,
        atol=1e-3,
        eps=1e-2,
    )


def test_what_is_not_built_is_refused_by_name():
    with pytest.raises(UserError, match="perceptual term is not built yet; set it to 0"):
        ObjectiveConfig(perceptual=0.3)


def test_weight_must_be_positive():
    with pytest.raises(UserError, match=r"objective\.mse is 0\.0"):
        ObjectiveConfig(mse=0.0)
