"""Metrics against their formulas in float64."""

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics

BOTH = [metrics.interpolation_mse, metrics.interpolation_mse_wrapped]


def pictures(num, shape=(5, 7, 3), seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (num, *shape), dtype=np.uint8)


def brute_force(frames, images):
    """Return interpolation MSE by the formula."""
    wide = frames.astype(np.float64)
    return np.array([np.square(frame - images).mean(axis=(1, 2, 3)).min() for frame in wide])


@pytest.mark.core
# 41 x 37 x 3 values are several blocks; the squares of 181 x 67 x 3 may be more than int32 holds.
@pytest.mark.parametrize("shape", [(5, 7, 3), (41, 37, 3), (181, 67, 3)])
@pytest.mark.parametrize("spread", [(0, 256), (250, 256), (0, 3)])
def test_interpolation_mse_equals_brute_force(shape, spread):
    frames = pictures(6, shape, seed=1, low=spread[0], high=spread[1])
    images = pictures(11, shape, seed=2, low=spread[0], high=spread[1])
    computed = metrics.interpolation_mse(frames, images)
    np.testing.assert_allclose(computed, brute_force(frames, images), rtol=1e-6, atol=1e-9)


def test_interpolation_mse_is_right_at_the_largest_distance_and_next_to_an_image():
    black, white = np.zeros((1, 181, 67, 3), np.uint8), np.full((1, 181, 67, 3), 255, np.uint8)
    np.testing.assert_allclose(metrics.interpolation_mse(black, white), [255.0**2], rtol=1e-6)
    images = pictures(13, (41, 37, 3))
    frames = images[[4, 7]].copy()
    frames[1, 3, 2, 1] ^= 1
    expected = [0.0, 1 / (41 * 37 * 3)]
    np.testing.assert_allclose(metrics.interpolation_mse(frames, images), expected, rtol=1e-6)


@pytest.mark.parametrize("metric", BOTH)
def test_chunks_do_not_show(metric, monkeypatch):
    frames, images = pictures(23, seed=1), pictures(31, seed=2)
    whole = metric(frames, images)
    monkeypatch.setattr(metrics, "FRAME_CHUNK", 8)
    monkeypatch.setattr(metrics, "IMAGE_CHUNK", 7)
    np.testing.assert_array_equal(metric(frames, images), whole)


def test_wrapped_is_numpy_arithmetic_in_uint8_and_true_below_16_levels():
    frames, images = pictures(9, seed=1), pictures(11, seed=2)
    expected = [((frame - images) ** 2).mean(axis=(1, 2, 3)).min() for frame in frames]
    wrapped = metrics.interpolation_mse_wrapped(frames, images)
    np.testing.assert_allclose(wrapped, expected, rtol=1e-12)
    assert np.all(wrapped < metrics.interpolation_mse(frames, images))
    frames, images = frames % 16, images % 16
    wrapped = metrics.interpolation_mse_wrapped(frames, images)
    np.testing.assert_allclose(wrapped, brute_force(frames, images), rtol=1e-12)


def test_frames_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"can't be compared with images \(3, 7, 5, 3\)"):
        metrics.interpolation_mse(pictures(2), pictures(3, (7, 5, 3)))


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
