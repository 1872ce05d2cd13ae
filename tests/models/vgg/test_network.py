import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16, prepare
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION, UNPREPARED
from tests.optional import torch

IMAGES = np.random.default_rng(1).random((2, 32, 32, 3), np.float32)


def outputs(model, images):
    """Return what a model gives, as one program."""
    graphdef, state = nnx.split(model)
    return jax.jit(lambda state, images: nnx.merge(graphdef, state)(images))(state, images)


def close(mine, theirs):
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_every_layer_equals_torchs(torch_state, torch_relus):
    named = {name: value.numpy() for name, value in torch_state.items()}
    model = VGG16(weights.of_torch(named, origin="a test"), weights.RELUS)
    mine = outputs(model, jnp.asarray(IMAGES))
    theirs = torch_relus(torch_state, prepare(jnp.asarray(IMAGES), TORCHVISION))
    assert list(mine) == list(weights.RELUS)
    for name in weights.RELUS:
        assert np.abs(theirs[name]).max() > 0.1
        close(mine[name], theirs[name])


def test_preparations_are_those_of_their_makers():
    image = jnp.asarray(IMAGES[:1])
    red, green, blue = np.asarray(IMAGES[0, 0, 0], np.float64)
    pixel = np.asarray(prepare(image, OXFORD))[0, 0, 0]
    expected = [255 * blue - 103.939, 255 * green - 116.779, 255 * red - 123.68]
    np.testing.assert_allclose(58 * pixel, expected, rtol=1e-5)
    pixel = np.asarray(prepare(image, TORCHVISION))[0, 0, 0]
    np.testing.assert_allclose(pixel[0], (red - 0.485) / 0.229, rtol=1e-5)
    pixel = np.asarray(prepare(image, UNPREPARED))[0, 0, 0]
    np.testing.assert_allclose(pixel, 2 * np.array([red, green, blue]) - 1, atol=1e-6)


def test_feature_scale_divides_features(random_weights):
    plain = random_weights(until="block2_conv2", preparation=OXFORD)
    unscaled = dataclasses.replace(
        plain, preparation=dataclasses.replace(OXFORD, feature_scale=1.0)
    )
    small = outputs(VGG16(plain, ["relu2_2"]), jnp.asarray(IMAGES))["relu2_2"]
    large = outputs(VGG16(unscaled, ["relu2_2"]), jnp.asarray(IMAGES))["relu2_2"]
    close(58 * np.asarray(small), np.asarray(large))


def test_only_what_is_needed_is_kept_and_returned(random_weights):
    model = VGG16(random_weights(until="block2_conv2"), ["relu2_1", "relu1_1"])
    assert sorted(outputs(model, jnp.asarray(IMAGES))) == ["relu1_1", "relu2_1"]
    assert not hasattr(model, "block2_conv2")


def test_nothing_is_trained(random_weights):
    _, params, rest = nnx.split(VGG16(random_weights(), ["relu1_1"]), nnx.Param, ...)
    assert jax.tree.leaves(params) == []
    assert len(jax.tree.leaves(rest)) == 2


def test_images_too_small_are_refused(random_weights):
    model = VGG16(random_weights(until="block2_conv2"), ["relu2_1"])
    assert outputs(model, jnp.ones((1, 2, 3, 3)))["relu2_1"].shape == (1, 1, 1, 128)
    with pytest.raises(UserError, match="too small for relu2_1"):
        model(jnp.ones((1, 1, 3, 3)))


def test_layers_that_there_are_not_are_refused(random_weights):
    with pytest.raises(UserError, match=r"no layer 'relu6_1'; choose from relu1_1, .*relu5_3"):
        VGG16(random_weights(), ["relu1_1", "relu6_1"])
    with pytest.raises(UserError, match="no layer of VGG16 is named"):
        VGG16(random_weights(), [])
    with pytest.raises(UserError, match="end at relu1_2, but relu3_3 is asked for"):
        VGG16(random_weights(until="block1_conv2"), ["relu3_3"])


def test_half_precision_stays_near(random_weights):
    whole = outputs(VGG16(random_weights(), ["relu2_2"]), jnp.asarray(IMAGES))["relu2_2"]
    model = VGG16(random_weights(), ["relu2_2"], dtype=jnp.bfloat16)
    half = outputs(model, jnp.asarray(IMAGES))
    assert half["relu2_2"].dtype == jnp.float32
    assert float(jnp.abs(half["relu2_2"] - whole).max()) < 0.05 * float(whole.max())
    assert float(jnp.abs(half["relu2_2"] - whole).max()) > 0


def test_shipped_weights_equal_torch_given_the_same_numbers(torch_relus):
    shipped = weights.shipped()
    state = {}
    for name, place in zip(weights.CONVOLUTIONS, weights.TORCH_PLACES, strict=False):
        if name in shipped.kernels:
            kernel = np.ascontiguousarray(shipped.kernels[name].transpose(3, 2, 0, 1))
            state[f"{place}.weight"] = torch.from_numpy(kernel)
            state[f"{place}.bias"] = torch.from_numpy(shipped.biases[name] / np.float32(58))
    inputs = prepare(jnp.asarray(IMAGES), OXFORD)
    mine = outputs(VGG16(shipped, ["relu3_3"]), jnp.asarray(IMAGES))["relu3_3"]
    close(mine, torch_relus(state, inputs)["relu3_3"])


def test_shipped_weights_give_the_stored_features_of_three_images():
    """Stored values: PyTorch in float64, from the authors' numbers and preparation, over 58."""
    y, x = np.mgrid[:32, :32]
    ramp = np.stack([x / 31, y / 31, (x + y) / 62], axis=-1)
    checks = np.where(((x // 4 + y // 4) % 2 == 0)[..., None], [1.0, 0.5, 0.0], [0.0, 0.25, 1.0])
    disc = np.where((np.hypot(x - 15.5, y - 15.5) < 9)[..., None], 0.9, [0.2, 0.1, 0.4])
    images = jnp.asarray(np.stack([ramp, checks, disc]), jnp.float32)
    features = np.asarray(outputs(VGG16(weights.shipped(), ["relu3_3"]), images)["relu3_3"])
    means = features.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, [5.927682, 7.34548, 6.178187], rtol=1e-5)
    stored = {
        0: ([29, 122, 87, 98], [52.88652, 47.42925, 46.36794, 40.71489]),
        1: ([128, 32, 5, 21], [172.1742, 142.3022, 117.7889, 107.0517]),
        2: ([245, 218, 95, 222], [128.655, 114.7016, 112.1976, 100.3412]),
    }
    for number, (channels, values) in stored.items():
        np.testing.assert_allclose(features[number, 3, 4, channels], values, rtol=1e-4)
