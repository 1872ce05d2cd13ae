"""Models of both names; what the reference one computes is compared in test_reference.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models.autoencoder import Constant, ModelConfig, make_autoencoder


def make(side=32, depth=3, latent_dim=2, name="smooth", width=None):
    mean = np.random.default_rng(1).random((side, width or side, depth))
    config = ModelConfig(name=name, latent_dim=latent_dim, channels=8)

    def draw():
        return nnx.split(make_autoencoder(config, mean_image=mean, key=jax.random.key(0)))

    return nnx.merge(*jax.jit(draw)()), mean


@pytest.mark.core
@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_any_side_divisible_by_16_depth_and_latent_size_come_back(name):
    def encode_and_decode(images, latent_dim):
        model, _ = make(images.shape[1], images.shape[3], latent_dim, name=name)
        return model.encode(images), model(images)

    for side, depth, latent_dim in ((32, 3, 2), (48, 1, 5), (96, 4, 1)):
        images = jnp.zeros((3, side, side, depth))
        # Weights are not drawn: a program for each of their shapes takes seconds to compile.
        traced = functools.partial(encode_and_decode, latent_dim=latent_dim)
        codes, decoded = jax.eval_shape(traced, images)
        assert codes.shape == (3, latent_dim)
        assert decoded.shape == images.shape


@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_images_of_other_sides_are_filled_up_with_their_edges_and_cut_again(name):
    """A model of 17 x 39 gives what one of the padded size gives for padded images, cut."""
    height, width = 17, 39
    model, _ = make(height, width=width, depth=2, name=name)
    rows, columns = ((16, 32)[name == "reference"], 48)
    rows = -(-height // rows) * rows
    top, left = (rows - height) // 2, (columns - width) // 2
    sides = [(top, rows - height - top), (left, columns - width - left), (0, 0)]
    large = nnx.eval_shape(lambda: make(rows, width=columns, depth=2, name=name)[0])
    params, constants = (nnx.state(model, kind) for kind in (nnx.Param, Constant))
    nnx.update(large, params)
    nnx.update(large, jax.tree.map(lambda each: jnp.pad(each, sides, mode="edge"), constants))
    images = np.random.default_rng(2).random((3, height, width, 2)).astype(np.float32)
    padded = np.pad(images, [(0, 0), *sides], mode="edge")
    codes = jax.jit(model.encode)(images)
    np.testing.assert_allclose(codes, jax.jit(large.encode)(padded), rtol=1e-5, atol=1e-6)
    whole = jax.jit(large.decode)(codes)[:, top : top + height, left : left + width]
    np.testing.assert_allclose(jax.jit(model.decode)(codes), whole, rtol=1e-5, atol=1e-6)


def test_answers_with_the_mean_image_which_is_not_trained_before_training():
    model, mean = make()
    _, params, constants = nnx.split(model, nnx.Param, ...)
    assert [leaf.shape for leaf in jax.tree.leaves(constants)] == [(32, 32, 3)]
    assert (32, 32, 3) not in [leaf.shape for leaf in jax.tree.leaves(params)]
    decoded = jax.jit(model.decode)(jnp.array([[0.3, -2.0], [5.0, 1.0]]))
    np.testing.assert_allclose(decoded, np.stack([mean, mean]), rtol=1e-6, atol=1e-6)
