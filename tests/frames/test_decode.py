"""Decoding many points at once, against the model one point at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.frames import decode
from jaxsurf.models.autoencoder import Autoencoder

HEIGHT, WIDTH, LATENT = 5, 7, 3


class TinyDecoder(Autoencoder):
    """A dense layer and a convolution; bright enough to use the whole range."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(LATENT, HEIGHT * WIDTH * 2, rngs=rngs)
        self.conv = nnx.Conv(2, 3, (3, 3), rngs=rngs)

    def decode(self, codes):
        hidden = self.dense(codes).reshape(-1, HEIGHT, WIDTH, 2)
        return jax.nn.sigmoid(4.0 * self.conv(nnx.relu(hidden)))


@pytest.fixture(scope="module")
def model():
    return TinyDecoder(nnx.Rngs(0))


def points_of(num):
    return np.random.default_rng(0).normal(size=(num, LATENT)).astype(np.float32)


def one_by_one(model, points):
    return np.concatenate([np.asarray(model.decode(jnp.asarray(p[None]))) for p in points])


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_vmapped_and_batched_decode_equal_a_loop(model, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jax.clear_caches()
    points = points_of(11)
    images = jax.jit(decode.images_of)(model, jnp.asarray(points))
    np.testing.assert_allclose(images, one_by_one(model, points), rtol=1e-5, atol=1e-6)


def test_frames_are_the_rounded_images_in_order_made_by_few_programs(model, monkeypatch):
    monkeypatch.setattr(decode, "inference_batch", lambda _: 16)
    decode._decode_bucket.clear_cache()
    expected = 255.0 * one_by_one(model, points_of(69))
    for num_points in (1, 7, 8, 9, 17, 33, 37, 69):
        frames = decode.decode_points(model, points_of(69)[:num_points])
        assert frames.dtype == np.uint8
        assert frames.shape == (num_points, HEIGHT, WIDTH, 3)
        # Half a level by rounding, and a little for the order of float32 sums.
        np.testing.assert_allclose(frames, expected[:num_points], rtol=0, atol=0.5 + 1e-3)
    # 2, 4, 8 or 16 points on each of four devices.
    assert decode._decode_bucket._cache_size() == 4


def test_batches_in_turn_within_a_call_of_one_device_are_the_same_frames(model, monkeypatch):
    device = jax.devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: device)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(decode, "inference_batch", lambda _: 4)
    decode._decode_bucket.clear_cache()
    expected = 255.0 * one_by_one(model, points_of(69))
    for num_points in (3, 37, 40, 69):
        frames = decode.decode_points(model, points_of(69)[:num_points])
        np.testing.assert_allclose(frames, expected[:num_points], rtol=0, atol=0.5 + 1e-3)
    assert decode._decode_bucket._cache_size() == 3  # calls of 8, of 40 twice, of 64 and 8
    points = points_of(37)
    points[19] = np.inf
    with pytest.raises(UserError, match="1 of 37 decoded frames"):
        decode.decode_points(model, points)


def test_a_frame_that_is_not_finite_is_an_error(model):
    points = points_of(21)
    points[19] = np.inf
    with pytest.raises(UserError, match=r"1 of 21 .* lower learning rate"):
        decode.decode_points(model, points)
