"""Training in PyTorch, as one writes it there, for the same run as ours.

The models are written channels first, with the weights of ours. PyTorch counts channels within
blocks and cells of a map in another order, so weights are permuted once. Images lie on the device;
losses are added up there; the optimizer is PyTorch's fused one.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.models.reference import CODE_CHANNELS, ReferenceAutoencoder
from jaxsurf.models.smooth import SmoothAutoencoder
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16
from jaxsurf.pipeline.setup import TrainSetup
from jaxsurf.training import corruption, features

Layer = TypeVar("Layer", bound=torch.nn.Module)
Channels = np.ndarray | slice
ALL = slice(None)
PATCH, ENLARGEMENT = 4, 2  # sides of the blocks of `smooth`


class TorchTraining:
    """Goes on training for some steps each time it is called.

    Args:
        setup: of the run.
        num_steps: of a call.
        mode: `eager`, `compile` (`torch.compile` for model and losses), `trace` (the same
            without generated code) or `graph` (a step is a CUDA graph, recorded once).
    """

    def __init__(self, setup: TrainSetup, *, num_steps: int, mode: str = "eager") -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_float32_matmul_precision("high")  # as XLA does: full on CPUs, TF32 on GPUs
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        self.num_steps, self.batch_size = num_steps, setup.config.training.batch_size
        images = torch.from_numpy(setup.images.images.transpose(0, 3, 1, 2).copy())
        self.images = images.to(self.device)
        self.order = torch.empty(0, dtype=torch.int64, device=self.device)
        self.model = make_twin(setup.with_weights(setup.state)).to(self.device)
        optimizer = _make_optimizer(self.model, setup, capturable=mode == "graph")
        shares = np.asarray(jax.vmap(setup.schedule)(jnp.arange(setup.plan.num_steps)))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: float(shares[min(step, len(shares) - 1)])
        )
        self.update = self._make_update(setup, optimizer, mode)

    def __call__(self) -> float:
        """Do the steps, and return the mean loss once they are done."""
        losses = torch.zeros((), device=self.device)
        for _ in range(self.num_steps):
            losses += self.update(self._next_batch())
            self.schedule.step()
        return losses.item() / self.num_steps

    def _next_batch(self) -> Tensor:
        """Return the numbers of the next images; every epoch is shuffled anew."""
        while len(self.order) < self.batch_size:
            epoch = torch.randperm(len(self.images), device=self.device)
            self.order = torch.cat([self.order, epoch])
        batch, self.order = self.order[: self.batch_size], self.order[self.batch_size :]
        return batch

    def _make_update(
        self, setup: TrainSetup, optimizer: torch.optim.Optimizer, mode: str
    ) -> Callable[[Tensor], Tensor]:
        config = setup.config
        extractor = features.make_extractor(config.objective)
        low = config.training.precision == "bfloat16"
        if extractor is not None:
            network = nnx.merge(extractor.graphdef, extractor.state)
            extract = FeatureTwin(network).to(self.device)

        def loss_of(clean: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
                outputs = self.model(_corrupt(clean, config.corruption)).float()
            loss = config.objective.mse * functional.mse_loss(outputs, clean)
            if extractor is None:
                return loss
            with torch.no_grad():
                wanted = extract(clean)
            found = extract(outputs)
            for name, weight in config.objective.layers.items():
                error = functional.mse_loss(found[name], wanted[name])
                loss = loss + config.objective.perceptual * weight * error
            return loss

        backends = {"compile": "inductor", "trace": "aot_eager"}
        compiled: Callable[[Tensor], Tensor] = loss_of
        if mode in backends:
            compiled = torch.compile(loss_of, backend=backends[mode])

        def update(numbers: Tensor) -> Tensor:
            loss = compiled(self.images[numbers].float() / 255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        return _record(update, self._next_batch()) if mode == "graph" else update


def _corrupt(clean: Tensor, config: corruption.CorruptionConfig) -> Tensor:
    if config.kind == "normal":
        return clean + config.strength / 2 * torch.randn_like(clean)
    if config.kind == "white":
        spoilt = torch.rand_like(clean) < config.strength
        return torch.where(spoilt, corruption.MIDDLE_GREY, clean)
    return clean


def _make_optimizer(
    model: torch.nn.Module, setup: TrainSetup, *, capturable: bool
) -> torch.optim.Optimizer:
    """Return the optimizer of that name; in a recorded step its rate has to be a tensor."""
    config = setup.config.optimizer
    rate: Any = config.learning_rate
    if capturable:
        rate = torch.tensor(rate, device=next(model.parameters()).device)
    shared: dict[str, Any] = {"lr": rate, "fused": True, "capturable": capturable}
    if config.name == "reference":
        return torch.optim.Adam(model.parameters(), weight_decay=config.weight_decay, **shared)
    named = list(model.named_parameters())
    groups = [
        {"params": [value for name, value in named if name.endswith("weight") == kernel]}
        | {"weight_decay": config.weight_decay * kernel}
        for kernel in (True, False)
    ]
    return torch.optim.AdamW(groups, betas=(0.9, config.b2), **shared)


def _record(update: Callable[[Tensor], Tensor], numbers: Tensor) -> Callable[[Tensor], Tensor]:
    """Return an update that plays a CUDA graph of it."""
    held, aside = numbers.clone(), torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # libraries choose and allocate meanwhile
            update(held)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = update(held)

    def play(batch: Tensor) -> Tensor:
        held.copy_(batch)
        graph.replay()
        return loss

    return play


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
        self.to_code, self.from_code = _linear(model.to_code), _linear(model.from_code)
        shapes = ((model.up1, 2, 0), (model.up2, 2, 0), (model.up3, 1, 2))
        self.up1, self.up2, self.up3 = (_transposed(*each) for each in shapes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images."""
        hidden = functional.max_pool2d(torch.relu(self.conv1(images * 2 - 1)), 2, 2)
        hidden = functional.max_pool2d(torch.relu(self.conv2(hidden)), 2, 1)
        hidden = torch.relu(self.conv3(hidden))
        hidden = self.from_code(self.to_code(hidden.flatten(1)))
        hidden = hidden.reshape(-1, CODE_CHANNELS, self.base, self.base)
        hidden = torch.relu(self.up2(torch.relu(self.up1(hidden))))
        return (torch.tanh(self.up3(hidden)) + 1) / 2


