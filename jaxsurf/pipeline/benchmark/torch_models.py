"""The autoencoders again, in PyTorch and with the weights of ours: what training is compared with.

They are written as one writes them there, channels first, and take and return the same values.
PyTorch counts channels within blocks and cells of a map in another order, so weights are permuted
once, when a twin is made.
"""

from typing import TypeVar, cast

import numpy as np
import torch
from flax import nnx
from jaxtyping import Int
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.models.reference import CODE_CHANNELS, ReferenceAutoencoder, TransposedConv
from jaxsurf.models.smooth import SmoothAutoencoder
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16

Numbers = Int[np.ndarray, "channel"]
Layer = TypeVar("Layer", torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)

PATCH, ENLARGEMENT = 4, 2  # sides of the blocks of `smooth`


def make_twin(model: Autoencoder) -> torch.nn.Module:
    """Return the same model in PyTorch; images are [batch, channel, height, width] in [0, 1]."""
    if isinstance(model, ReferenceAutoencoder):
        return ReferenceTwin(model)
    return SmoothTwin(cast(SmoothAutoencoder, model))


class ReferenceTwin(torch.nn.Module):
    """The report's model."""

    def __init__(self, model: ReferenceAutoencoder) -> None:
        super().__init__()
        self.base = model.base
        self.conv1 = _conv(model.conv1, padding=1)
        self.conv2 = _conv(model.conv2, padding=1)
        self.conv3 = _conv(model.conv3, padding=0)
        self.to_code = _linear(model.to_code)
        self.from_code = _linear(model.from_code)
        self.up1 = _transposed(model.up1, stride=2, crop=0)
        self.up2 = _transposed(model.up2, stride=2, crop=0)
        self.up3 = _transposed(model.up3, stride=1, crop=2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images."""
        hidden = torch.relu(self.conv1(images * 2 - 1))
        hidden = functional.max_pool2d(hidden, 2, 2)
        hidden = torch.relu(self.conv2(hidden))
        hidden = functional.max_pool2d(hidden, 2, 1)
        hidden = torch.relu(self.conv3(hidden))
        hidden = self.from_code(self.to_code(hidden.flatten(1)))
        hidden = hidden.reshape(-1, CODE_CHANNELS, self.base, self.base)
        hidden = torch.relu(self.up1(hidden))
        hidden = torch.relu(self.up2(hidden))
        return (torch.tanh(self.up3(hidden)) + 1) / 2


class SmoothTwin(torch.nn.Module):
    """Our default model."""

    def __init__(self, model: SmoothAutoencoder) -> None:
        super().__init__()
        encoder, decoder = model.encoder, model.decoder
        mean = np.asarray(model.mean_image[...]).transpose(2, 0, 1)
        side, depth = mean.shape[1], mean.shape[0]
        self.register_buffer("mean_image", _tensor(mean))
        line = torch.linspace(-1.0, 1.0, side // PATCH)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("coordinates", torch.stack([rows, columns])[None])
        patches = _channels_first(PATCH, depth)
        taken = np.concatenate([patches, len(patches) + np.arange(2)])
        self.conv1 = _conv(encoder.conv1, padding=1, inputs=taken)
        self.conv2 = _conv(encoder.conv2, padding=0)
        self.conv3 = _conv(encoder.conv3, padding=0)
        wide, last = encoder.conv3.out_features, side // 16
        self.dense = _linear(encoder.dense, inputs=_channels_first(last, wide))
        self.to_code = _linear(encoder.to_code)
        self.frequencies = torch.nn.Parameter(_tensor(decoder.frequencies[...]))
        self.dense1 = _linear(decoder.dense1)
        self.dense2 = _linear(decoder.dense2)
        self.base, self.narrow = decoder.base, decoder.conv1.in_features
        self.to_map = _linear(decoder.to_map, outputs=_channels_first(self.base, self.narrow))
        channels = decoder.conv2.in_features
        self.up1 = _conv(decoder.conv1, padding=1, outputs=_channels_first(ENLARGEMENT, channels))
        self.up2 = _conv(decoder.conv2, padding=1, outputs=_channels_first(ENLARGEMENT, depth))

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images."""
        mean, coordinates = cast(Tensor, self.mean_image), cast(Tensor, self.coordinates)
        patches = functional.pixel_unshuffle(images - mean, PATCH)
        places = coordinates.expand(len(images), -1, -1, -1)
        hidden = _gelu(self.conv1(torch.cat([patches, places], dim=1)))
        # Our strided convolutions put their padding after the last row and column.
        for conv in (self.conv2, self.conv3):
            hidden = _gelu(conv(functional.pad(hidden, (0, 1, 0, 1))))
        codes = self.to_code(_gelu(self.dense(hidden.flatten(1))))
        waves = codes @ self.frequencies
        hidden = torch.cat([codes, torch.sin(waves), torch.cos(waves)], dim=1)
        hidden = _gelu(self.dense2(_gelu(self.dense1(hidden))))
        hidden = _gelu(self.to_map(hidden)).reshape(-1, self.narrow, self.base, self.base)
        hidden = _gelu(functional.pixel_shuffle(self.up1(hidden), ENLARGEMENT))
        return mean + functional.pixel_shuffle(self.up2(hidden), ENLARGEMENT)


class FeatureTwin(torch.nn.Module):
    """VGG16 as far as the perceptual term looks, frozen."""

    def __init__(self, network: VGG16) -> None:
        super().__init__()
        self.relus = network.relus
        self.preparation = network.preparation
        self.layers = torch.nn.ModuleDict()
        for name in weights.up_to(network.relus):
            ours = getattr(network, name)
            inputs, outputs = ours.kernel.shape[2:]
            self.layers[name] = _loaded(
                torch.nn.Conv2d(inputs, outputs, 3, padding=1),
                ours.kernel[...].transpose(3, 2, 0, 1),
                ours.bias[...],
            )
        self.requires_grad_(requires_grad=False)
        mean, deviation = (
            np.asarray(values, np.float32).reshape(1, 3, 1, 1)
            for values in (self.preparation.mean, self.preparation.deviation)
        )
        self.register_buffer("mean", _tensor(mean))
        self.register_buffer("deviation", _tensor(deviation * self.preparation.feature_scale))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features of images, by layer."""
        ordered = images.flip(1) if self.preparation.bgr else images
        mean, deviation = cast(Tensor, self.mean), cast(Tensor, self.deviation)
        maps = (self.preparation.peak * ordered - mean) / deviation
        found = {}
        for name, convolution in self.layers.items():
            if name.endswith("conv1") and name != weights.CONVOLUTIONS[0]:
                maps = functional.max_pool2d(maps, 2)
            maps = torch.relu(convolution(maps))
            if weights.relu(name) in self.relus:
                found[weights.relu(name)] = maps.float()
        return found


def _tensor(values: ArrayLike) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def _loaded(layer: Layer, weight: ArrayLike, bias: ArrayLike) -> Layer:
    """Return a layer with these weights."""
    with torch.no_grad():
        cast(Tensor, layer.weight).copy_(_tensor(weight))
        cast(Tensor, layer.bias).copy_(_tensor(bias))
    return layer


def _conv(
    ours: nnx.Conv,
    *,
    padding: int,
    inputs: Numbers | None = None,
    outputs: Numbers | None = None,
) -> torch.nn.Conv2d:
    """Return a convolution; `inputs` and `outputs` say which of our channels each of torch's is."""
    kernel, bias = np.asarray(ours.kernel[...]), np.asarray(cast(nnx.Param, ours.bias)[...])
    kernel = kernel if inputs is None else kernel[:, :, inputs]
    if outputs is not None:
        kernel, bias = kernel[..., outputs], bias[outputs]
    stride = ours.strides[0] if isinstance(ours.strides, tuple) else cast(int, ours.strides)
    made = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, stride=stride, padding=padding)
    return _loaded(made, kernel.transpose(3, 2, 0, 1), bias)


def _linear(
    ours: nnx.Linear, *, inputs: Numbers | None = None, outputs: Numbers | None = None
) -> torch.nn.Linear:
    kernel, bias = np.asarray(ours.kernel[...]), np.asarray(cast(nnx.Param, ours.bias)[...])
    kernel = kernel if inputs is None else kernel[inputs]
    if outputs is not None:
        kernel, bias = kernel[:, outputs], bias[outputs]
    return _loaded(torch.nn.Linear(*kernel.shape), kernel.T, bias)


def _transposed(ours: TransposedConv, *, stride: int, crop: int) -> torch.nn.ConvTranspose2d:
    kernel = np.asarray(ours.kernel[...])
    size, _, outputs, inputs = kernel.shape
    made = torch.nn.ConvTranspose2d(inputs, outputs, size, stride=stride, padding=crop)
    return _loaded(made, kernel.transpose(3, 2, 0, 1), ours.bias[...])


def _channels_first(side: int, channels: int) -> Numbers:
    """Return which of our numbers each of torch's is, where a square of channels is one row."""
    return np.arange(side**2 * channels).reshape(side**2, channels).T.reshape(-1)


def _gelu(values: Tensor) -> Tensor:
    return functional.gelu(values, approximate="tanh")
