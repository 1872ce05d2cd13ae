"""Training in PyTorch, as one writes it there, for the same run as ours.

Images lie on the device, channels first; losses are added up there; the optimizer is PyTorch's
fused one. Layers stand in the order of ours and begin with PyTorch's own weights.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor
from torch.nn import Conv2d, ConvTranspose2d, Linear, ReLU, functional

from jaxsurf.images import pixels
from jaxsurf.models import smooth
from jaxsurf.models.reference import CODE_CHANNELS
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16
from jaxsurf.pipeline.setup import TrainSetup
from jaxsurf.training import corruption
from jaxsurf.training.objective import make_extractor


class TorchTraining:
    """Goes on training for some steps each time it is called.

    The mode is `eager`, `graph` (a step is a CUDA graph, recorded once), or a backend of
    `torch.compile`, for model and losses.
    """

    def __init__(self, setup: TrainSetup, *, num_steps: int, mode: str = "eager") -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_float32_matmul_precision("high")  # as XLA does: full on CPUs, TF32 on GPUs
        torch.backends.cudnn.benchmark = True
        self.num_steps, self.batch_size = num_steps, setup.config.training.batch_size
        images = torch.from_numpy(setup.images.images.transpose(0, 3, 1, 2).copy())
        self.images = images.to(self.device)
        self.order = torch.empty(0, dtype=torch.int64, device=self.device)
        config, (side, _, depth) = setup.config.model, setup.images.images.shape[1:]
        if config.name == "reference":
            model = _Reference(side, depth, config.latent_dim, config.channels)
        else:
            mean = torch.tensor(pixels.mean(setup.images.images)).float().permute(2, 0, 1)
            model = _Smooth(mean, config.latent_dim, config.channels)
        self.model = model.to(self.device)
        optimizer = _make_optimizer(self.model, setup, capturable=mode == "graph")
        highest = setup.config.optimizer.learning_rate
        shares = np.asarray(setup.learning_rate_at(jnp.arange(setup.plan.num_steps)) / highest)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: float(shares[min(step, len(shares) - 1)])
        )
        loss_of = self._make_loss(setup)
        if mode not in ("eager", "graph"):
            loss_of = torch.compile(loss_of, backend=mode)

        def update(numbers: Tensor) -> Tensor:
            loss = loss_of(self.images[numbers].float() / 255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        self.update = _record(update, self._next_batch()) if mode == "graph" else update

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

    def _make_loss(self, setup: TrainSetup) -> Callable[[Tensor], Tensor]:
        objective, noise = setup.config.objective, setup.config.corruption
        extractor = make_extractor(objective)
        if extractor is not None:
            extract = _Features(extractor).to(self.device)

        def loss_of(clean: Tensor) -> Tensor:
            corrupted = clean
            if noise.kind == "normal":
                corrupted = clean + noise.strength / 2 * torch.randn_like(clean)
            elif noise.kind == "white":
                spoilt = torch.rand_like(clean) < noise.strength
                corrupted = torch.where(spoilt, corruption.MIDDLE_GREY, clean)
            outputs = self.model(corrupted)
            loss = objective.mse * functional.mse_loss(outputs, clean)
            if extractor is not None:
                with torch.no_grad():
                    wanted = extract(clean)
                found = extract(outputs)
                for name, weight in objective.layers.items():
                    error = functional.mse_loss(found[name], wanted[name])
                    loss = loss + objective.perceptual * weight * error
            return loss

        return loss_of


def _make_optimizer(
    model: torch.nn.Module, setup: TrainSetup, *, capturable: bool
) -> torch.optim.Optimizer:
    config, named = setup.config.optimizer, dict(model.named_parameters())
    rate: Any = config.learning_rate
    if capturable:  # a recorded step reads it from the device
        rate = torch.tensor(rate, device=next(model.parameters()).device)
    shared: dict[str, Any] = {"lr": rate, "fused": True, "capturable": capturable}
    if config.name == "reference":
        return torch.optim.Adam(named.values(), weight_decay=config.weight_decay, **shared)
    kernels = [value for name, value in named.items() if name.endswith("weight")]
    others = [value for name, value in named.items() if not name.endswith("weight")]
    groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    decay = {"betas": (0.9, config.b2), "weight_decay": config.weight_decay}
    return torch.optim.AdamW(groups, **decay, **shared)


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


class _Reference(torch.nn.Module):
    def __init__(self, side: int, depth: int, latent_dim: int, channels: int) -> None:
        super().__init__()
        pool, base, last = torch.nn.MaxPool2d, side // 4, (side // 8 - 4) // 2 + 1
        self.layers = torch.nn.Sequential(
            *(Conv2d(depth, channels, 3, stride=2, padding=1), ReLU(), pool(2, 2)),
            *(Conv2d(channels, channels // 2, 3, stride=2, padding=1), ReLU(), pool(2, 1)),
            *(Conv2d(channels // 2, channels // 4, 3, stride=2), ReLU(), torch.nn.Flatten()),
            Linear(last**2 * (channels // 4), latent_dim),
            Linear(latent_dim, CODE_CHANNELS * base**2),
            torch.nn.Unflatten(1, (CODE_CHANNELS, base, base)),
            *(ConvTranspose2d(CODE_CHANNELS, 32, 3, stride=2), ReLU()),
            *(ConvTranspose2d(32, 64, 3, stride=2), ReLU()),
            *(ConvTranspose2d(64, depth, 2, padding=2), torch.nn.Tanh()),
        )

    def forward(self, images: Tensor) -> Tensor:
        return (self.layers(images * 2 - 1) + 1) / 2


class _Smooth(torch.nn.Module):
    def __init__(self, mean: Tensor, latent_dim: int, channels: int) -> None:
        super().__init__()
        depth, side, _ = mean.shape
        wide, narrow, base, hidden = 2 * channels, channels // 2, side // 4, smooth.DECODER_HIDDEN
        gelu, shuffle = torch.nn.GELU(approximate="tanh"), torch.nn.PixelShuffle(2)
        # Our strided convolutions put their padding after the last row and column.
        pad = torch.nn.ZeroPad2d((0, 1, 0, 1))
        line = torch.linspace(-1.0, 1.0, base)
        self.mean = torch.nn.Buffer(mean)
        self.places = torch.nn.Buffer(torch.stack(torch.meshgrid(line, line, indexing="ij"))[None])
        self.encoder = torch.nn.Sequential(
            *(Conv2d(16 * depth + 2, wide, 3, padding=1), gelu),
            *(pad, Conv2d(wide, wide, 3, stride=2), gelu),
            *(pad, Conv2d(wide, wide, 3, stride=2), gelu, torch.nn.Flatten()),
            *(Linear((side // 16) ** 2 * wide, smooth.ENCODER_HIDDEN), gelu),
            Linear(smooth.ENCODER_HIDDEN, latent_dim),
        )
        self.frequencies = torch.nn.Parameter(torch.randn(latent_dim, smooth.NUM_FREQUENCIES))
        self.decoder = torch.nn.Sequential(
            *(Linear(latent_dim + 2 * smooth.NUM_FREQUENCIES, hidden), gelu),
            *(Linear(hidden, hidden), gelu),
            *(Linear(hidden, narrow * base**2), gelu, torch.nn.Unflatten(1, (narrow, base, base))),
            *(Conv2d(narrow, 4 * channels, 3, padding=1), shuffle, gelu),
            *(Conv2d(channels, 4 * depth, 3, padding=1), shuffle),
        )

    def forward(self, images: Tensor) -> Tensor:
        patches = functional.pixel_unshuffle(images - self.mean, 4)
        places = self.places.expand(len(images), -1, -1, -1)
        codes = self.encoder(torch.cat([patches, places], dim=1))
        waves = codes @ self.frequencies
        return self.mean + self.decoder(torch.cat([codes, waves.sin(), waves.cos()], dim=1))


class _Features(torch.nn.Module):
    """VGG16 as far as the perceptual term looks, frozen, in the precision and weights of ours."""

    def __init__(self, network: VGG16) -> None:
        super().__init__()
        self.relus, given = network.relus, network.preparation
        self.bgr, self.peak = given.bgr, given.peak
        self.mean = torch.nn.Buffer(torch.tensor(given.mean).reshape(1, 3, 1, 1))
        deviation = given.feature_scale * torch.tensor(given.deviation)
        self.deviation = torch.nn.Buffer(deviation.reshape(1, 3, 1, 1))
        self.dtype = torch.bfloat16 if network.dtype == jnp.bfloat16 else torch.float32
        self.layers = torch.nn.ModuleDict()
        for name in weights.up_to(self.relus):
            *_, inputs, outputs = weights.kernel_shape(name)
            layer = Conv2d(inputs, outputs, 3, padding=1)
            kernel = np.array(network.kernels[name][...]).transpose(3, 2, 0, 1)
            bias = np.array(network.biases[name][...])
            layer.load_state_dict({"weight": torch.tensor(kernel), "bias": torch.tensor(bias)})
            self.layers[name] = layer.to(self.dtype).requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        ordered = images.flip(1) if self.bgr else images
        maps = ((self.peak * ordered - self.mean) / self.deviation).to(self.dtype)
        found = {}
        for name, layer in self.layers.items():
            if name.endswith("conv1") and name != weights.CONVOLUTIONS[0]:
                maps = functional.max_pool2d(maps, 2)
            maps = torch.relu(layer(maps))
            if weights.relu(name) in self.relus:
                found[weights.relu(name)] = maps.float()
        return found
