"""Mean and variance of images, in portions."""

import numpy as np
import pytest

from jaxsurf import mapped
from jaxsurf.images import summary

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 2, 3), dtype=np.uint8)


def test_mean_is_that_of_all_at_once_bit_for_bit(monkeypatch):
    monkeypatch.setattr(mapped, "PORTION_BYTES", 3 * 30)
    assert np.array_equal(summary.mean(IMAGES), IMAGES.mean(axis=0) / 255.0)


def test_error_of_the_mean_image_is_the_variance(monkeypatch):
    monkeypatch.setattr(summary, "VARIANCE_CHUNK", 3)
    expected = (IMAGES / 255).var(axis=0).mean()
    assert summary.variance(IMAGES) == pytest.approx(expected, rel=1e-12)
