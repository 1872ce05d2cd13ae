"""Metrics against their formulas in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.evaluation import metrics, reconstruction
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16


def pictures(num, shape=(5, 7, 3), seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (num, *shape), dtype=np.uint8)


@pytest.mark.core
# 41 x 37 x 3 values are several blocks; the squares of 181 x 67 x 3 may be more than int32 holds.
@pytest.mark.parametrize("shape", [(5, 7, 3), (41, 37, 3), (181, 67, 3)])
@pytest.mark.parametrize("spread", [(0, 256), (250, 256), (0, 3)])
def test_the_nearest_image_is_that_of_brute_force_and_the_first_of_equals(shape, spread):
    frames = pictures(6, shape, seed=1, low=spread[0], high=spread[1])
    images = pictures(11, shape, seed=2, low=spread[0], high=spread[1])
    frames[4] = images[9] = images[3]
    away = np.square(frames[:, None].astype(np.float64) - images).mean(axis=(2, 3, 4))
    found = metrics.nearest_images(frames, images)
    np.testing.assert_array_equal(found.indices, away.argmin(axis=1))
    np.testing.assert_allclose(found.mse, away.min(axis=1), rtol=1e-6, atol=1e-9)


def test_the_distance_is_right_where_it_is_largest_and_next_to_an_image():
    black, white = np.zeros((1, 181, 67, 3), np.uint8), np.full((1, 181, 67, 3), 255, np.uint8)
    np.testing.assert_allclose(metrics.nearest_images(black, white).mse, [255.0**2], rtol=1e-6)
    images = pictures(13, (41, 37, 3))
    frames = images[[4]].copy()
    frames[0, 3, 2, 1] ^= 1
    found = metrics.nearest_images(frames, images).mse
    assert found == pytest.approx([1 / (41 * 37 * 3)], rel=1e-6)


@pytest.mark.parametrize("metric", [metrics.nearest_images, metrics.interpolation_mse_wrapped])
def test_chunks_do_not_show(metric, monkeypatch):
    frames, images = pictures(23, seed=1), pictures(31, seed=2)
    frames[5] = images[19] = images[3]
    whole = metric(frames, images)
    monkeypatch.setattr(metrics, "FRAME_CHUNK", 8)
    monkeypatch.setattr(metrics, "IMAGE_CHUNK", 7)
    np.testing.assert_array_equal(metric(frames, images), whole)


def test_wrapped_is_numpy_arithmetic_in_uint8_and_true_below_16_levels():
    frames, images = pictures(9, seed=1), pictures(11, seed=2)
    expected = [((frame - images) ** 2).mean(axis=(1, 2, 3)).min() for frame in frames]
    wrapped = metrics.interpolation_mse_wrapped(frames, images)
    np.testing.assert_allclose(wrapped, expected, rtol=1e-12)
    assert np.all(wrapped < metrics.nearest_images(frames, images).mse)
    frames, images = frames % 16, images % 16
    wrapped = metrics.interpolation_mse_wrapped(frames, images)
    np.testing.assert_allclose(wrapped, metrics.nearest_images(frames, images).mse, rtol=1e-6)


def test_mse_and_psnr_follow_their_formulas():
    images, references = pictures(7, seed=1) / 255.0, pictures(7, seed=2) / 255.0
    expected = [((a - b) ** 2).mean() for a, b in zip(images, references, strict=True)]
    np.testing.assert_allclose(metrics.mse(images, references), expected, rtol=1e-12)
    assert metrics.psnr_of_mse(0.01) == pytest.approx(20.0, rel=1e-12)
    assert metrics.psnr_of_mse(0.0) == np.inf


def grey(*levels):
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), 5, 7, 3))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((0, 51, 102, 153), (0.2, 0.2, 1.0, 0.0)),
        ((0, 0, 0, 255, 255), (0.25, 1.0, 4.0, np.sqrt(3.0))),
        ((9,), (0.0, 0.0, 1.0, 0.0)),
        ((9, 9, 9), (0.0, 0.0, 1.0, 0.0)),
    ],
)
def test_smoothness_of_known_steps(levels, expected):
    found = metrics.smoothness(grey(*levels))
    names = ("mean", "largest", "jump", "unevenness")
    assert found == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-12)


class Shade(Autoencoder):
    """A code is the mean level, an image a plane of half of it."""

    def encode(self, images):
        return images.mean(axis=(1, 2, 3))[:, None]

    def decode(self, codes):
        return jnp.broadcast_to(codes[:, :, None, None] / 2, (len(codes), 5, 7, 3))


def test_consistency_is_the_error_of_rounded_reconstructions_which_keep_their_order():
    frames = grey(*np.random.default_rng(0).permutation(71)) + pictures(71, high=9)
    outputs = reconstruction.reconstruct(Shade(), frames)
    assert outputs.dtype == np.uint8
    halves = np.broadcast_to(frames.mean(axis=(1, 2, 3), keepdims=True) / 2, frames.shape)
    np.testing.assert_allclose(outputs, halves, atol=0.501)
    errors = np.square(outputs / 255.0 - frames / 255.0).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(reconstruction.mse(Shade(), frames), errors, rtol=1e-12)
    changed = metrics.consistency(Shade(), frames)
    np.testing.assert_allclose(changed, 255 * np.sqrt(errors), rtol=1e-12)


def test_perceptual_figures_are_sum_and_variance_of_unweighted_lpips():
    frames = pictures(10, (16, 16, 3)).reshape(2, 5, 16, 16, 3)
    layers = ["relu1_2", "relu2_2", "relu3_3"]
    network = VGG16(weights.find("oxford", layers), layers)
    steps = np.zeros((2, 4))
    for pair, some in enumerate(frames):
        for maps in network(jnp.asarray(some / np.float32(255))).values():
            maps = np.asarray(maps, np.float64)
            unit = maps / np.linalg.norm(maps, axis=-1, keepdims=True)
            change = np.square(unit[1:] - unit[:-1])
            steps[pair] += change.sum(axis=-1).mean(axis=(1, 2))
    found = metrics.perceptual(list(frames))
    np.testing.assert_allclose(found["ppl"], steps.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(found["pdv"], steps.var(axis=1), rtol=1e-3)
    still = metrics.perceptual([frames[0][[2] * 5]])
    assert (still["ppl"], still["pdv"]) == (0.0, 0.0)
