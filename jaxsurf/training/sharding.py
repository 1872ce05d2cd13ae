"""The device mesh and the only two shardings: `batch` and `replicated`."""

import logging
from dataclasses import dataclass

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

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
    def replicated(self) -> NamedSharding:
        """Every device holds the whole array."""
        return NamedSharding(self.mesh, P())


def make_shardings(batch_size: int, *, num_devices: int | None = None) -> Shardings:
    """Return shardings over as many devices as divide the batch evenly.

    Args:
        batch_size: images a step, over all devices.
        num_devices: use at most so many; None means all there are.
    """
    devices = jax.devices()[:num_devices]
    used = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if used < len(devices):
        _log.warning(
            "using %d of %d devices: batches of %d images don't split evenly over more",
            *(used, len(devices), batch_size),
        )
    mesh = jax.make_mesh((used,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:used])
    return Shardings(mesh)
