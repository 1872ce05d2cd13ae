"""The pixel convention; means, variances and differences against plain NumPy."""

import jax.numpy as jnp
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


def test_channels_are_shown_in_grey_in_magenta_and_green_or_as_chosen():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), dtype=np.uint8)
    one, two, three, four = np.moveaxis(images, -1, 0)
    looks = {(2,): [three] * 3, (0, 3): [one, four, one], (3, 0, 1): [four, one, two]}
    for channels, expected in looks.items():
        np.testing.assert_array_equal(
            pixels.Look(channels).rgb(images), np.stack(expected, axis=-1)
        )
    assert pixels.Look.usual(1) == pixels.Look((0,))
    assert pixels.Look.usual(2, alpha=True) == pixels.Look((0,), alpha=True)
    assert pixels.Look.usual(7) == pixels.RGB


def test_an_opacity_is_shown_on_white_and_given_back():
    random = np.random.default_rng(0)
    straight = random.integers(0, 256, (2, 3, 5, 4), dtype=np.uint8)
    straight[..., 3] = random.choice([0, 128, 255], (2, 3, 5))
    share = straight[..., 3:] / 255
    images = np.rint(np.concatenate([straight[..., :3] * share, straight[..., 3:]], -1))
    look = pixels.Look(alpha=True)
    on_white = look.rgb(images.astype(np.uint8))
    assert on_white.dtype == np.uint8
    np.testing.assert_allclose(on_white, straight[..., :3] * share + 255 * (1 - share), atol=0.51)
    back, seen = look.straight(images.astype(np.uint8)), straight[..., 3] > 0
    np.testing.assert_allclose(back[seen].astype(int), straight[seen], atol=1)
    shown = look.rgb(jnp.asarray(images / 255, jnp.float32))
    np.testing.assert_allclose(255 * shown, on_white, atol=0.51)


def test_deep_pixels_become_floats_by_their_own_white():
    assert pixels.to_float(np.array([0, 65535], np.uint16)).tolist() == [0, 1]
    assert pixels.to_float(np.array([0.25, 1], np.float32)).tolist() == [0.25, 1]
    deep = np.array([[[[0], [65535]]], [[[65535], [0]]]], np.uint16)
    np.testing.assert_array_equal(pixels.mean(deep), np.full((1, 2, 1), 0.5))
