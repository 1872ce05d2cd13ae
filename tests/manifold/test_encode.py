"""Encoding in batches against encoding one image at a time."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.manifold import cache, encode
from jaxsurf.models.autoencoder import Autoencoder


class Tiny(Autoencoder):
    """A convolution and a linear layer."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 5, (3, 3), strides=2, rngs=rngs)
        self.linear = nnx.Linear(4 * 3 * 5, 2, rngs=rngs)

    def encode(self, images):
        return self.linear(nnx.relu(self.conv(images)).reshape(len(images), -1))


@pytest.fixture
def model():
    return Tiny(nnx.Rngs(0))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (13, 7, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch_size", [1, 4, 13, 50])
def test_batched_codes_equal_eager_one_by_one(model, images, batch_size):
    alone = [model.encode(jnp.asarray(image[None] / np.float32(255))) for image in images]
    latents = encode.encode_images(model, images, batch_size=batch_size)
    assert latents.codes.dtype == np.float32
    np.testing.assert_allclose(latents.codes, np.concatenate(alone), rtol=1e-5, atol=1e-6)


def test_a_short_last_batch_costs_no_second_compilation(model, images):
    before = encode._encode._cache_size()
    encode.encode_images(model, images, batch_size=3)
    assert encode._encode._cache_size() == before + 1


def test_changed_parameters_are_used_without_compiling_again(model, images):
    first = encode.encode_images(model, images, batch_size=5).codes
    compiled = encode._encode._cache_size()
    model.linear.kernel[...] *= 2
    model.linear.bias[...] *= 2
    second = encode.encode_images(model, images, batch_size=5).codes
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5, atol=1e-6)
    assert encode._encode._cache_size() == compiled


def test_encoding_asks_for_full_float32_products(model, images):
    text = encode._encode.lower(*nnx.split(model), images).as_text()
    assert "HIGHEST" in text
    assert "DEFAULT" not in text


def test_codes_that_are_not_finite_are_refused_by_image(model, images):
    class Root(Tiny):
        def encode(self, images):
            return jnp.log(images.max(axis=(1, 2)))

    images[[3, 8]] = 0
    with pytest.raises(
        UserError, match="2 of 13 latent codes are not finite, the first of image 3"
    ):
        encode.encode_images(Root(nnx.Rngs(0)), images, batch_size=4)


@pytest.mark.parametrize("jitter", [0.0, 3e-7])
def test_a_collapsed_model_is_refused(model, images, jitter):
    model.linear.kernel[...] *= jitter
    model.linear.bias[...] += 1.0
    with pytest.raises(UserError, match="all 13 images have the same latent code"):
        encode.encode_images(model, images, batch_size=4)


def test_equal_images_may_have_equal_codes(model, images):
    codes = encode.encode_images(model, images[[2, 2, 2]], batch_size=2).codes
    np.testing.assert_array_equal(codes[0], codes[2])
    assert len(encode.encode_images(model, images[:1], batch_size=2).codes) == 1


def test_saved_latents_come_back_under_their_stamp_only(tmp_path, model, images):
    latents, path = encode.encode_images(model, images, batch_size=4), tmp_path / "latents.npz"
    encode.save_latents(path, latents, stamp="step 600 of abc")
    np.testing.assert_array_equal(
        encode.load_latents(path, stamp="step 600 of abc").codes, latents.codes
    )
    with pytest.raises(cache.StaleCache, match="made from step 600 of abc, but step 700 of abc"):
        encode.load_latents(path, stamp="step 700 of abc")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.float32([[0, 1], [np.nan, 2]]), "the first of image 1"),
        (np.float32([0, 1]), r"float32 codes of shape \(2,\)"),
        (np.float64([[0, 1]]), "float64 codes"),
    ],
)
def test_damaged_latents_are_refused(tmp_path, codes, message):
    cache.save(tmp_path / "latents.npz", stamp="a", codes=codes)
    with pytest.raises(UserError, match=message):
        encode.load_latents(tmp_path / "latents.npz", stamp="a")


def test_a_missing_cache_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*latents\.npz"):
        encode.load_latents(tmp_path / "latents.npz", stamp="a")


def test_encode_refuses_float_images_and_an_empty_batch(model, images):
    with pytest.raises(UserError, match="float32 values, but images are uint8"):
        encode.encode_images(model, images.astype(np.float32), batch_size=4)
    with pytest.raises(UserError, match="batch_size is 0"):
        encode.encode_images(model, images, batch_size=0)
