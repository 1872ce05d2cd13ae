"""A table of distances on the devices that JAX has: queries are divided among all of them.

Products are float32 in full precision, which accelerators do not do by default.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from jaxsurf.manifold.neighbours.tiles import Smallest

# Columns whose smallest value stands for all of them when blocks are compared.
_BLOCK = 128
# Values in memory at once, on each device.
_TILE = 2**27
# Queries at once, on each device.
_ROWS = 1024


class DeviceTable:
    """A `tiles.Table` in float32 by JAX."""

    dtype = np.float32

    def __init__(self, columns: Float[np.ndarray, "term point"]) -> None:
        """Put the points on all devices of this process.

        Args:
            columns: one factor.
        """
        devices = jax.local_devices()
        mesh = jax.make_mesh(
            (len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices
        )
        self._size = columns.shape[1]
        width = -(-self._size // _BLOCK) * _BLOCK
        filled = np.zeros((len(columns), width), np.float32)
        filled[:, : self._size] = columns
        self._mesh, self._split = mesh, NamedSharding(mesh, P("data"))
        self._columns = jax.device_put(filled, NamedSharding(mesh, P()))
        self.rows = len(devices) * max(1, min(_TILE // width, _ROWS))

    def smallest(self, factor: Float[np.ndarray, "query term"], count: int) -> Smallest:
        """See `tiles.Table.smallest`."""
        # Always as many rows, so that there is one program.
        filled = np.zeros((self.rows, factor.shape[1]), np.float32)
        filled[: len(factor)] = factor
        columns, last = _smallest(
            jax.device_put(filled, self._split),
            self._columns,
            mesh=self._mesh,
            size=self._size,
            count=count,
        )
        columns, last = np.asarray(columns, np.int64), np.asarray(last, np.float64)
        return columns[: len(factor)], last[: len(factor)]


@functools.partial(jax.jit, static_argnames=("mesh", "size", "count"))
def _smallest(
    factor: Float[Array, "query term"],
    columns: Float[Array, "term column"],
    *,
    mesh: jax.sharding.Mesh,
    size: int,
    count: int,
) -> tuple[Int[Array, "query count"], Float[Array, "query"]]:
    """Return what `tiles.Table.smallest` does; each device has its queries, and all columns."""

    def part(
        factor: Float[Array, "query term"], columns: Float[Array, "term column"]
    ) -> tuple[Int[Array, "query count"], Float[Array, "query"]]:
        values = jnp.matmul(factor, columns, precision=jax.lax.Precision.HIGHEST)
        values = jnp.where(jnp.arange(values.shape[1])[None] < size, values, jnp.inf)
        return _of_rows(values, count)

    split = jax.shard_map(part, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return split(factor, columns)


def _of_rows(
    values: Float[Array, "query column"], count: int
) -> tuple[Int[Array, "query count"], Float[Array, "query"]]:
    """Return the columns of the `count` smallest values of each row, and the next value.

    As `tiles.Doubles` does, looking into the blocks that have the `count + 1` smallest minima.
    """
    blocks = values.reshape(len(values), _BLOCK, -1)
    width, offsets = blocks.shape[2], None
    if 2 * (count + 1) < width:
        best = jax.lax.top_k(-blocks.min(axis=1), count + 1)[1]
        values = jnp.take_along_axis(blocks, best[:, None], axis=2).reshape(len(values), -1)
        offsets = best[:, None] + width * jnp.arange(_BLOCK)[None, :, None]
        offsets = offsets.reshape(len(values), -1)
    negative, places = jax.lax.top_k(-values, count + 1)
    if offsets is not None:
        places = jnp.take_along_axis(offsets, places, axis=1)
    return places[:, :-1], -negative[:, -1]
