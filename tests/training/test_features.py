import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.training import features
from jaxsurf.training.objective import ObjectiveConfig

IMAGES = np.random.default_rng(0).integers(0, 256, (37, 16, 12, 3), dtype=np.uint8)
# relu3_3 of 16 x 12 images: 4 x 3 x 256 float32 values an image.
NEEDED = len(IMAGES) * 4 * 3 * 256 * 4


def test_without_the_term_there_is_no_network_and_nothing_kept():
    assert features.make_extractor(ObjectiveConfig()) is None
    assert features.keep(None, IMAGES, allowed_mib=9, room_bytes=1e9) == {}


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-4), ("bfloat16", 2**-7)])
def test_kept_features_are_those_of_each_image_in_order_where_they_fit(precision, rtol):
    extract = features.make_extractor(ObjectiveConfig(perceptual=1.0, precision=precision))
    needed = NEEDED // (1 if precision == "float32" else 2)
    kept = features.keep(extract, IMAGES, allowed_mib=9, room_bytes=needed)["relu3_3"]
    expected = jax.jit(extract)(jnp.asarray(IMAGES, jnp.float32) / 255)["relu3_3"]
    assert (kept.nbytes, kept.dtype) == (needed, jnp.dtype(precision))
    scale = float(jnp.abs(expected).max())
    atol = scale * (1e-5 if precision == "float32" else rtol)
    np.testing.assert_allclose(kept.astype(np.float32), expected, rtol=rtol, atol=atol)
    for allowed_mib, room_bytes in ((0, 1e9), (9, needed - 1), (9, -5)):
        assert not features.keep(extract, IMAGES, allowed_mib=allowed_mib, room_bytes=room_bytes)
