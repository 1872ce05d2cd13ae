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
    results, previous = [], None
    for some in chunks(rows, rows=mesh.size * size):
        needed = -(-len(some) // mesh.size)
        each = min(size, max(least, 1 << (needed - 1).bit_length())) if bucketed else size
        padding = np.repeat(some[-1:], mesh.size * each - len(some), axis=0)
        filled = np.concatenate([some, padding]) if len(padding) else some
        launched = run(*shared, jax.device_put(filled, NamedSharding(mesh, P("row"))))
        # A batch late: at once it would idle the devices, in the end it would keep all on them.
        if previous is not None:
            results.append(jax.device_get(previous))
        previous = launched
    results.append(jax.device_get(previous))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(rows)], *results)
