import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.evaluation import metrics


def pictures(num, shape=(5, 7, 3), seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (num, *shape), dtype=np.uint8)


def brute_force(frames, images):
    """Return interpolation MSE by the formula, in float64."""
    return np.array(
        [
            min(np.square(frame.astype(np.float64) - image).mean() for image in images)
            for frame in frames
        ]
    )


# 41 x 37 x 3 values are several blocks; the squares of 181 x 67 x 3 may be more than int32 holds.
@pytest.mark.parametrize("shape", [(5, 7, 3), (41, 37, 3), (181, 67, 3)])
@pytest.mark.parametrize("spread", [(0, 256), (250, 256), (0, 3)])
def test_interpolation_mse_equals_brute_force(shape, spread):
    frames = pictures(6, shape, seed=1, low=spread[0], high=spread[1])
    images = pictures(11, shape, seed=2, low=spread[0], high=spread[1])
    computed = metrics.interpolation_mse(frames, images)
    np.testing.assert_allclose(computed, brute_force(frames, images), rtol=1e-6, atol=1e-9)


def test_interpolation_mse_is_right_at_the_largest_distance():
    black, white = np.zeros((1, 181, 67, 3), np.uint8), np.full((1, 181, 67, 3), 255, np.uint8)
    np.testing.assert_allclose(metrics.interpolation_mse(black, white), [255.0**2], rtol=1e-6)


def test_interpolation_mse_is_exact_next_to_an_image():
    images = pictures(13, (41, 37, 3))
    frames = images[[4, 7]].copy()
    frames[1, 3, 2, 1] ^= 1
    np.testing.assert_allclose(
        metrics.interpolation_mse(frames, images), [0.0, 1 / (41 * 37 * 3)], rtol=1e-6
    )


def test_chunks_do_not_change_interpolation_mse(monkeypatch):
    frames, images = pictures(23, seed=1), pictures(31, seed=2)
    whole = metrics.interpolation_mse(frames, images)
    monkeypatch.setattr(metrics, "FRAME_CHUNK", 8)
    monkeypatch.setattr(metrics, "IMAGE_CHUNK", 7)
    np.testing.assert_array_equal(metrics.interpolation_mse(frames, images), whole)


def test_wrapped_is_numpy_arithmetic_in_uint8():
    frames, images = pictures(9, seed=1), pictures(11, seed=2)
    expected = [((frame - images) ** 2).mean(axis=(1, 2, 3)).min() for frame in frames]
    wrapped = metrics.interpolation_mse_wrapped(frames, images)
    np.testing.assert_allclose(wrapped, expected, rtol=1e-12)
    assert np.all(wrapped < metrics.interpolation_mse(frames, images))


def test_wrapped_is_true_below_16_levels():
    frames, images = pictures(9, seed=1, low=100, high=116), pictures(11, seed=2, low=100, high=116)
    np.testing.assert_allclose(
        metrics.interpolation_mse_wrapped(frames, images), brute_force(frames, images), rtol=1e-12
    )


@pytest.mark.parametrize("metric", [metrics.interpolation_mse, metrics.interpolation_mse_wrapped])
@pytest.mark.parametrize(
    ("frames", "images"),
    [(pictures(2), pictures(3, (7, 5, 3))), (pictures(2)[:0], pictures(3)),
     (pictures(2), pictures(3)[:0]), (pictures(2)[0], pictures(3))],
)  # fmt: skip
def test_frames_that_do_not_fit_the_images_are_refused(metric, frames, images):
    with pytest.raises(UserError, match="can't be compared"):
        metric(frames, images)


def test_frames_that_are_not_uint8_are_refused():
    with pytest.raises(UserError, match="uint8"):
        metrics.interpolation_mse(pictures(2) / 255.0, pictures(3))


def test_mse_follows_the_formula():
    images, references = pictures(7, seed=1) / 255.0, pictures(7, seed=2) / 255.0
    expected = np.array([((a - b) ** 2).mean() for a, b in zip(images, references, strict=True)])
    np.testing.assert_allclose(metrics.mse(images, references), expected, rtol=1e-12)


def test_psnr_of_a_tenth_is_20_db_and_of_no_error_infinite():
    assert metrics.psnr_of_mse(0.01) == pytest.approx(20.0, rel=1e-12)
    assert metrics.psnr_of_mse(0.0) == np.inf


def test_mse_of_different_shapes_is_a_defect():
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.mse(np.zeros((2, 5, 7, 3)), np.zeros((2, 7, 5, 3)))


def grey(*levels):
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), 5, 7, 3))


def test_steps_are_root_mean_squares():
    frames = pictures(7)
    expected = [
        np.sqrt((((frames[i + 1] / 255.0) - (frames[i] / 255.0)) ** 2).mean()) for i in range(6)
    ]
    np.testing.assert_allclose(metrics.step_sizes(frames), expected, rtol=1e-12)


def test_an_even_fade_is_perfectly_smooth():
    smooth = metrics.smoothness(grey(0, 51, 102, 153))
    assert [smooth.mean, smooth.largest] == pytest.approx([0.2, 0.2])
    assert smooth.jump == pytest.approx(1.0)
    assert smooth.unevenness == pytest.approx(0.0, abs=1e-12)


def test_a_jump_is_seen():
    smooth = metrics.smoothness(grey(0, 0, 0, 255, 255))
    assert (smooth.mean, smooth.largest, smooth.jump) == (0.25, 1.0, 4.0)
    assert smooth.unevenness == pytest.approx(np.sqrt(3.0))


@pytest.mark.parametrize("frames", [grey(9), grey(9, 9, 9)])
def test_standing_still_is_even(frames):
    assert vars(metrics.smoothness(frames)) == {
        "mean": 0.0, "largest": 0.0, "jump": 1.0, "unevenness": 0.0
    }  # fmt: skip
