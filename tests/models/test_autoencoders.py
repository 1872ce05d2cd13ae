"""Models of both names; what the reference one computes is compared in test_reference.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder


def make(side=32, depth=3, latent_dim=2, name="smooth", width=None):
    mean = np.random.default_rng(1).random((side, width or side, depth))
    config = ModelConfig(name=name, latent_dim=latent_dim, channels=8)
    return make_autoencoder(config, mean_image=mean, key=jax.random.key(0)), mean


@pytest.mark.core
@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_any_side_divisible_by_16_depth_and_latent_size_come_back(name):
    for side, depth, latent_dim in ((32, 3, 2), (48, 1, 5), (96, 4, 1)):
        model, _ = make(side, depth, latent_dim, name=name)
        images = jnp.zeros((3, side, side, depth))
        assert jax.eval_shape(model.encode, images).shape == (3, latent_dim)
        assert jax.eval_shape(model, images).shape == images.shape


def test_other_sides_are_refused():
    for name, side, width in (("smooth", 40, 40), ("smooth", 64, 32), ("reference", 16, 16)):
        with pytest.raises(UserError, match=r"multiple of 16 and at least .*config.data.side"):
            make(side, width=width, name=name)


def test_answers_with_the_mean_image_which_is_not_trained_before_training():
    model, mean = make()
    _, params, constants = nnx.split(model, nnx.Param, ...)
    assert [leaf.shape for leaf in jax.tree.leaves(constants)] == [(32, 32, 3)]
    assert (32, 32, 3) not in [leaf.shape for leaf in jax.tree.leaves(params)]
    decoded = model.decode(jnp.array([[0.3, -2.0], [5.0, 1.0]]))
    np.testing.assert_allclose(decoded, np.stack([mean, mean]), rtol=1e-6, atol=1e-6)
