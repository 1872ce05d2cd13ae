"""The report's autoencoder against PyTorch, layer by layer, with the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models import cpu_kernels
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from tests.optional import torch

CHANNELS, LATENT = 12, 3


def make_torch_model():
    torch.manual_seed(5)
    encoder = torch.nn.ModuleList(
        [
            torch.nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1),
            torch.nn.Conv2d(CHANNELS, CHANNELS // 2, 3, stride=2, padding=1),
            torch.nn.Conv2d(CHANNELS // 2, CHANNELS // 4, 3, stride=2),
            torch.nn.Linear(9 * (CHANNELS // 4), LATENT),
        ]
    )
    decoder = torch.nn.ModuleList(
        [
            torch.nn.Linear(LATENT, 4096),
            torch.nn.ConvTranspose2d(16, 32, 3, stride=2),
            torch.nn.ConvTranspose2d(32, 64, 3, stride=2),
            torch.nn.ConvTranspose2d(64, 3, 2, stride=1, padding=2),
        ]
    )
    return encoder, decoder


def torch_outputs(encoder, decoder, images, *, detached=True):
    """Return the output of every layer, NCHW, for images in [-1, 1]."""
    outputs = {}
    x = torch.relu(encoder[0](images))
    x = outputs["pool1"] = torch.nn.functional.max_pool2d(x, 2, 2)
    x = torch.relu(encoder[1](x))
    x = outputs["pool2"] = torch.nn.functional.max_pool2d(x, 2, 1)
    x = outputs["conv3"] = torch.relu(encoder[2](x))
    x = outputs["to_code"] = encoder[3](x.flatten(1))
    x = outputs["from_code"] = decoder[0](x)
    x = outputs["up1"] = torch.relu(decoder[1](x.reshape(-1, 16, 16, 16)))
    x = outputs["up2"] = torch.relu(decoder[2](x))
    outputs["up3"] = torch.tanh(decoder[3](x))
    if not detached:
        return outputs
    return {name: value.detach().numpy() for name, value in outputs.items()}


def make(side=64, key=0):
    return make_autoencoder(
        ModelConfig(name="reference", latent_dim=LATENT, channels=CHANNELS),
        mean_image=np.zeros((side, side, 3)),
        key=jax.random.key(key),
    )


def layers_of(model):
    """Return the layers in PyTorch's order."""
    encoder = [model.conv1, model.conv2, model.conv3, model.to_code]
    return [*encoder, model.from_code, model.up1, model.up2, model.up3]


def carry_over(model, encoder, decoder):
    """Copy PyTorch's weights into our model."""
    for layer, theirs in zip(layers_of(model), [*encoder, *decoder], strict=True):
        weight = theirs.weight.detach().numpy()
        if isinstance(theirs, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            weight = weight.transpose(2, 3, 1, 0)
        else:
            weight = weight.T
        assert layer.kernel[...].shape == weight.shape
        layer.kernel[...] = jnp.asarray(weight)
        layer.bias[...] = jnp.asarray(theirs.bias.detach().numpy())


def our_outputs(model, images):
    """Return the output of every layer, NHWC, for images in [0, 1]."""

    def layer(compute, maps, name):
        weights = getattr(model, name)
        return nnx.relu(compute(maps, weights.kernel[...]) + weights.bias[...][None, None, None])

    def conv2(maps, kernel):
        return cpu_kernels.pool_overlapping(cpu_kernels.convolve(maps, kernel, padding=1))

    outputs = {}
    conv1 = partial(cpu_kernels.convolve_and_pool, padding=1)
    x = outputs["pool1"] = layer(conv1, images * 2 - 1, "conv1")
    x = outputs["pool2"] = layer(conv2, x, "conv2")
    outputs["conv3"] = layer(partial(cpu_kernels.convolve, padding=0), x, "conv3")
    code = outputs["to_code"] = model.encode(images)
    x = outputs["from_code"] = model.from_code(code)
    x = x.reshape(-1, 16, 16, 16).transpose(0, 2, 3, 1)
    x = outputs["up1"] = layer(cpu_kernels.enlarge, x, "up1")
    outputs["up2"] = layer(cpu_kernels.enlarge, x, "up2")
    outputs["up3"] = model(images) * 2 - 1
    return outputs


@pytest.fixture(scope="module")
def both():
    images = np.random.default_rng(0).random((5, 64, 64, 3), dtype=np.float32)
    encoder, decoder = make_torch_model()
    model = make()
    carry_over(model, encoder, decoder)
    theirs = torch_outputs(encoder, decoder, torch.from_numpy(images.transpose(0, 3, 1, 2)) * 2 - 1)
    with jax.default_matmul_precision("highest"):
        return our_outputs(model, jnp.asarray(images)), theirs


@pytest.mark.parametrize(
    "layer", ["pool1", "pool2", "conv3", "to_code", "from_code", "up1", "up2", "up3"]
)
def test_layer_equals_pytorch(both, layer):
    ours, theirs = (np.asarray(outputs[layer]) for outputs in both)
    if theirs.ndim == 4:
        theirs = theirs.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_weights_start_within_pytorchs_bounds():
    encoder, decoder = make_torch_model()
    for layer, theirs in zip(layers_of(make()), [*encoder, *decoder], strict=True):
        bound = float(theirs.weight.detach().abs().max())
        found = float(jnp.abs(layer.kernel[...]).max())
        assert found == pytest.approx(bound, rel=0.1)


def test_gradients_equal_pytorchs():
    images = np.random.default_rng(1).random((3, 64, 64, 3), dtype=np.float32)
    encoder, decoder = make_torch_model()
    model = make()
    carry_over(model, encoder, decoder)
    given = torch.from_numpy(images.transpose(0, 3, 1, 2)) * 2 - 1
    theirs = torch_outputs(encoder, decoder, given, detached=False)["up3"]
    torch.mean((theirs - given) ** 2).backward()
    graphdef, params = nnx.split(model)
    images = jnp.asarray(images)

    def loss(params):
        return 4 * jnp.mean(jnp.square(nnx.merge(graphdef, params)(images) - images))

    gradient = nnx.merge(graphdef, jax.jit(jax.grad(loss))(params))
    layers = [*encoder, *decoder]
    for layer, ours in zip(layers, layers_of(gradient), strict=True):
        expected = layer.weight.grad.numpy()
        moved = expected.transpose(2, 3, 1, 0) if expected.ndim == 4 else expected.T
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours.kernel[...], moved, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.core
def test_any_side_divisible_by_16_comes_back_and_others_are_refused():
    for side in (32, 48, 96):
        assert jax.eval_shape(make(side), jnp.zeros((2, side, side, 3))).shape[1] == side
    for shape in ((40, 40, 3), (64, 32, 3), (16, 16, 3)):
        with pytest.raises(
            UserError, match=r"multiple of 16 and at least 32; set config.data.side"
        ):
            make_autoencoder(
                ModelConfig(name="reference"), mean_image=np.zeros(shape), key=jax.random.key(0)
            )
