"""What a call trains on: examples on the device, or a portion sent to it for each call.

A call takes examples, an order and the number of its first batch in that order. Where the whole set
fits the device it is put there once; where not, the host gathers the call's own examples, whose
order is then 0, 1, 2, ... Both give the same numbers.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from jaxsurf.training.examples import Examples
from jaxsurf.training.plan import Plan
from jaxsurf.training.sharding import Shardings
from jaxsurf.training.step import epoch_order

# Of a device's memory examples may take this share; model, activations and XLA take the rest.
EXAMPLES_SHARE = 0.5

Order = Int[Array, "*members slot"]
Portion = tuple[Examples, Order, Int[Array, ""]]
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
        room_bytes: what they may take on a device; None asks the device.
    """
    room = device_room_bytes() if room_bytes is None else room_bytes
    if examples.nbytes <= room:
        on_device = jax.device_put(examples, shardings.replicated)
        return lambda epoch, batch, num_steps: (on_device, order_of(epoch), jnp.int32(batch))

    def gathered(epoch: int, batch: int, num_steps: int) -> Portion:
        size = plan.batch_size
        slots = np.asarray(order_of(epoch))[batch * size : (batch + num_steps) * size]
        portion = jax.device_put(examples.take(slots), shardings.replicated)
        return portion, jnp.arange(len(slots)), jnp.int32(0)

    return gathered


def device_room_bytes() -> float:
    """Return how many bytes examples may take; on CPUs they are in the host's memory anyway."""
    stats = jax.devices()[0].memory_stats() or {}
    return EXAMPLES_SHARE * stats.get("bytes_limit", float("inf"))


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
            ordered = partial(epoch_order, epoch=jnp.int32(epoch), **size)
            latest[epoch] = jax.vmap(ordered)(order_key) if order_key.ndim else ordered(order_key)
        return latest[epoch]

    return order_of
