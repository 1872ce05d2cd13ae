"""Layers as products against the plain layers: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models import products
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder

LATENT = 3
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
    found, expected = mine(*arguments), plain(*arguments)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    weights = draw(*expected.shape, seed=9)
    numbers = tuple(range(len(arguments)))
    for here, there in zip(
        jax.jit(jax.grad(lambda *given: jnp.sum(weights * mine(*given)), numbers))(*arguments),
        jax.jit(jax.grad(lambda *given: jnp.sum(weights * plain(*given)), numbers))(*arguments),
        strict=True,
    ):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sides", [(8, 8), (5, 3), (1, 2)], ids=str)
def test_convolution_from_few_channels(sides):
    assert_same(products.widen, products.plain, draw(2, *sides, 3), draw(3, 3, 3, 7))


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (7, 0), (11, 0), (12, 1)])
def test_strided_convolution(side, padding):
    assert_same(
        lambda maps, kernel: products.convolve(maps, kernel, padding=padding),
        lambda maps, kernel: convolved(maps, kernel, padding),
        *(draw(2, side, side, 5), draw(3, 3, 5, 7)),
    )


@pytest.mark.parametrize("side", [8, 16])
def test_strided_convolution_with_pooling(side):
    assert_same(
        lambda maps, kernel: products.convolve_and_pool(maps, kernel, padding=1),
        lambda maps, kernel: nnx.max_pool(convolved(maps, kernel, 1), (2, 2), strides=(2, 2)),
        *(draw(2, side, side, 3), draw(3, 3, 3, 7)),
    )


def test_transposed_convolution():
    assert_same(
        products.enlarge,
        lambda maps, kernel: transposed(maps, kernel, stride=2, crop=0),
        *(draw(2, 5, 5, 3), draw(3, 3, 7, 3)),
    )


def test_transposed_convolutions_without_the_map_between_them():
    def mine(maps, middle, last):
        return products.finish(products.enlarged_corners(maps, middle), last)

    def plain(maps, middle, last):
        return transposed(transposed(maps, middle, stride=2, crop=0), last, stride=1, crop=2)

    assert_same(mine, plain, draw(2, 5, 5, 3), draw(3, 3, 7, 3), draw(2, 2, 4, 7))


def make(as_products, side, key=0):
    config = ModelConfig(name="reference", latent_dim=LATENT, channels=8)
    mean = np.zeros((side, side, 3))
    return make_autoencoder(
        config, mean_image=mean, key=jax.random.key(key), as_products=as_products
    )


def loss_and_gradient(as_products, side):
    """Return a function of weights and images, and weights."""
    graphdef, params = nnx.split(make(as_products, side))

    def loss(params, images):
        return jnp.mean(jnp.square(nnx.merge(graphdef, params)(images) - images))

    return jax.jit(jax.value_and_grad(loss)), params


@pytest.mark.parametrize("side", [32, 64])
def test_model_and_its_gradient_are_the_same_either_way(side):
    images = jnp.asarray(np.random.default_rng(1).random((3, side, side, 3), np.float32))
    (mine, params), (plain, same) = (loss_and_gradient(form, side) for form in (True, False))
    loss, gradient = mine(params, images)
    expected, wanted = plain(same, images)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for here, there in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        scale = float(jnp.abs(there).max())
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-4 * scale)


def test_members_together_are_the_same_as_one_by_one():
    images = jnp.asarray(np.random.default_rng(1).random((2, 3, 32, 32, 3), np.float32))
    gradient, _ = loss_and_gradient(as_products=True, side=32)
    members = [nnx.split(make(as_products=True, side=32, key=key))[1] for key in (0, 1)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    _, together = jax.jit(jax.vmap(gradient))(stacked, images)
    for number, params in enumerate(members):
        _, alone = gradient(params, images[number])
        for here, there in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            scale = float(jnp.abs(there).max())
            np.testing.assert_allclose(here[number], there, rtol=1e-3, atol=1e-4 * scale)


def test_cpus_have_products_unless_asked_otherwise():
    assert make(None, 32).as_products
    assert not make(as_products=False, side=32).as_products
