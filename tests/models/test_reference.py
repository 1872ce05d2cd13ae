"""The report's autoencoder against PyTorch, layer by layer, with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder

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


def torch_outputs(encoder, decoder, images):
    """Return the output of every layer, NCHW, for images in [-1, 1]."""
    outputs = {}
    x = outputs["conv1"] = torch.relu(encoder[0](images))
    x = torch.nn.functional.max_pool2d(x, 2, 2)
    x = outputs["conv2"] = torch.relu(encoder[1](x))
    x = torch.nn.functional.max_pool2d(x, 2, 1)
    x = outputs["conv3"] = torch.relu(encoder[2](x))
    x = outputs["to_code"] = encoder[3](x.flatten(1))
    x = outputs["from_code"] = decoder[0](x)
    x = outputs["up1"] = torch.relu(decoder[1](x.reshape(-1, 16, 16, 16)))
    x = outputs["up2"] = torch.relu(decoder[2](x))
    outputs["up3"] = torch.tanh(decoder[3](x))
    return {name: value.detach().numpy() for name, value in outputs.items()}


def carry_over(model, encoder, decoder):
    """Copy PyTorch's weights into our model."""
    ours = [model.conv1, model.conv2, model.conv3, model.to_code]
    ours += [model.from_code, model.up1, model.up2, model.up3]
    for layer, theirs in zip(ours, [*encoder, *decoder], strict=True):
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
    outputs = {}
    x = outputs["conv1"] = nnx.relu(model.conv1(images * 2 - 1))
    x = nnx.max_pool(x, (2, 2), strides=(2, 2))
    x = outputs["conv2"] = nnx.relu(model.conv2(x))
    x = nnx.max_pool(x, (2, 2), strides=(1, 1))
    outputs["conv3"] = nnx.relu(model.conv3(x))
    code = outputs["to_code"] = model.encode(images)
    x = outputs["from_code"] = model.from_code(code)
    x = x.reshape(-1, 16, 16, 16).transpose(0, 2, 3, 1)
    x = outputs["up1"] = nnx.relu(model.up1(x))
    outputs["up2"] = nnx.relu(model.up2(x))
    outputs["up3"] = model(images) * 2 - 1
    return outputs


@pytest.fixture(scope="module")
def both():
    images = np.random.default_rng(0).random((5, 64, 64, 3), dtype=np.float32)
    encoder, decoder = make_torch_model()
    model = make_autoencoder(
        ModelConfig(name="reference", latent_dim=LATENT, channels=CHANNELS),
        mean_image=np.zeros((64, 64, 3)),
        key=jax.random.key(0),
    )
    carry_over(model, encoder, decoder)
    theirs = torch_outputs(encoder, decoder, torch.from_numpy(images.transpose(0, 3, 1, 2)) * 2 - 1)
    with jax.default_matmul_precision("highest"):
        return our_outputs(model, jnp.asarray(images)), theirs


@pytest.mark.parametrize(
    "layer", ["conv1", "conv2", "conv3", "to_code", "from_code", "up1", "up2", "up3"]
)
def test_layer_equals_pytorch(both, layer):
    ours, theirs = (np.asarray(outputs[layer]) for outputs in both)
    if theirs.ndim == 4:
        theirs = theirs.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_weights_start_within_pytorchs_bounds():
    encoder, decoder = make_torch_model()
    model = make_autoencoder(
        ModelConfig(name="reference", latent_dim=LATENT, channels=CHANNELS),
        mean_image=np.zeros((64, 64, 3)),
        key=jax.random.key(0),
    )
    ours = [model.conv1, model.conv2, model.conv3, model.to_code]
    ours += [model.from_code, model.up1, model.up2, model.up3]
    for layer, theirs in zip(ours, [*encoder, *decoder], strict=True):
        bound = float(theirs.weight.detach().abs().max())
        found = float(jnp.abs(layer.kernel[...]).max())
        assert found == pytest.approx(bound, rel=0.1)


@pytest.mark.parametrize("side", [32, 48, 64, 96])
def test_any_side_divisible_by_16_comes_back_as_it_was(side):
    model = make_autoencoder(
        ModelConfig(name="reference", channels=8),
        mean_image=np.zeros((side, side, 3)),
        key=jax.random.key(0),
    )
    assert jax.eval_shape(model, jnp.zeros((2, side, side, 3))).shape == (2, side, side, 3)


@pytest.mark.parametrize("shape", [(40, 40, 3), (64, 32, 3), (16, 16, 3)])
def test_unfit_sides_are_refused_with_the_cure(shape):
    with pytest.raises(UserError, match=r"multiple of 16 and at least 32; set config.data.side"):
        make_autoencoder(
            ModelConfig(name="reference"), mean_image=np.zeros(shape), key=jax.random.key(0)
        )
