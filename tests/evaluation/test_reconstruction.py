import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.evaluation import reconstruction
from jaxsurf.models.autoencoder import Autoencoder


class Tiny(Autoencoder):
    """A convolution there and one back."""

    def __init__(self, rngs):
        self.there = nnx.Conv(3, 5, (3, 3), rngs=rngs)
        self.back = nnx.Conv(5, 3, (3, 3), rngs=rngs)

    def encode(self, images):
        return self.there(images)

    def decode(self, codes):
        return nnx.sigmoid(self.back(codes))


@pytest.fixture(scope="module")
def model():
    return Tiny(nnx.Rngs(0))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (71, 7, 5, 3), dtype=np.uint8)


def test_reconstructions_are_the_rounded_outputs_in_order(model, images):
    alone = [model(jnp.asarray(image[None] / np.float32(255)))[0] for image in images]
    outputs = reconstruction.reconstruct(model, images)
    assert outputs.dtype == np.uint8
    # Half a level by rounding, and a little for the order of float32 sums.
    np.testing.assert_allclose(outputs, 255 * np.stack(alone), rtol=0, atol=0.5 + 1e-3)
    errors = np.square((outputs / 255.0) - (images / 255.0)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(reconstruction.mse(model, images), errors, rtol=1e-12)
