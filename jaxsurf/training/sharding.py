"""The device mesh and the only two shardings: `batch` and `replicated`."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


@dataclass(frozen=True)
class Shardings:
    """Where arrays live: split over the devices along their first axis, or whole on each."""

    mesh: Mesh

    @property
    def batch(self) -> NamedSharding:
        """The first axis is split over all devices."""
        return NamedSharding(self.mesh, P("data"))

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds the whole array."""
        return NamedSharding(self.mesh, P())


def make_shardings(batch_size: int, *, devices: Sequence[jax.Device] | None = None) -> Shardings:
    """Return shardings over as many devices as divide the batch evenly.

    Args:
        batch_size: images a step, over all devices.
        devices: which to use; None means all there are.
    """
    devices = jax.devices() if devices is None else devices
    num_devices = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    mesh = jax.make_mesh(
        (num_devices,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:num_devices]
    )
    return Shardings(mesh)
