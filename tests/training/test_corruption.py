import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.training.corruption import CorruptionConfig, corrupt, make_noise

IMAGES = jax.random.uniform(jax.random.key(7), (11, 32, 32, 3))
KEYS = jax.random.split(jax.random.key(1), len(IMAGES))


def noisy(kinds=(), **settings):
    return np.asarray(corrupt(KEYS, IMAGES, make_noise(CorruptionConfig(**settings), kinds)))


def test_normal_has_half_its_strength_on_the_unit_range():
    noise = noisy(kind="normal", strength=0.2) - IMAGES
    # 33,792 values: the standard error of the deviation is 0.4 %.
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean()) < 0.003


def test_white_greys_single_values_with_its_probability():
    spoilt = noisy(kind="white", strength=0.3)
    changed = spoilt != np.asarray(IMAGES)
    assert changed.mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(spoilt[changed], 0.5)
    # Channels are hit apart from each other: all three at once is as rare as chance has it.
    assert changed.all(axis=-1).mean() == pytest.approx(0.027, abs=0.008)


@pytest.mark.parametrize("kind", ["normal", "white", "none"])
def test_an_images_noise_is_that_of_its_key_in_a_program_for_several_kinds_too(kind):
    alone = noisy(kind=kind, strength=0.3)
    several = noisy(("white", "none", "normal"), kind=kind, strength=0.3)
    np.testing.assert_array_equal(several, alone)
    assert (alone == IMAGES).all() == (kind == "none")
    some = jnp.array([4, 3])
    noise = make_noise(CorruptionConfig(kind=kind, strength=0.3))
    few = corrupt(jax.random.clone(KEYS)[some], IMAGES[some], noise)
    np.testing.assert_allclose(few, alone[some], rtol=1e-5, atol=1e-6)
