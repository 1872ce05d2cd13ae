"""The training state, its randomness, and the compiled step, of one run or of many as one program.

All that an update depends on is an argument: the state, the hyperparameters (traced, so that runs
which differ in nothing else share a compiled program, or become one), the frozen network of the
perceptual term, the examples and their order. Randomness is a pure function of the seed: the noise
of an image comes from `fold_in(fold_in(key, step), slot)`, with its slot in the batch, so that any
part of a batch draws its own.

Runs that become one are stacked: the first axis of each array counts them. Every device works on
runs of its own, so nothing travels between devices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key, Shaped

from jaxsurf.images import pixels
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.training import corruption, objective
from jaxsurf.training.corruption import Noise
from jaxsurf.training.distributed import AXIS, Shardings, Tree
from jaxsurf.training.objective import Extract
from jaxsurf.training.optimizer import Optimizer, OptimizerConfig, Rates, make_optimizer

AnyArray = Array | np.ndarray  # on a device, or still on the host
Losses = dict[str, Float[Array, "*runs"]]
# What `make_steps` describes, compiled; or bound to a run's hyperparameters and extractor.
Step = Callable[..., tuple["TrainState", Losses]]

NUM_PROGRAMS = 8  # that a process keeps: runs of a sweep in turn share them
TARGET = "target"  # the loss that is the mean squared distance between codes and targets
# Pixels that a CPU is quick with at once, without perceptual features and with them: the
# activations of larger batches leave the caches, which costs up to half of a step's speed.
CPU_PIXELS, CPU_PIXELS_WITH_FEATURES = 64 * 64**2, 16 * 64**2


@no_type_check  # as of all pytrees: JAX puts shapes and marks in the places of arrays
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that an update changes, and the model's constants, as one pytree."""

    params: nnx.State
    constants: nnx.State
    opt_state: Any
    step: Int[Array, "*runs"]


class Hyperparameters(NamedTuple):
    """The numbers of a run that its compiled step takes as arguments.

    In the first half of `target_steps` the decoder sees targets; from there to the last one what it
    sees moves to the encoder's own codes, and the weight of targets falls to nothing.
    """

    rates: Rates
    noise: Noise
    weights: dict[str, Float[Array, "*runs"]]  # of the objective's terms
    noise_key: Key[Array, "*runs"]
    target_weight: Float[Array, "*runs"]  # of the squared distance between codes and targets
    target_steps: Float[Array, "*runs"]


class Examples(NamedTuple):
    """Images, features of them by layer where these are kept, target codes where there are any."""

    images: Shaped[AnyArray, "image height width channel"]
    features: Mapping[str, Float[AnyArray, "image height width feature"]] = {}
    targets: Float[AnyArray, "image latent"] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(values.nbytes for values in jax.tree.leaves(self))


class Streams(NamedTuple):
    """One named stream of randomness a purpose, all from one seed."""

    weights: Key[Array, ""]
    noise: Key[Array, ""]
    order: Key[Array, ""]


def make_streams(seed: int) -> Streams:
    """Return the streams of a seed."""
    return Streams(*jax.random.split(jax.random.key(seed), 3))


