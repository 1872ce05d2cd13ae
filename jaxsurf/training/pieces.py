"""Steps whose batch goes through the model a piece at a time: what large batches need on a CPU.

There the activations of a large batch leave the caches, which costs up to half of a step's speed,
and take gigabytes (BUILD_NOTES.md). The gradients of the pieces are added up, and the optimizer is
asked once a step. XLA's loops would be far slower still (`plan.CALL_STEPS`), so it is Python that
goes through the pieces.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxsurf.training import step
from jaxsurf.training.examples import Examples
from jaxsurf.training.objective import Extract
from jaxsurf.training.sharding import Shardings
from jaxsurf.training.step import Losses, Member, TrainState, Update

# Pixels that a CPU is quick with at once, without perceptual features and with them.
PLAIN, WITH_FEATURES = 64 * 64**2, 16 * 64**2
# Pieces below this share of them gain nothing.
_LEAST = 1 / 4


def suiting(batch_size: int, *, pixels: int, with_features: bool, shardings: Shardings) -> int:
    """Return the number of images that go through the model at once.

    Args:
        batch_size: images a step; pieces are equal parts of it, or all of it.
        pixels: of an image.
        with_features: whether the objective has a perceptual term.
        shardings: where training happens.
    """
    devices = shardings.mesh.devices
    if devices.size > 1 or devices.flat[0].platform != "cpu":
        return batch_size
    most = max(1, (WITH_FEATURES if with_features else PLAIN) // pixels)
    fitting = [n for n in range(max(1, int(most * _LEAST)), most + 1) if batch_size % n == 0]
    return batch_size if batch_size <= most or not fitting else fitting[-1]


class Pieces:
    """Does the same as the function of `step.make_advance`, up to rounding."""

    def __init__(
        self, update: Update, *, batch_size: int, piece: int, shardings: Shardings
    ) -> None:
        """Prepare to go on with training.

        Args:
            update: of a step.
            batch_size: images a step.
            piece: images at once; divides the batch.
            shardings: of one device.
        """
        self._update, self._batch_size, self._piece = update, batch_size, piece
        whole = shardings.replicated
        self._zeros = jax.jit(self._nothing, out_shardings=whole)
        self._add = jax.jit(self._added, donate_argnums=0, out_shardings=whole)
        self._apply = jax.jit(update.apply, donate_argnums=0, out_shardings=whole)

    def __call__(
        self,
        state: TrainState,
        member: Member,
        extract: Extract | None,
        examples: Examples,
        order: Int[Array, "slot"] | None,
        first: Int[Array, ""],
        *,
        num_steps: int,
    ) -> tuple[TrainState, Losses]:
        """See `step.make_steps`; the state is donated."""
        found = []
        for at in range(num_steps):
            place = jnp.int32(at) if order is None else first + at
            shared = (state, member, extract, examples, order, place)
            total = self._zeros(*shared)
            for start in range(0, self._batch_size, self._piece):
                total = self._add(total, *shared, jnp.int32(start))
            gradient, losses = total
            state = self._apply(state, member, gradient)
            found.append(losses)
        return state, jax.tree.map(lambda *values: sum(values) / num_steps, *found)

    def _found(
        self,
        state: TrainState,
        member: Member,
        extract: Extract | None,
        examples: Examples,
        order: Int[Array, "slot"] | None,
        place: Int[Array, ""],
        start: Int[Array, ""],
    ) -> tuple[Any, Losses]:
        """Return gradient and losses of a piece."""
        sizes = {"batch_size": self._batch_size, "size": self._piece}
        part = step.part_at(place, start, examples, order, **sizes)
        return self._update.gradient(state, member, extract, part, start)

    def _nothing(self, *shared: Any) -> tuple[Any, Losses]:  # noqa: ANN401
        """Return zeros to which gradients and losses are added."""
        shapes = jax.eval_shape(self._found, *shared, jnp.int32(0))
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def _added(self, total: tuple[Any, Losses], *given: Any) -> tuple[Any, Losses]:  # noqa: ANN401
        """Return the sums with a piece's share of the mean."""
        share = self._piece / self._batch_size
        return jax.tree.map(lambda so_far, more: so_far + share * more, total, self._found(*given))
