"""Many rows through a function on the devices, a batch at a time.

A batch is split over the devices of this process. The last one is filled up with copies of its last
row, so that a jitted function is compiled once or a few times. At most two results lie on the
devices at any time.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PyTree, Shaped

from jaxsurf.images.storage import chunks

# Fewer rows are filled up to this: one program less is worth more than seven spare rows.
SMALLEST_BUCKET = 8


def mapped(
    run: Callable[..., PyTree[Array]],
    rows: Shaped[np.ndarray, "row *rest"],
    *,
    shared: Sequence[PyTree] = (),
    size: int,
    bucketed: bool = False,
) -> PyTree[np.ndarray]:
    """Return what a function gives for each row, on the host.

    Args:
        run: takes `shared`, then a batch; maps it to an array, or to a tuple of arrays, of as many
            rows. It should return before the devices are done, as jitted functions do.
        rows: at least one.
        shared: what all batches need, such as weights: whole on every device.
        size: rows that a device is given at once.
        bucketed: whether the last batch is filled up to the next power of two only, at least
            `SMALLEST_BUCKET` over all devices: less work, and a few programs more.
    """
    devices = jax.local_devices()
    mesh = jax.make_mesh((len(devices),), ("row",), axis_types=(AxisType.Auto,), devices=devices)
    # What lies whole on every device already is not copied.
    shared = jax.device_put(tuple(shared), NamedSharding(mesh, P()))
    least = -(-SMALLEST_BUCKET // mesh.size)
    whole, done, previous = None, 0, None

    def keep(launched: PyTree[Array]) -> None:
        """Write a batch to where it ends: parts, joined in the end, would take twice the memory."""
        nonlocal whole, done
        made = jax.device_get(launched)
        if whole is None:
            whole = jax.tree.map(lambda one: np.empty((len(rows), *one.shape[1:]), one.dtype), made)
        for array, one in zip(jax.tree.leaves(whole), jax.tree.leaves(made), strict=True):
            array[done : done + len(one)] = one[: len(rows) - done]
        done += len(one)

    for some in chunks(rows, rows=mesh.size * size):
        needed = -(-len(some) // mesh.size)
        each = min(size, max(least, 1 << (needed - 1).bit_length())) if bucketed else size
        padding = np.repeat(some[-1:], mesh.size * each - len(some), axis=0)
        filled = np.concatenate([some, padding]) if len(padding) else some
        launched = run(*shared, jax.device_put(filled, NamedSharding(mesh, P("row"))))
        # A batch late: at once it would idle the devices, in the end it would keep all on them.
        if previous is not None:
            keep(previous)
        previous = launched
    keep(previous)
    return whole