def init_state(model: Autoencoder, optimizer: Optimizer) -> TrainState:
    """Return the state before the first update."""
    _, params, constants = nnx.split(model, nnx.Param, ...)
    return TrainState(params, constants, optimizer.init(params), jnp.zeros((), jnp.int32))


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update with one batch, in two pure functions; equal updates are the same program."""

    graphdef: nnx.GraphDef[Autoencoder]
    optimizer: OptimizerConfig  # what `optimizer.structure` leaves of it
    layers: tuple[tuple[str, float], ...]  # of the perceptual term, with their weights
    precision: str = "float32"  # that the model computes in; what is trained stays float32

    def gradient(
        self,
        state: TrainState,
        hyper: Hyperparameters,
        extract: Extract | None,
        part: Examples,
        first_slot: Int[Array, ""],
    ) -> tuple[nnx.State, Losses]:
        """Return the gradient of the mean loss of a part of a batch from a slot on, and losses."""
        clean = pixels.to_float(part.images)
        key_of = partial(jax.random.fold_in, jax.random.fold_in(hyper.noise_key, state.step))
        keys = jax.vmap(key_of)(first_slot + jnp.arange(len(clean)))
        noisy = corruption.corrupt(keys, clean, hyper.noise)

        def loss_of(params: nnx.State) -> tuple[Float[Array, ""], Losses]:
            low = jax.tree.map(lambda values: values.astype(self.precision), params)
            model = nnx.merge(self.graphdef, low, state.constants)
            codes = model.encode(noisy)
            seen, own = codes, jnp.float32(1)
            if part.targets is not None:
                own = jnp.clip(2 * state.step / hyper.target_steps - 1, 0, 1)
                targets = jnp.asarray(part.targets)
                seen = targets + own * (codes - targets)
            values, terms = objective.total(
                model.decode(seen).astype(jnp.float32),
                clean,
                weights=hyper.weights,
                layers=dict(self.layers),
                extract=extract,
                features=part.features,
            )
            if part.targets is not None:
                terms[TARGET] = jnp.mean(jnp.square(codes - part.targets), axis=1)
                values += (1 - own) * hyper.target_weight * terms[TARGET]
            loss = jnp.mean(values)
            return loss, {"loss": loss, **jax.tree.map(jnp.mean, terms)}

        return jax.grad(loss_of, has_aux=True)(state.params)

    def apply(self, state: TrainState, hyper: Hyperparameters, gradient: nnx.State) -> TrainState:
        """Return the state after the optimizer's step along a gradient."""
        optimizer = make_optimizer(self.optimizer, hyper.rates)
        change, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(jnp.add, state.params, change)
        return TrainState(params, state.constants, opt_state, state.step + 1)


def batch_at(
    number: Int[Array, ""],
    first_slot: Int[Array, ""],
    examples: Examples,
    order: Int[Array, "slot"] | None,
    *,
    batch_size: int,
    size: int,
) -> Examples:
    """Return `size` examples of a batch from a slot on; without an order they are batches."""
    if order is None:
        return jax.tree.map(
            lambda values: jax.lax.dynamic_slice_in_dim(values[number], first_slot, size), examples
        )
    slots = jax.lax.dynamic_slice_in_dim(order, number * batch_size + first_slot, size)
    return jax.tree.map(lambda values: values[slots], examples)


def make_steps(
    update: Update, *, batch_size: int, shard: Callable[[Examples], Examples] = lambda batch: batch
) -> Step:
    """Return the pure function that does several updates; `shard` spreads a batch over devices.

    It returns the new state and the losses averaged over `num_steps`. Batches are those of an
    epoch's order from `first_batch` on; without an order the examples are the batches themselves,
    one for each step.
    """

    def steps(
        state: TrainState,
        hyper: Hyperparameters,
        extract: Extract | None,
        examples: Examples,
        order: Int[Array, "slot"] | None,
        first_batch: Int[Array, ""],
        *,
        num_steps: int,
    ) -> tuple[TrainState, Losses]:
        def one(state: TrainState, number: Int[Array, ""]) -> tuple[TrainState, Losses]:
            zero = jnp.int32(0)
            batch = batch_at(number, zero, examples, order, batch_size=batch_size, size=batch_size)
            gradient, losses = update.gradient(state, hyper, extract, shard(batch), zero)
            return update.apply(state, hyper, gradient), losses

        numbers = (0 if order is None else first_batch) + jnp.arange(num_steps)
        if num_steps == 1:  # on CPUs gradients of convolutions are slow in loops
            return one(state, numbers[0])
        state, losses = jax.lax.scan(one, state, numbers)
        return state, jax.tree.map(jnp.mean, losses)

    return steps


