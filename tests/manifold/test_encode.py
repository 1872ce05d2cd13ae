"""Encoding in batches against encoding one image at a time, and codes on disk."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.manifold.encode import _encode, encode_images
from jaxsurf.models.autoencoder import Autoencoder

IMAGES = np.random.default_rng(0).integers(0, 256, (13, 7, 6, 3), dtype=np.uint8)


class Tiny(Autoencoder):
    """A convolution and a linear layer."""

    def __init__(self):
        self.conv = nnx.Conv(3, 5, (3, 3), strides=2, rngs=nnx.Rngs(0))
        self.linear = nnx.Linear(4 * 3 * 5, 2, rngs=nnx.Rngs(1))

    def encode(self, images):
        return self.linear(nnx.relu(self.conv(images)).reshape(len(images), -1))


@pytest.mark.core
@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_batched_codes_equal_eager_one_by_one(batch_size):
    model = Tiny()
    alone = [model.encode(jnp.asarray(image[None] / np.float32(255))) for image in IMAGES]
    codes = encode_images(model, IMAGES, batch_size=batch_size).codes
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, np.concatenate(alone), rtol=1e-5, atol=1e-6)


def test_neither_a_short_last_batch_nor_other_parameters_compile_again():
    model, before = Tiny(), _encode._cache_size()
    first = encode_images(model, IMAGES, batch_size=3).codes
    model.linear.kernel[...] *= 2
    model.linear.bias[...] *= 2
    second = encode_images(model, IMAGES, batch_size=3).codes
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5, atol=1e-6)
    assert _encode._cache_size() == before + 1


@pytest.mark.parametrize("jitter", [0.0, 3e-7])
def test_a_collapsed_model_is_refused_unless_images_are_equal(jitter):
    model = Tiny()
    model.linear.kernel[...] *= jitter
    model.linear.bias[...] += 1.0
    with pytest.raises(UserError, match="all 13 images have the same latent code"):
        encode_images(model, IMAGES, batch_size=4)
    assert len(encode_images(model, IMAGES[[2, 2, 2]], batch_size=2).codes) == 3
