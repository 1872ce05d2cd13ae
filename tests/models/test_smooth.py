import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.models.smooth import _depth_to_space, _space_to_depth


def make(side=32, depth=3, latent_dim=2, channels=8, seed=0):
    mean = np.random.default_rng(1).random((side, side, depth))
    config = ModelConfig(name="smooth", latent_dim=latent_dim, channels=channels)
    return make_autoencoder(config, mean_image=mean, key=jax.random.key(seed)), mean


@pytest.mark.parametrize(
    ("side", "depth", "latent_dim"), [(16, 3, 2), (48, 1, 5), (32, 4, 1), (64, 3, 3)]
)
def test_takes_any_side_depth_and_latent_size(side, depth, latent_dim):
    model, _ = make(side, depth, latent_dim)
    images = jnp.zeros((3, side, side, depth))
    assert jax.eval_shape(model.encode, images).shape == (3, latent_dim)
    assert jax.eval_shape(model, images).shape == images.shape


def test_answers_with_the_mean_image_which_is_not_trained_before_training():
    model, mean = make()
    _, params, constants = nnx.split(model, nnx.Param, ...)
    assert [leaf.shape for leaf in jax.tree.leaves(constants)] == [(32, 32, 3)]
    assert (32, 32, 3) not in [leaf.shape for leaf in jax.tree.leaves(params)]
    decoded = model.decode(jnp.array([[0.3, -2.0], [5.0, 1.0]]))
    np.testing.assert_allclose(decoded, np.stack([mean, mean]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_every_weight_has_its_say(backend, monkeypatch):
    # The last convolution has a form of its own on CPUs.
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(4)
    graphdef, params, constants = nnx.split(make()[0], nnx.Param, ...)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape), params)
    images = jnp.asarray(rng.random((2, 32, 32, 3)), jnp.float32)
    gradient = jax.grad(lambda p: jnp.square(nnx.merge(graphdef, p, constants)(images)).sum())
    for leaf in jax.tree.leaves(jax.jit(gradient)(params)):
        assert np.abs(leaf).max() > 0


def test_same_key_gives_same_weights_and_another_key_others():
    first, again, other = (
        jax.tree.leaves(nnx.state(make(seed=seed)[0], nnx.Param)) for seed in (3, 3, 4)
    )
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_space_to_depth_keeps_each_patch_together():
    images = jnp.arange(2 * 8 * 8 * 3, dtype=jnp.float32).reshape(2, 8, 8, 3)
    patches = _space_to_depth(images, 4)
    assert patches.shape == (2, 2, 2, 48)
    np.testing.assert_array_equal(patches[1, 0, 1], images[1, 0:4, 4:8].reshape(-1))
    np.testing.assert_array_equal(_depth_to_space(patches, 4), images)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "vae"}, "model.name is 'vae'"),
        ({"latent_dim": 0}, "latent_dim is 0"),
        ({"channels": 6}, "multiple of 4"),
    ],
)
def test_wrong_settings_are_refused(wrong, words):
    with pytest.raises(UserError, match=words):
        ModelConfig(**wrong)
