"""Many runs as one program: their states stacked, their updates vmapped, spread over devices.

The first axis of a stack counts runs. Runs share shapes, terms of the objective, and images; they
differ in their hyperparameters, their weights and their data order. Every device works on runs of
its own, so nothing travels between devices.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsurf.training.step import (
    NUM_PROGRAMS,
    AnyArray,
    CompiledStep,
    TrainState,
    Update,
    make_steps,
)

Tree = TypeVar("Tree")
AXIS = "run"
STACKED, WHOLE = P(AXIS), P()


def make_mesh(num_runs: int, *, num_devices: int | None = None) -> Mesh:
    """Return a mesh over at most as many devices as there are runs, or `num_devices`."""
    devices = jax.devices()[:num_devices][:num_runs]
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def stack(trees: Sequence[Tree], mesh: Mesh) -> Tree:
    """Return trees as one, runs along the first axis, spread over the mesh.

    The last run is repeated until every device has equally many.
    """
    filled = [*trees, *[trees[-1]] * (-len(trees) % mesh.size)]

    def stacked(*leaves: AnyArray) -> AnyArray:
        # What is on the host stays there: one device may not hold it all.
        on_host = all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
        return np.stack(leaves) if on_host else jnp.stack(leaves)

    return jax.device_put(jax.tree.map(stacked, *filled), NamedSharding(mesh, STACKED))


def unstack(tree: Tree, number: int) -> list[Tree]:
    """Return the first runs of a stack, on the host."""
    fetched = jax.device_get(tree)
    return [jax.tree.map(lambda leaf, n=n: leaf[n], fetched) for n in range(number)]


@lru_cache(maxsize=NUM_PROGRAMS)
def compile_stacked_step(update: Update, *, batch_size: int, mesh: Mesh) -> CompiledStep:
    """Return `step.make_steps`' function for stacks of states, hyperparameters and orders.

    Extractor, examples and the number of the first batch are the same for all; the states are
    donated, and the losses are stacked.
    """
    steps = make_steps(update, batch_size=batch_size)

    def stacked_steps(states: TrainState, *rest: Any, num_steps: int) -> Any:  # noqa: ANN401
        together = jax.vmap(
            partial(steps, num_steps=num_steps), in_axes=(0, 0, None, None, 0, None)
        )

        def on_one(states: TrainState, hyper: Any, extract: Any, *fed: Any) -> Any:  # noqa: ANN401
            # Gradients written by hand vary with the runs, and so must what they belong to.
            own = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), extract)
            return together(states, hyper, own, *fed)

        spread = jax.shard_map(
            on_one,
            mesh=mesh,
            in_specs=(STACKED, STACKED, WHOLE, WHOLE, STACKED, WHOLE),
            out_specs=(STACKED, STACKED),
        )
        return spread(states, *rest)

    return jax.jit(stacked_steps, static_argnames="num_steps", donate_argnums=0)