class SmoothTwin(torch.nn.Module):
    """Our default model."""

    def __init__(self, model: SmoothAutoencoder) -> None:
        super().__init__()
        encoder, decoder = model.encoder, model.decoder
        mean = np.asarray(model.mean_image[...]).transpose(2, 0, 1)
        depth, side = mean.shape[:2]
        line = torch.linspace(-1.0, 1.0, side // PATCH)
        self.register_buffer("mean_image", _tensor(mean))
        self.register_buffer("places", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None])
        patches = _channels_first(PATCH, depth)
        taken = np.concatenate([patches, len(patches) + np.arange(2)])
        self.conv1 = _conv(encoder.conv1, padding=1, inputs=taken)
        self.conv2, self.conv3 = _conv(encoder.conv2, padding=0), _conv(encoder.conv3, padding=0)
        last = _channels_first(side // 16, encoder.conv3.out_features)
        self.dense, self.to_code = _linear(encoder.dense, inputs=last), _linear(encoder.to_code)
        self.frequencies = torch.nn.Parameter(_tensor(decoder.frequencies[...]))
        self.dense1, self.dense2 = _linear(decoder.dense1), _linear(decoder.dense2)
        self.base, self.narrow = decoder.base, decoder.conv1.in_features
        self.to_map = _linear(decoder.to_map, outputs=_channels_first(self.base, self.narrow))
        inner = _channels_first(ENLARGEMENT, decoder.conv2.in_features)
        self.up1 = _conv(decoder.conv1, padding=1, outputs=inner)
        self.up2 = _conv(decoder.conv2, padding=1, outputs=_channels_first(ENLARGEMENT, depth))

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images."""
        mean, places = cast(Tensor, self.mean_image), cast(Tensor, self.places)
        patches = functional.pixel_unshuffle(images - mean, PATCH)
        hidden = torch.cat([patches, places.expand(len(images), -1, -1, -1)], dim=1)
        hidden = _gelu(self.conv1(hidden))
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
        self.relus, self.preparation = network.relus, network.preparation
        self.layers = torch.nn.ModuleDict()
        for name in weights.up_to(network.relus):
            self.layers[name] = _conv(getattr(network, name), padding=1)
        self.requires_grad_(requires_grad=False)
        mean = np.reshape(self.preparation.mean, (1, 3, 1, 1))
        deviation = np.reshape(self.preparation.deviation, (1, 3, 1, 1))
        self.register_buffer("mean", _tensor(mean))
        self.register_buffer("deviation", _tensor(deviation * self.preparation.feature_scale))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features of images, by layer."""
        ordered = images.flip(1) if self.preparation.bgr else images
        mean, deviation = cast(Tensor, self.mean), cast(Tensor, self.deviation)
        maps, found = (self.preparation.peak * ordered - mean) / deviation, {}
        for name, convolution in self.layers.items():
            if name.endswith("conv1") and name != weights.CONVOLUTIONS[0]:
                maps = functional.max_pool2d(maps, 2)
            maps = torch.relu(convolution(maps))
            if weights.relu(name) in self.relus:
                found[weights.relu(name)] = maps.float()
        return found


def _tensor(values: ArrayLike) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def _load(made: Layer, weight: np.ndarray, bias: np.ndarray) -> Layer:
    made.load_state_dict({"weight": _tensor(weight), "bias": _tensor(bias)})
    return made


def _weights(ours: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401 - a layer of ours
    return np.asarray(ours.kernel[...]), np.asarray(ours.bias[...])


def _conv(
    ours: nnx.Module, *, padding: int, inputs: Channels = ALL, outputs: Channels = ALL
) -> torch.nn.Conv2d:
    """Return a convolution; `inputs` and `outputs` say which of our channels each of torch's is."""
    kernel, bias = _weights(ours)
    kernel, bias = kernel[:, :, inputs][..., outputs], bias[outputs]
    stride = np.ravel(getattr(ours, "strides", 1))[0].item()
    made = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, stride=stride, padding=padding)
    return _load(made, kernel.transpose(3, 2, 0, 1), bias)


def _linear(ours: nnx.Module, inputs: Channels = ALL, outputs: Channels = ALL) -> torch.nn.Linear:
    kernel, bias = _weights(ours)
    kernel = kernel[inputs][:, outputs]
    return _load(torch.nn.Linear(*kernel.shape), kernel.T, bias[outputs])


def _transposed(ours: nnx.Module, stride: int, crop: int) -> torch.nn.ConvTranspose2d:
    kernel, bias = _weights(ours)
    size, _, outputs, inputs = kernel.shape
    made = torch.nn.ConvTranspose2d(inputs, outputs, size, stride=stride, padding=crop)
    return _load(made, kernel.transpose(3, 2, 0, 1), bias)


def _channels_first(side: int, channels: int) -> np.ndarray:
    """Return which of our numbers each of torch's is, where a square of channels is one row."""
    return np.arange(side**2 * channels).reshape(side**2, channels).T.reshape(-1)


def _gelu(values: Tensor) -> Tensor:
    return functional.gelu(values, approximate="tanh")
