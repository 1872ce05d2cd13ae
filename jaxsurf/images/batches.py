"""Many rows through a function on the devices, a batch at a time.

A row is whatever the first axis counts: an image, a latent code. A batch is split over the devices
of this process. The last batch is filled up with copies of its last row, so that a jitted function
is compiled once or a few times, whatever the number of rows. At most two results lie on the devices
at any time, whatever their number.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PyTree, Shaped

from jaxsurf.mapped import portions

# Fewer rows are filled up to this: one program less is worth more than seven spare rows.
SMALLEST_BUCKET = 8

Rows = Shaped[np.ndarray, "row *rest"]


def mapped(
    run: Callable[..., PyTree[Array]],
    rows: Rows,
    *,
    shared: Sequence[PyTree] = (),
    size: int,
    bucketed: bool = False,
) -> PyTree[np.ndarray]:
    """Return what a function gives for each row, on the host.

    Args:
        run: takes `shared`, then a batch; maps it to an array, or to a tuple of arrays, with one
            row for each of its own. It should return before the devices are done, as jitted
            functions do.
        rows: at least one.
        shared: what all batches need, such as weights: whole on every device.
        size: rows that a device is given at once.
        bucketed: whether the last batch is filled up to the next power of two only (at least
            `SMALLEST_BUCKET` over all devices, at most `size` on each), which is less work and a
            few programs more.

    Returns:
        As `run` does, as numpy arrays with one row for each of `rows`, in their order.

    Raises:
        ValueError: there is no row, or `size` is not positive.
    """
    if not len(rows) or size < 1:
        raise ValueError(f"{len(rows)} rows in batches of {size}: both must be at least 1")
    devices = jax.local_devices()
    mesh = jax.make_mesh((len(devices),), ("row",), axis_types=(AxisType.Auto,), devices=devices)
    shared = _everywhere(tuple(shared), mesh)

    def launch(some: Rows) -> PyTree[Array]:
        each = -(-len(some) // mesh.size)
        filled = _filled(some, mesh.size * (_bucket(each, size, mesh.size) if bucketed else size))
        return run(*shared, jax.device_put(filled, NamedSharding(mesh, P("row"))))

    step = mesh.size * size
    launched = (launch(some) for some in portions(rows, rows=step))
    return jax.tree.map(
        lambda *results: np.concatenate(results)[: len(rows)], *_fetched_one_late(launched)
    )


def _everywhere(shared: PyTree, mesh: Mesh) -> PyTree[Array]:
    """Return what lies whole on every device of a mesh; what does already stays as it is."""
    devices = set(mesh.devices.flat)

    def lies_there(leaf: object) -> bool:
        return (
            isinstance(leaf, jax.Array)
            and leaf.is_fully_replicated
            and leaf.sharding.device_set == devices
        )

    leaves, tree = jax.tree.flatten(shared)
    where = NamedSharding(mesh, P())
    return tree.unflatten(
        [leaf if lies_there(leaf) else jax.device_put(leaf, where) for leaf in leaves]
    )


def _bucket(number: int, largest: int, num_devices: int) -> int:
    """Return the power of two that a device's rows are filled up to, at most `largest`."""
    least = -(-SMALLEST_BUCKET // num_devices)
    return min(largest, max(least, 1 << (number - 1).bit_length()))


def _filled(rows: Rows, size: int) -> Rows:
    """Return rows with the last one repeated until there are `size`."""
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


def _fetched_one_late(results: Iterator[PyTree[Array]]) -> Iterator[PyTree[np.ndarray]]:
    """Yield results on the host, each while the device works on the next.

    Fetching at once would idle the device; fetching at the end would keep every result on it.
    """
    previous = next(results)
    for result in results:
        yield jax.device_get(previous)
        previous = result
    yield jax.device_get(previous)
