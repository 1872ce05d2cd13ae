"""The device mesh, the shardings `batch` and `replicated`, how arrays get there and leave.

The mesh is over the devices of all processes. What is put on it lies whole on the host of each
process, and each puts the parts that its own devices hold.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from jaxsurf import mapped
from jaxsurf.errors import UserError
from jaxsurf.training.hosts import Alike

Tree = TypeVar("Tree")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shardings:
    """Where arrays live: split over the devices along their first axis, or whole on each."""

    mesh: Mesh

    @property
    def batch(self) -> NamedSharding:
        """The first axis is split over all devices."""
        return NamedSharding(self.mesh, P("data"))

    @property
    def batches(self) -> NamedSharding:
        """As `batch`, of several batches: the first axis counts them."""
        return NamedSharding(self.mesh, P(None, "data"))

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds the whole array."""
        return NamedSharding(self.mesh, P())


class Uneven(UserError, Alike):  # noqa: N818  (it says what batches are)
    """Batches don't divide among the devices of several processes."""


def make_shardings(batch_size: int, *, num_devices: int | None = None) -> Shardings:
    """Return shardings over as many devices as divide the batch evenly.

    Args:
        batch_size: images a step, over all devices.
        num_devices: use at most so many; None means all there are.

    Raises:
        Uneven: several processes have devices, and the batch does not divide among all of them.
    """
    devices = jax.devices()[:num_devices]
    used = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if used < len(devices) and jax.process_count() > 1:
        raise Uneven(
            f"batches of {batch_size} images do not split evenly over the {len(devices)} devices "
            f"of {jax.process_count()} processes",
            cure=f"set config.training.batch_size to a multiple of {len(devices)}",
        )
    if used < len(devices):
        _log.warning(
            "using %d of %d devices: batches of %d images don't split evenly over more",
            *(used, len(devices), batch_size),
        )
    mesh = jax.make_mesh((used,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:used])
    return Shardings(mesh)


def put(tree: Tree, where: NamedSharding) -> Tree:
    """Return a tree of arrays and keys on the devices of all processes.

    Args:
        tree: the same in every process. A mapped array is never in the host's memory as a whole.
        where: its sharding.
    """
    return jax.tree.map(lambda leaf: _put(leaf, where), tree)


def assemble(
    shape: tuple[int, ...], where: NamedSharding, part: Callable[[Any], np.ndarray]
) -> Array:
    """Return an array of which every process makes the parts for its own devices alone.

    Args:
        shape: of the whole.
        where: its sharding.
        part: gives what the whole holds at some slices, one an axis.
    """
    with jax.transfer_guard("allow"):  # it is meant, though JAX does not count it as such
        return jax.make_array_from_callback(shape, where, part)


def in_step(tree: Tree, mesh: Mesh) -> Tree:
    """Return what a call has given, at once or, on several CPU devices, when it is computed.

    XLA's threads for such devices may all wait for calls that none is left to compute.

    Args:
        tree: of arrays on the mesh.
        mesh: where the call runs.
    """
    several_cpus = mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"
    return jax.block_until_ready(tree) if several_cpus else tree


def free(tree: object) -> None:
    """Give back what arrays take on the devices; shape, dtype and sharding can still be asked."""
    for leaf in jax.tree.leaves(tree):
        leaf.delete()


def own(tree: Tree) -> Tree:
    """Return a replicated tree as arrays that this process can compute with alone."""
    return tree if jax.process_count() == 1 else jax.tree.map(np.asarray, tree)


def _put(leaf: Array | np.ndarray, where: NamedSharding) -> Array:
    if isinstance(leaf, np.memmap):
        return _put_in_portions(leaf, where)
    if jax.process_count() == 1:
        return jax.device_put(leaf, where)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(leaf), where)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return assemble(host.shape, where, lambda index: host[index])


def _put_in_portions(rows: np.memmap, where: NamedSharding) -> Array:
    """Return a mapped array on the devices, where it is put together."""
    write = jax.jit(_written, donate_argnums=0, out_shardings=where)
    whole = jnp.zeros(rows.shape, rows.dtype, device=where)
    start = 0
    for some in mapped.portions(rows):
        whole = write(whole, _put(some, NamedSharding(where.mesh, P())), np.int32(start))
        start += len(some)
    return whole


def _written(whole: Array, some: Array, start: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, some, start, axis=0)
