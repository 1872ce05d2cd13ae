"""The training state and the one jitted update.

Randomness and data order are pure functions of the seed (`seeding`), so that a state plus the
configuration is all that a resumed run needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from jaxsurf.images import pixels
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.training import corruption, objective, seeding
from jaxsurf.training.corruption import Noise
from jaxsurf.training.examples import Examples
from jaxsurf.training.objective import Extract
from jaxsurf.training.optimizer import Optimizer, Rates
from jaxsurf.training.sharding import Shardings

Losses = dict[str, Float[Array, ""]]
# What `make_steps` describes, compiled.
Advance = Callable[..., tuple["TrainState", Losses]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that an update changes, as one pytree.

    Attributes:
        params: the trained weights.
        constants: the model's arrays that are not trained.
        opt_state: the optimizer's state.
        step: number of updates done.
    """

    params: nnx.State
    constants: nnx.State
    opt_state: Any
    step: Int[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Member:
    """What one run has of its own, as numbers: runs that differ in nothing else share a program.

    Attributes:
        rates: of the optimizer.
        noise: of the corruption.
        weights: of the objective's terms.
        noise_key: stream of the noise.
    """

    rates: Rates
    noise: Noise
    weights: dict[str, Float[Array, ""]]
    noise_key: Key[Array, ""]


def split_model(model: Autoencoder) -> tuple[nnx.GraphDef[Autoencoder], nnx.State, nnx.State]:
    """Return a model's structure, its trained weights and its constants."""
    graphdef, params, constants = nnx.split(model, nnx.Param, ...)
    return graphdef, params, constants


def init_state(model: Autoencoder, optimizer: Optimizer) -> TrainState:
    """Return the state before the first update."""
    _, params, constants = split_model(model)
    return TrainState(params, constants, optimizer.init(params), jnp.zeros((), jnp.int32))


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update with one batch, and the parts that it is made of; all are pure functions.

    Attributes:
        graphdef: the model's structure.
        make_optimizer: gives the optimizer of some rates.
        layers: of the perceptual term, with their weights.
        precision: of the weights that the model is given; those that are trained stay float32.
    """

    graphdef: nnx.GraphDef[Autoencoder]
    make_optimizer: Callable[[Rates], Optimizer]
    layers: Mapping[str, float]
    precision: str = "float32"

    def __call__(
        self, state: TrainState, member: Member, extract: Extract | None, batch: Examples
    ) -> tuple[TrainState, Losses]:
        """Return the next state, and the losses.

        Args:
            state: the state.
            member: whose update it is.
            extract: gives perceptual features; None without that term.
            batch: of the step.
        """
        gradient, losses = self.gradient(state, member, extract, batch, jnp.int32(0))
        return self.apply(state, member, gradient), losses

    def gradient(
        self,
        state: TrainState,
        member: Member,
        extract: Extract | None,
        part: Examples,
        first: Int[Array, ""],
    ) -> tuple[nnx.State, Losses]:
        """Return the gradient of the mean loss of a part of a batch, and the losses.

        Args:
            state: the state.
            member: whose update it is.
            extract: gives perceptual features; None without that term.
            part: of the step's batch.
            first: slot of its first example in the batch, for its noise.
        """
        clean = pixels.to_float(part.images)
        keys = seeding.noise_keys(member.noise_key, state.step, first + jnp.arange(len(clean)))
        noisy = corruption.corrupt(keys, clean, member.noise)

        def loss_of(params: nnx.State) -> tuple[Float[Array, ""], Losses]:
            low = jax.tree.map(lambda values: values.astype(self.precision), params)
            model = nnx.merge(self.graphdef, low, state.constants)
            values, terms = objective.total(
                model(noisy).astype(jnp.float32),
                clean,
                weights=member.weights,
                layers=self.layers,
                extract=extract,
                features=part.features,
            )
            loss = jnp.mean(values)
            return loss, {"loss": loss, **jax.tree.map(jnp.mean, terms)}

        return jax.grad(loss_of, has_aux=True)(state.params)

    def apply(self, state: TrainState, member: Member, gradient: nnx.State) -> TrainState:
        """Return the state after the optimizer's step along a gradient."""
        optimizer = self.make_optimizer(member.rates)
        change, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(jnp.add, state.params, change)
        return TrainState(params, state.constants, opt_state, state.step + 1)


def part_at(
    place: Int[Array, ""],
    first: Int[Array, ""],
    examples: Examples,
    order: Int[Array, "slot"] | None,
    *,
    batch_size: int,
    size: int,
) -> Examples:
    """Return a part of the batch of that number in an epoch's order, or of the given batches.

    Args:
        place: number of the batch.
        first: slot in the batch at which the part begins.
        examples: all of them, or without an order the batches themselves.
        order: of the epoch.
        batch_size: examples a batch.
        size: examples of the part.
    """
    if order is None:
        return jax.tree.map(
            lambda values: jax.lax.dynamic_slice_in_dim(values[place], first, size), examples
        )
    slots = jax.lax.dynamic_slice_in_dim(order, place * batch_size + first, size)
    return examples.take(slots)


def make_steps(
    update: Update, *, batch_size: int, place: Callable[[Examples], Examples] = lambda batch: batch
) -> Advance:
    """Return the pure function that does several updates.

    It takes the state, the member, the extractor, all examples on the device, an epoch's order, the
    number of the first batch within that epoch, and `num_steps`; it returns the new state and the
    losses averaged over those steps. Without an order the examples are the batches themselves, one
    for each step.

    Args:
        update: of a step.
        batch_size: examples a step.
        place: says where a batch lives.
    """

    def steps(
        state: TrainState,
        member: Member,
        extract: Extract | None,
        examples: Examples,
        order: Int[Array, "slot"] | None,
        first: Int[Array, ""],
        *,
        num_steps: int,
    ) -> tuple[TrainState, Losses]:
        def one(state: TrainState, number: Int[Array, ""]) -> tuple[TrainState, Losses]:
            batch = part_at(
                number, jnp.int32(0), examples, order, batch_size=batch_size, size=batch_size
            )
            return update(state, member, extract, place(batch))

        numbers = (0 if order is None else first) + jnp.arange(num_steps)
        if num_steps == 1:  # on CPUs gradients of convolutions are slow in loops
            return one(state, numbers[0])
        state, losses = jax.lax.scan(one, state, numbers)
        return state, jax.tree.map(jnp.mean, losses)

    return steps


def make_advance(update: Update, *, batch_size: int, shardings: Shardings) -> Advance:
    """Return `make_steps`' function, jitted: batches split over devices, the state donated."""
    steps = make_steps(
        update,
        batch_size=batch_size,
        place=lambda batch: jax.lax.with_sharding_constraint(batch, shardings.batch),
    )
    whole = shardings.replicated
    return jax.jit(
        steps, static_argnames="num_steps", donate_argnums=0, out_shardings=(whole, whole)
    )
