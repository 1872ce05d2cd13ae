"""Many runs as one program: their states stacked, their updates vmapped, spread over devices.

The first axis of a stack counts members. Members share shapes, terms of the objective, and images;
they differ in what `step.Member` holds, in their weights and in their data order. Every device
works on members of its own, so nothing travels between devices.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsurf.training import step
from jaxsurf.training.examples import AnyArray
from jaxsurf.training.losses import Diverged, LossLog, Pending
from jaxsurf.training.objective import Extract
from jaxsurf.training.step import Advance, Losses, Member, TrainState, Update

Tree = TypeVar("Tree")
AXIS = "member"
STACKED, WHOLE = P(AXIS), P()


def make_mesh(num_members: int, *, num_devices: int | None = None) -> Mesh:
    """Return a mesh over at most as many devices as there are members.

    Args:
        num_members: of the group.
        num_devices: use at most so many; None means all there are.
    """
    devices = jax.devices()[:num_devices][:num_members]
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def stack(trees: Sequence[Tree], mesh: Mesh) -> Tree:
    """Return trees as one, members along the first axis, spread over the mesh.

    The last member is repeated until every device has equally many.
    """
    missing = -len(trees) % mesh.size
    filled = [*trees, *[trees[-1]] * missing]
    return jax.device_put(jax.tree.map(_stacked, *filled), NamedSharding(mesh, STACKED))


def _stacked(*leaves: AnyArray) -> AnyArray:
    """Return leaves as one; what is on the host stays there: one device may not hold it all."""
    on_host = all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
    return np.stack(leaves) if on_host else jnp.stack(leaves)


def unstack(tree: Tree, number: int) -> list[Tree]:
    """Return the first members of a stack, on the host."""
    fetched = jax.device_get(tree)
    return [jax.tree.map(lambda leaf, n=n: leaf[n], fetched) for n in range(number)]


def make_advance(update: Update, *, batch_size: int, mesh: Mesh) -> Advance:
    """Return `step.make_steps`' function for stacks of states, members and orders.

    Extractor, examples and the number of the first batch are the same for all; the states are
    donated, and the losses are stacked.
    """
    steps = step.make_steps(update, batch_size=batch_size)

    def advance(states: TrainState, *rest: Any, num_steps: int) -> tuple[TrainState, Losses]:  # noqa: ANN401
        together = jax.vmap(
            partial(steps, num_steps=num_steps), in_axes=(0, 0, None, None, 0, None)
        )

        def on_one(
            states: TrainState, members: Member, extract: Extract | None, *portion: object
        ) -> tuple[TrainState, Losses]:
            # Gradients written by hand vary with the members, and so must what they belong to.
            own = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), extract)
            return together(states, members, own, *portion)

        spread = jax.shard_map(
            on_one,
            mesh=mesh,
            in_specs=(STACKED, STACKED, WHOLE, WHOLE, STACKED, WHOLE),
            out_specs=(STACKED, STACKED),
        )
        return spread(states, *rest)

    return jax.jit(advance, static_argnames="num_steps", donate_argnums=0)


class GroupLog:
    """Writes each member's losses down; one that diverges is left behind, the others go on.

    It stands where a single run has its `LossLog`.

    Args:
        logs: one a member.
        terms: names of each member's losses; the program may compute more, for others.
        failed: what members had failed of when the group was saved, by number.
    """

    def __init__(
        self,
        logs: Sequence[LossLog],
        *,
        terms: Sequence[Collection[str]],
        failed: dict[int, str],
    ) -> None:
        self.logs = logs
        self.terms = terms
        self.failed = failed

    @property
    def elapsed_s(self) -> float:
        """Seconds that the group has taken, those before a resume included."""
        return self.logs[0].elapsed_s

    @property
    def latest(self) -> dict[str, float]:
        """The losses of the first member that goes on."""
        alive = [log for number, log in enumerate(self.logs) if number not in self.failed]
        return alive[0].latest if alive else {}

    def __call__(self, at: int, states: TrainState, losses: Losses) -> None:
        """Take one call's losses.

        Raises:
            Diverged: no member is left.
        """
        for number, log in enumerate(self.logs):
            mine = {name: losses[name][number] for name in self.terms[number]}
            self._guarded(number, partial(log, at, states, mine))
        if len(self.failed) == len(self.logs):
            raise Diverged(f"all {len(self.logs)} members diverged")

    def flush(self) -> list[Pending | str]:
        """Return the losses of each member's open interval, or what it has failed of."""
        open_ones = [self._guarded(number, log.flush) for number, log in enumerate(self.logs)]
        return [self.failed.get(number, pending) for number, pending in enumerate(open_ones)]

    def _guarded(self, number: int, do: Callable[[], Pending | None]) -> Pending:
        if number in self.failed:
            return []
        try:
            return do() or []
        except Diverged as error:
            self.failed[number] = str(error)
            return []
