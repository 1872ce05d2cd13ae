import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.training import features
from jaxsurf.training.objective import ObjectiveConfig

IMAGES = np.random.default_rng(0).integers(0, 256, (37, 16, 12, 3), dtype=np.uint8)
# relu3_3 of 16 x 12 images: 4 x 3 x 256 float32 values an image.
NEEDED = len(IMAGES) * 4 * 3 * 256 * 4


@pytest.fixture(scope="module")
def extract():
    return features.make_extractor(ObjectiveConfig(perceptual=1.0))


def test_without_the_term_there_is_no_network_and_nothing_kept():
    assert features.make_extractor(ObjectiveConfig()) is None
    assert features.keep(None, IMAGES, allowed_mib=9, room_bytes=1e9) == {}


def test_kept_features_are_those_of_each_image_in_order(extract):
    kept = features.keep(extract, IMAGES, allowed_mib=9, room_bytes=NEEDED)["relu3_3"]
    expected = jax.jit(extract)(jnp.asarray(IMAGES, jnp.float32) / 255)["relu3_3"]
    assert (kept.nbytes, kept.dtype) == (NEEDED, np.float32)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("allowed_mib", "room_bytes", "limit"),
    [
        (0, 1e9, r"config.objective.feature_cache_mib allows 0.0"),
        (9, NEEDED - 1, "the device has room for 0.4"),
        (9, -5, "the device has room for 0.0"),
    ],
)
def test_features_beyond_a_limit_are_not_kept_and_the_log_says_which(
    extract, caplog, allowed_mib, room_bytes, limit
):
    with caplog.at_level(logging.INFO, logger="jaxsurf"):
        kept = features.keep(extract, IMAGES, allowed_mib=allowed_mib, room_bytes=room_bytes)
    assert kept == {}
    assert f"features of 37 images need 0.4 MiB, but {limit}" in caplog.text


def test_half_precision_is_kept_in_half_the_bytes_and_loses_nothing():
    half = features.make_extractor(ObjectiveConfig(perceptual=1.0, precision="bfloat16"))
    kept = features.keep(half, IMAGES, allowed_mib=9, room_bytes=1e9)["relu3_3"]
    assert kept.dtype == jnp.bfloat16
    assert kept.nbytes == NEEDED // 2
    computed = half(jnp.asarray(IMAGES, jnp.float32) / 255)["relu3_3"]
    np.testing.assert_array_equal(computed.astype(jnp.bfloat16).astype(jnp.float32), computed)
    # Another batch size may round the other way now and then: by one step of half precision.
    off = np.abs(kept.astype(np.float32) - computed)
    assert off.max() <= 2**-7 * float(computed.max())
