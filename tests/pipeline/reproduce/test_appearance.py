"""Sharpness sees a blur, colour error a lost fill, and each hardly the other."""

import numpy as np
import pytest
from scipy import ndimage

from jaxsurf.pipeline.reproduce import appearance

BACKGROUND, FILL = (90, 60, 120), (230, 200, 30)


def pictures(num, shape=(11, 13, 3), seed=0):
    return np.random.default_rng(seed).integers(256, size=(num, *shape), dtype=np.uint8)


def discs(*, filled=True, side=41):
    """Return three images of a disc, or of its rim of two pixels alone."""
    rows, columns = np.mgrid[:side, :side]
    images = np.empty((3, side, side, 3), np.uint8)
    images[:] = BACKGROUND
    for image, (row, column) in zip(images, [(17, 19), (20, 16), (22, 23)], strict=True):
        distance = np.hypot(rows - row, columns - column)
        image[(distance < 13) & (filled | (distance >= 11))] = FILL
    return images


def blurred(images, sigma):
    return ndimage.gaussian_filter(images / 255, (0, sigma, sigma, 0), mode="nearest")


def slow_sharpness(image, share):
    """Return one image's sharpness pixel by pixel, from Sobel's two masks."""
    luminance = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
    mask = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    magnitudes = []
    for row in range(1, image.shape[0] - 1):
        for column in range(1, image.shape[1] - 1):
            around = luminance[row - 1 : row + 2, column - 1 : column + 2]
            across, down = np.sum(around * mask), np.sum(around * mask.T)
            magnitudes.append(np.sqrt(across**2 + down**2))
    number = max(1, round(share * len(magnitudes)))
    return np.mean(sorted(magnitudes)[-number:])


def slow_colour_error(image, reference, window):
    """Return one image's colour error window by window."""
    errors = []
    for row in range(image.shape[0] - window + 1):
        for column in range(image.shape[1] - window + 1):
            here = (slice(row, row + window), slice(column, column + window))
            means = (
                array[here].mean(axis=(0, 1), dtype=np.float64) for array in (image, reference)
            )
            errors.append(np.abs(np.subtract(*means)).mean())
    return np.mean(errors)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.37, 1.0])
def test_sharpness_equals_the_slow_formula(share):
    images = pictures(5)
    expected = [slow_sharpness(image / 255, share) for image in images]
    np.testing.assert_allclose(appearance.sharpness(images, share=share), expected, rtol=1e-10)


@pytest.mark.parametrize("window", [1, 3, 8, 11])
def test_colour_error_equals_the_slow_formula(window):
    images, references = pictures(5, seed=1), pictures(5, seed=2)
    expected = [slow_colour_error(*pair, window) for pair in zip(images, references, strict=True)]
    computed = appearance.colour_error(images, references, window=window)
    np.testing.assert_allclose(computed, expected, rtol=1e-10)


def test_a_step_from_black_to_white_has_sharpness_a_half():
    images = np.zeros((1, 21, 21, 3), np.uint8)
    images[:, :, 10:] = 255
    np.testing.assert_allclose(appearance.sharpness(images), 0.5, rtol=1e-12)


def test_a_lost_fill_changes_colours_and_not_sharpness():
    images, hollow = discs(), discs(filled=False)
    ratio = appearance.sharpness(hollow) / appearance.sharpness(images)
    np.testing.assert_allclose(ratio, 1, atol=0.1)
    assert np.all(appearance.colour_error(hollow, images) > 15)


def test_a_blur_changes_sharpness_and_hardly_colours():
    images = discs()
    levels = np.array([appearance.sharpness(blurred(images, sigma)) for sigma in (0, 0.7, 1.4, 2)])
    assert np.all(np.diff(levels / levels[0], axis=0) < -0.05)
    lost_fill = appearance.colour_error(discs(filled=False), images)
    assert np.all(appearance.colour_error(blurred(images, 1.4), images) < 0.1 * lost_fill)


def test_chunks_do_not_change_the_values(monkeypatch):
    images, references = pictures(23, seed=1), pictures(23, seed=2)
    whole = appearance.sharpness(images), appearance.colour_error(images, references)
    monkeypatch.setattr(appearance, "CHUNK", 5)
    np.testing.assert_array_equal(appearance.sharpness(images), whole[0])
    np.testing.assert_array_equal(appearance.colour_error(images, references), whole[1])
