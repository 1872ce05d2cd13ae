"""What a call trains on: images that live on the device, or a portion sent to it for each call.

A call takes images, an order and the number of its first batch in that order. Where the whole set
fits the device it is put there once; where not, the host gathers the call's own images, whose order
is then 0, 1, 2, ... Both give the same numbers.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from jaxsurf.training.loop import Plan
from jaxsurf.training.sharding import Shardings
from jaxsurf.training.step import epoch_order

# Of a device's memory the images may take this share; model, activations and XLA take the rest.
IMAGES_SHARE = 0.5

Order = Int[Array, "slot"]
Portion = tuple[UInt8[Array, "image height width channel"], Order, int]
Feed = Callable[[int, int, int], Portion]


def make_feed(
    images: UInt8[np.ndarray, "image height width channel"],
    *,
    order_key: Key[Array, ""],
    plan: Plan,
    shardings: Shardings,
    room_bytes: int | None = None,
) -> Feed:
    """Return what gives the images, the order and the first batch of a call.

    It is called with epoch, first batch within the epoch, and number of steps.

    Args:
        images: the whole set, on the host.
        order_key: stream of the data order.
        plan: of the run.
        shardings: where the images go: whole, on every device.
        room_bytes: what the images may take on a device; None asks the device.
    """
    room = _room_bytes() if room_bytes is None else room_bytes
    order_of = _last_order(order_key, plan)
    if images.nbytes <= room:
        on_device = jax.device_put(images, shardings.replicated)
        return lambda epoch, batch, num_steps: (on_device, order_of(epoch), batch)

    def gathered(epoch: int, batch: int, num_steps: int) -> Portion:
        size = plan.batch_size
        slots = np.asarray(order_of(epoch))[batch * size : (batch + num_steps) * size]
        portion = jax.device_put(images[slots], shardings.replicated)
        return portion, jnp.arange(len(slots)), 0

    return gathered


def _room_bytes() -> float:
    """Return how many bytes images may take; on CPUs they are in the host's memory anyway."""
    stats = jax.devices()[0].memory_stats() or {}
    return IMAGES_SHARE * stats.get("bytes_limit", float("inf"))


def _last_order(order_key: Key[Array, ""], plan: Plan) -> Callable[[int], Order]:
    """Return what gives an epoch's order, computed once an epoch."""
    latest: dict[int, Array] = {}

    def order_of(epoch: int) -> Order:
        if epoch not in latest:
            latest.clear()
            latest[epoch] = epoch_order(
                order_key,
                jnp.int32(epoch),
                num_images=plan.num_images,
                num_slots=plan.steps_per_epoch * plan.batch_size,
            )
        return latest[epoch]

    return order_of
