"""The pixel convention; means, variances and differences against plain NumPy."""

import numpy as np
import pytest

from jaxsurf.images import pixels, storage

IMAGES = np.random.default_rng(0).integers(0, 256, (13, 7, 5, 3), dtype=np.uint8)
PAIRS = np.random.default_rng(1).integers(0, 13, (41, 2))


@pytest.mark.core
def test_every_value_survives_the_way_to_floats_and_back():
    values = np.arange(256, dtype=np.uint8)
    floats = pixels.to_float(values)
    assert (float(floats.min()), float(floats.max())) == (0.0, 1.0)
    assert np.array_equal(pixels.to_uint8(floats), values)
    assert pixels.to_uint8(np.array([-0.2, 1.2, 0.49 / 255, 0.51 / 255])).tolist() == [0, 255, 0, 1]


def test_mean_and_variance_are_those_of_all_at_once(monkeypatch):
    monkeypatch.setattr(storage, "CHUNK_BYTES", 3 * 105)
    monkeypatch.setattr(pixels, "_VALUES", 3 * 105)
    assert np.array_equal(pixels.mean(IMAGES), IMAGES.mean(axis=0) / 255.0)
    expected = (IMAGES / 255).var(axis=0).mean()
    assert pixels.variance(IMAGES) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("images", [IMAGES, np.repeat(IMAGES, 2, 0)[::2, :, ::-1]])
@pytest.mark.parametrize("values", [1, 2 * 105, 1000])
def test_rms_equals_the_formula_whatever_the_size_of_chunks(images, values, monkeypatch):
    monkeypatch.setattr(pixels, "_VALUES", values)
    monkeypatch.setattr(pixels, "_HELD", 2 * values)
    differences = images[PAIRS[:, 0]].astype(np.float64) - images[PAIRS[:, 1]]
    expected = np.sqrt((differences**2).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(pixels.rms(images, PAIRS), expected, rtol=1e-12)
