from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxsurf.training import objective
from jaxsurf.training.objective import ObjectiveConfig

SHAPE = (3, 16, 20, 3)
OUTPUTS = jax.random.uniform(jax.random.key(0), SHAPE, minval=0.05, maxval=0.95)
IMAGES = jax.random.uniform(jax.random.key(1), SHAPE)


def term(name, outputs, images, extract=None, layers=None):
    """Return one term of each example, as one program."""
    total = partial(objective.total, weights={name: 1.0}, layers=layers or {}, extract=extract)
    return jax.jit(lambda *given: total(*given)[0])(outputs, images)


def test_terms_are_numpys_one_value_an_example():
    out, image = np.asarray(OUTPUTS, np.float64), np.asarray(IMAGES, np.float64)
    entropy = -image * np.log(out) - (1 - image) * np.log(1 - out)
    for name, values in (("mse", (out - image) ** 2), ("l1", abs(out - image)), ("bce", entropy)):
        found = term(name, OUTPUTS, IMAGES)
        np.testing.assert_allclose(found, values.mean(axis=(1, 2, 3)), rtol=2e-6)


def test_gradients_are_those_of_finite_differences():
    weights = {"mse": 0.5, "l1": 0.25, "bce": 2.0, "perceptual": 3.0}
    layers, mix = {"narrow": 0.5, "wide": 2.0}, np.random.default_rng(2).normal(size=(3, 11))
    outputs, images = (np.asarray(each[:2, :5, :7], np.float64) for each in (OUTPUTS, IMAGES))

    def extract(images):
        return {"narrow": jnp.tanh(images @ mix[:, :2]), "wide": jnp.tanh(images @ mix)}

    def total(outputs):
        given = {"weights": weights, "layers": layers, "extract": extract}
        return objective.total(jnp.asarray(outputs), jnp.asarray(images), **given)[0]

    with jax.enable_x64(True):
        check_grads(jax.jit(total), (outputs,), order=1, modes=["rev"], rtol=1e-3)


@pytest.mark.core
def test_mse_is_reported_even_where_it_has_no_weight():
    total, terms = objective.total(OUTPUTS, IMAGES, weights={"l1": 2.0}, layers={})
    np.testing.assert_allclose(total, 2 * terms["l1"], rtol=1e-6)
    assert terms.keys() == {"mse", "l1"}


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_cross_entropy_leads_outputs_back_that_have_left_the_range(target):
    outside = jnp.full((1, 1, 1, 1), 1.3 if target else -0.3)
    wanted = jnp.full((1, 1, 1, 1), 1 - target)
    slope = jax.grad(lambda out: term("bce", out, wanted)[0])(outside)
    assert jnp.isfinite(slope).all()
    assert (slope > 0).all() == bool(target)


def test_perceptual_term_is_the_weighted_mean_square_of_feature_differences():
    config = ObjectiveConfig(perceptual=1.0, layers={"relu1_2": 0.5, "relu2_1": 2.0})
    extract = jax.jit(objective.make_extractor(config))
    found, wanted = extract(OUTPUTS), extract(IMAGES)
    expected = sum(
        weight * np.square(np.asarray(found[n], np.float64) - wanted[n]).mean(axis=(1, 2, 3))
        for n, weight in config.layers.items()
    )
    weighed = term("perceptual", OUTPUTS, IMAGES, extract, config.layers)
    np.testing.assert_allclose(weighed, expected, rtol=1e-5)


def stripes(offset):
    """Black and white stripes, two pixels wide, moved down by an offset."""
    rows = (np.arange(64) - offset) // 2 % 2
    return jnp.asarray(np.broadcast_to(rows[None, :, None, None], (1, 64, 64, 3)), jnp.float32)


def test_a_shift_by_one_pixel_costs_far_less_perceptually_than_grey():
    """The report's figure 7: MSE takes plain grey for the better copy, features don't."""
    clean, moved, grey = stripes(0), stripes(1), jnp.full((1, 64, 64, 3), 0.5)
    extract = objective.make_extractor(ObjectiveConfig(perceptual=1.0))
    copies, both = jnp.concatenate([moved, grey]), jnp.concatenate([clean, clean])
    by_pixels = term("mse", copies, both)
    by_features = term("perceptual", copies, both, extract, {"relu3_3": 1.0})
    assert by_pixels[0] / by_pixels[1] == pytest.approx(2.0)
    assert by_features[0] / by_features[1] < 0.1  # 0.044 with the shipped weights


# Features of clean images

PICTURES = np.random.default_rng(0).integers(0, 256, (37, 16, 12, 3), dtype=np.uint8)
# relu1_2 of 16 x 12 images: 64 float32 values a pixel.
NEEDED = len(PICTURES) * 16 * 12 * 64 * 4


def test_without_the_term_there_is_no_network_and_nothing_kept():
    assert objective.make_extractor(ObjectiveConfig()) is None
    assert objective.keep_features(None, PICTURES, allowed_mib=9, room_bytes=1e9) == {}


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-4), ("bfloat16", 2**-7)])
def test_kept_features_are_those_of_each_image_in_order_where_they_fit(precision, rtol):
    layers = {"relu1_2": 1.0}
    config = ObjectiveConfig(perceptual=1.0, layers=layers, precision=precision)
    extract = objective.make_extractor(config)
    needed = NEEDED // (1 if precision == "float32" else 2)
    kept = objective.keep_features(extract, PICTURES, allowed_mib=9, room_bytes=needed)["relu1_2"]
    expected = jax.jit(extract)(jnp.asarray(PICTURES, jnp.float32) / 255)["relu1_2"]
    assert (kept.nbytes, kept.dtype) == (needed, jnp.dtype(precision))
    scale = float(jnp.abs(expected).max())
    atol = scale * (1e-5 if precision == "float32" else rtol)
    np.testing.assert_allclose(kept.astype(np.float32), expected, rtol=rtol, atol=atol)
    for allowed, room in ((0, 1e9), (9, needed - 1), (9, -5)):
        given = {"allowed_mib": allowed, "room_bytes": room}
        assert objective.keep_features(extract, PICTURES, **given) == {}
