"""The report's autoencoder against PyTorch with the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder

torch = pytest.importorskip("torch")

CHANNELS, LATENT = 12, 3


def make_torch_layers():
    torch.manual_seed(5)
    return torch.nn.ModuleList(
        [
            torch.nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1),
            torch.nn.Conv2d(CHANNELS, CHANNELS // 2, 3, stride=2, padding=1),
            torch.nn.Conv2d(CHANNELS // 2, CHANNELS // 4, 3, stride=2),
            torch.nn.Linear(9 * (CHANNELS // 4), LATENT),
            torch.nn.Linear(LATENT, 4096),
            torch.nn.ConvTranspose2d(16, 32, 3, stride=2),
            torch.nn.ConvTranspose2d(32, 64, 3, stride=2),
            torch.nn.ConvTranspose2d(64, 3, 2, stride=1, padding=2),
        ]
    )


def torch_outputs(layers, images):
    """Return codes and outputs for images in [-1, 1], NCHW."""
    x = torch.nn.functional.max_pool2d(torch.relu(layers[0](images)), 2, 2)
    x = torch.nn.functional.max_pool2d(torch.relu(layers[1](x)), 2, 1)
    codes = layers[3](torch.relu(layers[2](x)).flatten(1))
    x = torch.relu(layers[5](layers[4](codes).reshape(-1, 16, 16, 16)))
    return codes, torch.tanh(layers[7](torch.relu(layers[6](x))))


def layers_of(model):
    """Return the layers in PyTorch's order."""
    encoder = [model.conv1, model.conv2, model.conv3, model.to_code]
    return [*encoder, model.from_code, model.up1, model.up2, model.up3]


def ours_of(tensor):
    """Return PyTorch's weight, bias or gradient with its axes in our order."""
    array = tensor.detach().numpy()
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def test_codes_images_and_the_gradient_of_every_layer_equal_pytorchs():
    images = np.random.default_rng(1).random((3, 64, 64, 3), dtype=np.float32)
    layers = make_torch_layers()
    config = ModelConfig(name="reference", latent_dim=LATENT, channels=CHANNELS)
    make = functools.partial(make_autoencoder, config, mean_image=np.zeros((64, 64, 3)))
    model = nnx.eval_shape(lambda: make(key=jax.random.key(0)))
    for ours, theirs in zip(layers_of(model), layers, strict=True):
        assert ours.kernel.shape == ours_of(theirs.weight).shape
        ours.kernel = nnx.Param(jnp.asarray(ours_of(theirs.weight)))
        ours.bias = nnx.Param(jnp.asarray(ours_of(theirs.bias)))
    given = torch.from_numpy(images.transpose(0, 3, 1, 2)) * 2 - 1
    codes, made = torch_outputs(layers, given)
    torch.mean((made - given) ** 2).backward()
    images = jnp.asarray(images)

    def loss(model):
        codes = model.encode(images)
        made = model.decode(codes)
        return 4 * jnp.mean(jnp.square(made - images)), (codes, 2 * made - 1)

    with jax.default_matmul_precision("highest"):
        gradient, found = jax.jit(jax.grad(loss, has_aux=True))(model)
    expected = codes.detach().numpy(), made.detach().numpy().transpose(0, 2, 3, 1)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())
    for layer, ours in zip(layers, layers_of(gradient), strict=True):
        for weight, mine in ((layer.weight, ours.kernel), (layer.bias, ours.bias)):
            moved = ours_of(weight.grad)
            scale = np.abs(moved).max()
            np.testing.assert_allclose(mine[...], moved, rtol=1e-3, atol=1e-4 * scale)
