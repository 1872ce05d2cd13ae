"""Optimizers by name.

`adamw`: decoupled weight decay, linear warm-up, cosine decay to zero (Loshchilov & Hutter, 2019),
gradients clipped by their norm on request. `reference`: torch's Adam, whose weight decay is L2,
added to the gradient before the moments are taken, and whose learning rate falls tenfold every so
many epochs (torch's StepLR).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from jaxsurf.errors import UserError, check_choice, check_least

Optimizer = optax.GradientTransformation
# Settings that are numbers in `Rates`: runs that differ in these alone share a program.
NUMBERS = ("learning_rate", "weight_decay", "warmup_share", "step_epochs")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which optimizer, and how fast it learns.

    Attributes:
        name: `adamw` with warm-up and cosine decay, or `reference`: Adam with L2 and step decay.
        learning_rate: the highest; `adamw` decays it to zero over the run.
        weight_decay: `adamw`: decoupled, on kernels alone; `reference`: L2, on everything.
        b2: `adamw`: decay of the second moment; `reference` has torch's 0.999.
        warmup_share: `adamw`: the share of the run in which the learning rate rises from zero.
        clip_norm: `adamw`: gradients longer than this are shortened to it; 0 leaves them alone,
            which spares a pass over all weights, a tenth of a step on two cores.
        step_epochs: `reference`: the learning rate falls tenfold every so many epochs.
    """

    name: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    b2: float = 0.95
    warmup_share: float = 0.05
    clip_norm: float = 0.0
    step_epochs: int = 75

    def __post_init__(self) -> None:
        check_choice("optimizer.name", self.name, ("adamw", "reference"))
        for name in ("learning_rate", "weight_decay", "clip_norm"):
            check_least(f"optimizer.{name}", getattr(self, name), 0)
        if not self.learning_rate:
            raise UserError("optimizer.learning_rate is 0, but must be above 0")
        if not 0 < self.b2 < 1:
            raise UserError(f"optimizer.b2 is {self.b2}, but must be between 0 and 1")
        if not 0 <= self.warmup_share < 1 or self.step_epochs < 1:
            raise UserError("optimizer.warmup_share must be in [0, 1), and step_epochs at least 1")


class Rates(NamedTuple):
    """What an optimizer takes as numbers, so that one compiled program serves several."""

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    rise: Float[Array, ""]  # the step until which the learning rate rises
    fall: Float[Array, ""]  # the step by which it is zero; `reference`: steps to a tenth of it


def structure(config: OptimizerConfig) -> OptimizerConfig:
    """Return a configuration without `NUMBERS`: what is left makes another program."""
    kept = {name: value for name, value in vars(config).items() if name not in NUMBERS}
    return OptimizerConfig(**kept)


def make_rates(config: OptimizerConfig, *, num_epochs: int, steps_per_epoch: int) -> Rates:
    """Return the numbers of a configuration for a run of that length."""
    num_steps = num_epochs * steps_per_epoch
    if config.name == "reference":
        rise, fall = 0, config.step_epochs * steps_per_epoch
    else:
        rise = max(1, round(config.warmup_share * num_steps))
        fall = max(rise + 1, num_steps)
    return Rates(*map(jnp.float32, (config.learning_rate, config.weight_decay, rise, fall)))


@partial(jax.jit, static_argnums=0)
def learning_rate_at(name: str, rates: Rates, step: ArrayLike) -> Array:
    """Return the learning rate of a step, by the optimizer's name."""
    if name == "reference":
        share = jnp.power(0.1, jnp.floor(step / rates.fall))
    else:
        falling = jnp.clip((step - rates.rise) / (rates.fall - rates.rise), 0, 1)
        share = jnp.minimum(step / rates.rise, (1 + jnp.cos(jnp.pi * falling)) / 2)
    return rates.learning_rate * share


def make_optimizer(config: OptimizerConfig, rates: Rates) -> Optimizer:
    """Return the gradient transformation of that name; its state does not depend on `rates`."""
    learning_rate = partial(learning_rate_at, config.name, rates)
    if config.name == "reference":
        return optax.chain(
            optax.add_decayed_weights(rates.weight_decay),
            optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
            optax.scale_by_learning_rate(learning_rate),
        )
    # Neither biases nor the frequencies of Fourier features are decayed.
    kernels = partial(jax.tree.map_with_path, lambda path, _: "kernel" in str(path))
    adamw = optax.adamw(
        learning_rate, b2=config.b2, weight_decay=cast(Any, rates.weight_decay), mask=kernels
    )
    if not config.clip_norm:
        return adamw
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)