@lru_cache(maxsize=NUM_PROGRAMS)
def compile_step(
    update: Update, *, batch_size: int, shardings: Shardings, microbatch: int = 0
) -> Step:
    """Return `make_steps`' function, jitted: batches split over devices, the state donated.

    `microbatch` examples, a divisor of the batch, go through the model at once; 0 is all.
    """
    whole = shardings.replicated
    if microbatch in (0, batch_size):
        shard = partial(jax.lax.with_sharding_constraint, shardings=shardings.batch)
        steps = make_steps(update, batch_size=batch_size, shard=shard)
        return jax.jit(steps, static_argnames="num_steps", donate_argnums=0, out_shardings=whole)

    def gradient(state: TrainState, hyper: Hyperparameters, *rest: Any) -> tuple[Any, Losses]:  # noqa: ANN401
        extract, examples, order, number, first_slot = rest
        part = batch_at(number, first_slot, examples, order, batch_size=batch_size, size=microbatch)
        return update.gradient(state, hyper, extract, part, first_slot)

    @partial(jax.jit, out_shardings=whole)
    def zeros(*given: Any) -> tuple[Any, Losses]:  # noqa: ANN401
        shapes = jax.eval_shape(gradient, *given)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    @partial(jax.jit, donate_argnums=0, out_shardings=whole)
    def add(total: tuple[Any, Losses], *given: Any) -> tuple[Any, Losses]:  # noqa: ANN401
        share = microbatch / batch_size
        return jax.tree.map(lambda so_far, more: so_far + share * more, total, gradient(*given))

    apply = jax.jit(update.apply, donate_argnums=0, out_shardings=whole)

    def accumulated(state: TrainState, *given: Any, num_steps: int) -> tuple[TrainState, Losses]:  # noqa: ANN401
        # Python loops, since XLA's CPU backend is slow at convolutions in loops of its own.
        hyper, extract, examples, order, first_batch = given
        found = []
        for taken in range(num_steps):
            number = jnp.int32(taken) if order is None else first_batch + taken
            here = (state, hyper, extract, examples, order, number)
            total = zeros(*here, jnp.int32(0))
            for start in range(0, batch_size, microbatch):
                total = add(total, *here, jnp.int32(start))
            gradients, losses = total
            state = apply(state, hyper, gradients)
            found.append(losses)
        return state, jax.tree.map(lambda *values: sum(values) / num_steps, *found)

    return accumulated


def choose_microbatch(
    batch_size: int, *, image_pixels: int, with_features: bool, shardings: Shardings
) -> int:
    """Return the divisor of the batch that one CPU's caches hold; other devices take it whole."""
    devices = shardings.mesh.devices
    most = (CPU_PIXELS_WITH_FEATURES if with_features else CPU_PIXELS) // image_pixels
    if devices.size > 1 or devices.flat[0].platform != "cpu" or batch_size <= most:
        return batch_size
    # Less than a quarter of what caches hold gains nothing.
    sizes = range(max(1, most // 4), max(1, most) + 1)
    return max((size for size in sizes if batch_size % size == 0), default=batch_size)


def stack(trees: Sequence[Tree], shardings: Shardings) -> Tree:
    """Return trees as one, runs along the first axis, spread over the devices.

    The last run is repeated until every device has equally many.
    """
    filled = [*trees, *[trees[-1]] * (-len(trees) % shardings.mesh.size)]

    def stacked(*leaves: AnyArray) -> AnyArray:
        # What is on the host stays there: one device may not hold it all.
        return (np if isinstance(leaves[0], np.ndarray | np.generic) else jnp).stack(leaves)

    return jax.device_put(jax.tree.map(stacked, *filled), shardings.batch)


def unstack(tree: Tree, number: int) -> list[Tree]:
    """Return the first runs of a stack, on the host."""
    fetched = jax.device_get(tree)
    return [jax.tree.map(lambda leaf, n=n: leaf[n], fetched) for n in range(number)]


@lru_cache(maxsize=NUM_PROGRAMS)
def compile_stacked_step(update: Update, *, batch_size: int, shardings: Shardings) -> Step:
    """Return `make_steps`' function for stacks of states, hyperparameters and orders, jitted.

    What else it takes is the same for all runs; the states are donated, and the losses are stacked.
    """
    steps, own, whole = make_steps(update, batch_size=batch_size), P(AXIS), P()

    @partial(jax.jit, static_argnames="num_steps", donate_argnums=0)
    def stacked_steps(states: TrainState, *given: Any, num_steps: int) -> Any:  # noqa: ANN401
        each = partial(steps, num_steps=num_steps)

        def on_one_device(states: TrainState, hyper: Any, extract: Any, *fed: Any) -> Any:  # noqa: ANN401
            # Gradients written by hand vary with the runs, and so must what they belong to.
            extract = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), extract)
            together = jax.vmap(each, in_axes=(0, 0, None, None, 0, None))
            return together(states, hyper, extract, *fed)

        sharded = jax.shard_map(
            on_one_device,
            mesh=shardings.mesh,
            in_specs=(own, own, whole, whole, own, whole),
            out_specs=(own, own),
        )
        return sharded(states, *given)

    return stacked_steps
