"""Root-mean-square differences of pairs of images, against plain NumPy."""

import math

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import differences


def images_of(number, *, seed=0, shape=(7, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, (number, *shape), dtype=np.uint8)


def naive(images, pairs):
    return [
        math.sqrt(np.mean((images[a].astype(np.float64) - images[b].astype(np.float64)) ** 2))
        for a, b in pairs
    ]


def test_rms_equals_the_formula_in_order_of_the_pairs():
    images = images_of(13)
    pairs = np.random.default_rng(1).integers(0, 13, (41, 2))
    ours = differences.rms(images, pairs)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, naive(images, pairs), rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2 * 7 * 5 * 3, 1000])
def test_the_size_of_portions_changes_nothing(monkeypatch, chunk):
    images, pairs = images_of(13), np.random.default_rng(2).integers(0, 13, (41, 2))
    whole = differences.rms(images, pairs)
    monkeypatch.setattr(differences, "_CHUNK", chunk)
    np.testing.assert_array_equal(differences.rms(images, pairs), whole)


def test_black_and_white_are_255_apart_and_equal_images_0():
    # Many values: their squares add up to more than 32 bits hold.
    images = np.zeros((3, 211, 199, 3), np.uint8)
    images[1] = 255
    pairs = np.array([[0, 1], [1, 0], [0, 2], [1, 1]])
    assert differences.rms(images, pairs).tolist() == [255, 255, 0, 0]


def test_no_pairs_have_no_differences():
    assert differences.rms(images_of(3), np.empty((0, 2), np.int64)).shape == (0,)


def test_images_that_are_not_contiguous_are_compared_as_they_are():
    images = images_of(22)[::2, :, ::-1]
    pairs = np.array([[0, 10], [3, 4]])
    np.testing.assert_allclose(differences.rms(images, pairs), naive(images, pairs), rtol=1e-12)


@pytest.mark.parametrize(
    ("images", "pairs", "message"),
    [
        (images_of(3).astype(np.float32), [[0, 1]], "float32 values, but images are uint8"),
        (images_of(3), [[0, 3]], "images 0 to 3 are compared, but there are 3; use .* 0 to 2"),
        (images_of(3), [[-1, 1]], "images -1 to 1 are compared"),
    ],
)
def test_rms_refuses(images, pairs, message):
    with pytest.raises(UserError, match=message):
        differences.rms(images, np.array(pairs))
