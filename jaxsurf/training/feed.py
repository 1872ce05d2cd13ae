"""What a call trains on: examples on the device, or a portion sent to it for each call.

A call takes examples, an order and the number of its first batch in that order. Where the whole set
fits the device it is put there once; where not, the host gathers the call's own batches, and there
is no order: a process gathers the examples of its own devices alone. Both give the same numbers.
While the devices work on one portion, the host gathers and sends the next. Nothing is sent to them
but in so many words, so that a transfer guard can prove that nothing else is.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from typing import cast

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from jaxsurf import mapped
from jaxsurf.training import hosts, sharding
from jaxsurf.training.examples import AnyArray, Examples
from jaxsurf.training.plan import Plan
from jaxsurf.training.seeding import epoch_order
from jaxsurf.training.sharding import Shardings

# Of a device's memory examples may take this share; model, activations and XLA take the rest.
EXAMPLES_SHARE = 0.5

Order = Int[Array, "*members slot"]
Portion = tuple[Examples, Order | None, Int[Array, ""]]
Call = tuple[int, int, int]
Feed = Callable[[int, int, int], Portion]
OrderOf = Callable[[int], Order]


def make_feed(
    examples: Examples,
    *,
    order_of: OrderOf,
    plan: Plan,
    shardings: Shardings,
    room_bytes: float | None = None,
) -> Feed:
    """Return what gives the examples, the order and the first batch of a call.

    It is called with epoch, first batch within the epoch, and number of steps.

    Args:
        examples: the whole set, on the host.
        order_of: gives the data order of an epoch (`make_orders`).
        plan: of the run.
        shardings: where the examples go: whole, on every device.
        room_bytes: what they may take on a device; None means `room_for` them.
    """
    room = room_for(examples) if room_bytes is None else room_bytes

    def number(value: int) -> Int[Array, ""]:
        return cast(Array, sharding.put(np.asarray(value, np.int32), shardings.replicated))

    if examples.nbytes <= room:
        on_device = sharding.put(examples, shardings.replicated)

        @lru_cache(maxsize=1)
        def placed(epoch: int) -> Order:
            return sharding.put(order_of(epoch), shardings.replicated)

        return lambda epoch, batch, num_steps: (on_device, placed(epoch), number(batch))

    def gathered(epoch: int, batch: int, num_steps: int) -> Portion:
        slots = np.asarray(order_of(epoch)).reshape(-1, plan.batch_size)[batch : batch + num_steps]

        def gather(values: AnyArray) -> Array:
            return sharding.assemble(
                (*slots.shape, *values.shape[1:]),
                shardings.batches,
                lambda index: mapped.take(np.asanyarray(values), slots[index[:2]]),
            )

        return jax.tree.map(gather, examples), None, number(0)

    return Ahead(gathered, plan)


class Ahead:
    """A feed that makes the portion of the call after this one in a thread of its own.

    Args:
        gather: makes a portion.
        plan: tells which call comes next.
    """

    def __init__(self, gather: Feed, plan: Plan) -> None:
        self.gather = gather
        self.plan = plan
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._next: tuple[Call, Future[Portion]] | None = None

    def __call__(self, epoch: int, batch: int, num_steps: int) -> Portion:
        """Return the portion of a call, and begin with the next."""
        call = (epoch, batch, num_steps)
        # Always by that thread: `gather` need not be able to run twice at once.
        made = self._next[1] if self._next and self._next[0] == call else self._begin(call)
        portion = made.result()
        step = epoch * self.plan.steps_per_epoch + batch + num_steps
        self._next = None
        if step < self.plan.num_steps:
            following = self.plan.call_at(step)
            self._next = following, self._begin(following)
        return portion

    def _begin(self, call: Call) -> Future[Portion]:
        return self._thread.submit(self.gather, *call)


def room_for(examples: Examples) -> float:
    """Return how many bytes examples may take; what is mapped is not loaded for CPUs.

    It is the same in all processes, which have to do the same.
    """
    streamed = examples.is_mapped and jax.default_backend() == "cpu"
    return min(device_room_bytes(), hosts.least(0.0 if streamed else float("inf")))


def device_room_bytes() -> float:
    """Return how many bytes examples may take; on CPUs they are in the host's memory anyway.

    It is the same in all processes, which have to do the same.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    return hosts.least(EXAMPLES_SHARE * stats.get("bytes_limit", float("inf")))


def make_orders(order_key: Key[Array, "*members"], plan: Plan) -> OrderOf:
    """Return what gives an epoch's order, computed once an epoch.

    Args:
        order_key: stream of the data order, or one for each of several members, which then have
            an order each.
        plan: of the run.
    """
    latest: dict[int, Array] = {}
    size = {"num_images": plan.num_images, "num_slots": plan.steps_per_epoch * plan.batch_size}

    def order_of(epoch: int) -> Order:
        if epoch not in latest:
            latest.clear()
            ordered = partial(epoch_order, epoch=jax.device_put(np.int32(epoch)), **size)
            latest[epoch] = jax.vmap(ordered)(order_key) if order_key.ndim else ordered(order_key)
        return latest[epoch]

    return order_of
