"""A training loop in PyTorch, as one writes it there, for the same run as ours.

The images lie on the device; every step takes the next ones of a shuffled epoch, spoils them, and
lets PyTorch's fused optimizer do an update. Losses are added up on the device: nothing waits for
them. Model and losses may go through `torch.compile`, and whole steps may be recorded once as a
CUDA graph and played again.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor

from jaxsurf.pipeline.benchmark.torch_models import FeatureTwin, make_twin
from jaxsurf.pipeline.setup import TrainSetup
from jaxsurf.training import corruption, features
from jaxsurf.training.corruption import CorruptionConfig
from jaxsurf.training.objective import ObjectiveConfig

Update = Callable[[Tensor], Tensor]
WARM_UP = 3  # updates before one is recorded: libraries choose and allocate meanwhile


class TorchTraining:
    """Goes on training for some steps each time it is called.

    Args:
        parts: of the run.
        num_steps: of a call.
        compiled: let `torch.compile` compile model and losses.
        recorded: play a CUDA graph of a step.

    Attributes:
        model: as it is trained.
    """

    def __init__(
        self, parts: TrainSetup, *, num_steps: int, compiled: bool = False, recorded: bool = False
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_float32_matmul_precision("high")  # as XLA does: full on CPUs, TF32 on GPUs
        torch.backends.cudnn.allow_tf32 = True
        self.num_steps = num_steps
        self.batch_size = parts.config.training.batch_size
        images = torch.from_numpy(parts.images.images.transpose(0, 3, 1, 2).copy())
        self.images = images.to(self.device)
        self.order = torch.empty(0, dtype=torch.int64, device=self.device)
        ours = parts.with_weights(parts.state)
        self.model = make_twin(ours).to(self.device)
        optimizer = _make_optimizer(self.model, parts, capturable=recorded)
        self.schedule = _make_schedule(optimizer, parts)
        update = _make_update(self.model, optimizer, parts, self.images, compiled=compiled)
        self.update = _recorded(update, self._next_batch()) if recorded else update

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


class _Losses(torch.nn.Module):
    """Errors of pixels, and of features where these are asked for."""

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        extractor = features.make_extractor(config)
        if extractor is not None:
            network = nnx.merge(extractor.graphdef, extractor.state)
            self.low = network.dtype == jnp.bfloat16
            self.features = FeatureTwin(network)

    def forward(self, outputs: Tensor, clean: Tensor) -> Tensor:
        """Return the weighted sum."""
        loss = self.config.mse * torch.nn.functional.mse_loss(outputs, clean)
        if not self.config.perceptual:
            return loss
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.low):
            with torch.no_grad():
                wanted = self.features(clean)
            found = self.features(outputs)
        for name, weight in self.config.layers.items():
            error = torch.nn.functional.mse_loss(found[name], wanted[name])
            loss = loss + self.config.perceptual * weight * error
        return loss


def _make_update(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    parts: TrainSetup,
    images: Tensor,
    *,
    compiled: bool,
) -> Update:
    """Return what does an update with the images of these numbers, and gives the loss."""
    config = parts.config
    losses = _Losses(config.objective).to(images.device)
    low = config.training.precision == "bfloat16"

    def loss_of(clean: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
            outputs = model(_corrupted(clean, config.corruption))
        return losses(outputs.float(), clean)

    loss_by = torch.compile(loss_of) if compiled else loss_of

    def update(numbers: Tensor) -> Tensor:
        loss = loss_by(images[numbers].float() / 255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return update


def _corrupted(clean: Tensor, config: CorruptionConfig) -> Tensor:
    if config.kind == "normal":
        return clean + config.strength / 2 * torch.randn_like(clean)
    if config.kind == "white":
        spoilt = torch.rand_like(clean) < config.strength
        return torch.where(spoilt, corruption.MIDDLE_GREY, clean)
    return clean


def _make_optimizer(
    model: torch.nn.Module, parts: TrainSetup, *, capturable: bool
) -> torch.optim.Optimizer:
    """Return the optimizer of that name; in a recorded step its rate has to be a tensor."""
    config = parts.config.optimizer
    on = next(model.parameters()).device
    rate: Any = torch.tensor(config.learning_rate, device=on) if capturable else None
    shared: dict[str, Any] = {
        "lr": config.learning_rate if rate is None else rate,
        "fused": True,
        "capturable": capturable,
    }
    if config.name == "reference":
        decay = config.weight_decay
        return torch.optim.Adam(model.parameters(), weight_decay=decay, **shared)
    named = list(model.named_parameters())
    kernels = [value for name, value in named if name.endswith("weight")]
    others = [value for name, value in named if not name.endswith("weight")]
    groups = [
        {"params": kernels, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, config.b2), **shared)


def _make_schedule(
    optimizer: torch.optim.Optimizer, parts: TrainSetup
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return what sets the rate after every step: our schedule, written down beforehand."""
    shares = np.asarray(jax.vmap(lambda at: parts.schedule(at))(jnp.arange(parts.plan.num_steps)))
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: float(shares[min(step, len(shares) - 1)])
    )


def _recorded(update: Update, numbers: Tensor) -> Update:
    """Return an update that plays a CUDA graph of it."""
    held = numbers.clone()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
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
