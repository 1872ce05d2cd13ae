"""The training state and the one jitted update.

Randomness and data order are pure functions of the seed: the noise of a step comes from
`fold_in(key, step)`, the order of the images in an epoch from `fold_in(key, epoch)` of a second
stream. A state plus the configuration is therefore all that a resumed run needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxsurf.images import pixels
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.training import corruption, objective
from jaxsurf.training.corruption import CorruptionConfig
from jaxsurf.training.objective import ObjectiveConfig
from jaxsurf.training.optimizer import Optimizer
from jaxsurf.training.sharding import Shardings

Losses = dict[str, Float[Array, ""]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that an update changes, as one pytree.

    Attributes:
        params: the trained weights.
        constants: the model's arrays that are not trained.
        moments: the optimizer's state.
        step: number of updates done.
    """

    params: nnx.State
    constants: nnx.State
    moments: Any
    step: Int[Array, ""]


@dataclass(frozen=True)
class Streams:
    """One named stream of randomness a purpose, all from one seed."""

    weights: Key[Array, ""]
    noise: Key[Array, ""]
    order: Key[Array, ""]


def make_streams(seed: int) -> Streams:
    """Return the streams of a seed."""
    return Streams(*jax.random.split(jax.random.key(seed), 3))


@partial(jax.jit, static_argnames=("num_images", "num_slots"))
def epoch_order(
    key: Key[Array, ""], epoch: Int[Array, ""], *, num_images: int, num_slots: int
) -> Int[Array, "slot"]:
    """Return the image numbers of an epoch in order.

    Every image comes once; if the batches have more slots than there are images, the last batch is
    filled up with the first images of the same order.
    """
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_images)
    return jnp.resize(order, (num_slots,))


def split_model(model: Autoencoder) -> tuple[nnx.GraphDef[Autoencoder], nnx.State, nnx.State]:
    """Return a model's structure, its trained weights and its constants."""
    graphdef, params, constants = nnx.split(model, nnx.Param, ...)
    return graphdef, params, constants


def init_state(model: Autoencoder, optimizer: Optimizer) -> TrainState:
    """Return the state before the first update."""
    _, params, constants = split_model(model)
    return TrainState(params, constants, optimizer.init(params), jnp.zeros((), jnp.int32))


def make_update(
    graphdef: nnx.GraphDef[Autoencoder],
    optimizer: Optimizer,
    *,
    corruption_config: CorruptionConfig,
    objective_config: ObjectiveConfig,
    noise_key: Key[Array, ""],
) -> Callable[[TrainState, UInt8[Array, "batch height width channel"]], tuple[TrainState, Losses]]:
    """Return the pure function that does one update with one batch."""

    def loss_of(
        params: nnx.State, constants: nnx.State, noisy: Array, clean: Array
    ) -> tuple[Float[Array, ""], Losses]:
        model = nnx.merge(graphdef, params, constants)
        values, terms = objective.total(model(noisy), clean, config=objective_config)
        loss = jnp.mean(values)
        return loss, {"loss": loss, **jax.tree.map(jnp.mean, terms)}

    def update(state: TrainState, batch: Array) -> tuple[TrainState, Losses]:
        clean = pixels.to_float(batch)
        key = jax.random.fold_in(noise_key, state.step)
        noisy = corruption.corrupt(key, clean, config=corruption_config)
        gradient, losses = jax.grad(loss_of, has_aux=True)(
            state.params, state.constants, noisy, clean
        )
        change, moments = optimizer.update(gradient, state.moments, state.params)
        params = jax.tree.map(jnp.add, state.params, change)
        return TrainState(params, state.constants, moments, state.step + 1), losses

    return update


def make_advance(
    update: Callable[[TrainState, Array], tuple[TrainState, Losses]],
    *,
    batch_size: int,
    shardings: Shardings,
) -> Callable[..., tuple[TrainState, Losses]]:
    """Return the jitted function that does several updates in one call.

    It takes the state (donated), all images on the device, an epoch's order, the number of the
    first batch within that epoch, and the static `num_steps`; it returns the new state and the
    losses averaged over those steps.
    """

    def one(state: TrainState, images: Array, order: Array, batch: Array) -> tuple:
        numbers = jax.lax.dynamic_slice_in_dim(order, batch * batch_size, batch_size)
        chosen = jax.lax.with_sharding_constraint(images[numbers], shardings.batch)
        return update(state, chosen)

    def advance(
        state: TrainState, images: Array, order: Array, first: Array, *, num_steps: int
    ) -> tuple[TrainState, Losses]:
        if num_steps == 1:  # a convolution inside lax.scan is about twice as slow on CPUs
            return one(state, images, order, first)
        state, losses = jax.lax.scan(
            lambda carry, batch: one(carry, images, order, batch),
            state,
            first + jnp.arange(num_steps),
        )
        return state, jax.tree.map(jnp.mean, losses)

    whole = shardings.replicated
    return jax.jit(
        advance, static_argnames="num_steps", donate_argnums=0, out_shardings=(whole, whole)
    )
