"""Devices and processes: where arrays live, and several processes that train as one run.

The mesh is over the devices of all processes. Every process runs the same program, of the same
configuration over the same images, which is checked before anything else; process 0 alone writes.
When one ends before its time, JAX ends the others within seconds, and the run goes on from its last
checkpoint.
"""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jaxsurf.errors import UserError

Tree = TypeVar("Tree")

AXIS = "data"  # of the mesh
HEARTBEAT_S = 10  # a process that is silent for so long is taken for dead
# So long each waits for the others in the end; where one does not come, JAX aborts them all.
SHUTDOWN_S = 60

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shardings:
    """Where arrays live: split over the devices along an axis, or whole on each."""

    mesh: Mesh
    batch: NamedSharding  # split along the first axis
    batches: NamedSharding  # split along the second axis; the first counts batches
    replicated: NamedSharding

    @classmethod
    def over(cls, devices: Sequence[Any]) -> "Shardings":
        """Return those over some devices."""
        auto = (AxisType.Auto,)
        mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=auto, devices=devices)
        specs = P(AXIS), P(None, AXIS), P()
        return cls(mesh, *(NamedSharding(mesh, spec) for spec in specs))


def make_shardings(batch_size: int, *, num_devices: int | None = None) -> Shardings:
    """Return shardings over the most devices that divide the batch; processes need them all."""
    devices = jax.devices()[:num_devices]
    used = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    uneven = f"batches of {batch_size} images do not split evenly over the {len(devices)} devices"
    if used < len(devices) and jax.process_count() > 1:
        raise UserError(
            f"{uneven} of {jax.process_count()} processes",
            cure=f"set config.training.batch_size to a multiple of {len(devices)}",
        )
    if used < len(devices):
        _log.warning("using %d of the devices: %s", used, uneven)
    return Shardings.over(devices[:used])


def put(tree: Tree, where: NamedSharding) -> Tree:
    """Return a tree of arrays and keys, the same in all processes, on the devices of all."""

    def put_leaf(leaf: Array | np.ndarray) -> Array:
        if jax.process_count() == 1:
            return jax.device_put(leaf, where)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put_leaf(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        host = np.asarray(leaf)
        return assemble(host.shape, where, lambda index: host[index])

    return jax.tree.map(put_leaf, tree)


def assemble(
    shape: tuple[int, ...], where: NamedSharding, part: Callable[[Any], np.ndarray]
) -> Array:
    """Return an array of which every process makes the parts, at some slices, for its devices."""
    with jax.transfer_guard("allow"):  # it is meant, though JAX does not count it as such
        return jax.make_array_from_callback(shape, where, part)


def in_step(tree: Tree, mesh: Mesh) -> Tree:
    """Return what a call has given, at once or, on several CPU devices, when it is computed.

    XLA's threads for such devices may all wait for calls that none is left to compute.
    """
    several_cpus = mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"
    return jax.block_until_ready(tree) if several_cpus else tree


def own(tree: Tree) -> Tree:
    """Return a replicated tree as arrays that this process can compute with alone."""
    return tree if jax.process_count() == 1 else jax.tree.map(np.asarray, tree)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the processes of a run find one another.

    Attributes:
        coordinator: HOST:PORT of process 0; empty where the cluster's environment has it (Slurm,
            Open MPI, Cloud TPU).
        num_processes: how many; 0 where the environment has it.
        process_id: which of them this is, from 0; -1 where the environment has it.
        join_s: how long to wait for the others.
    """

    coordinator: str = ""
    num_processes: int = 0
    process_id: int = -1
    join_s: int = 300

    def __post_init__(self) -> None:
        given = (bool(self.coordinator), self.num_processes > 0, self.process_id >= 0)
        has_port = self.coordinator.rpartition(":")[2].isdecimal()
        if any(given) and not (all(given) and has_port and self.process_id < self.num_processes):
            raise UserError(
                "--coordinator, --num_processes and --process_id describe no process of a cluster",
                cure="give all three, as HOST:PORT, N and 0 to N-1, or none where the cluster's "
                "environment has them",
            )


@contextlib.contextmanager
def joined(cluster: Cluster | None) -> Iterator[None]:
    """Be one of several processes for a while, or alone where there is no cluster.

    Enter it before JAX is asked for its devices. After an error end the process by `leave`.
    """
    if cluster is None:
        yield
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would catch SIGTERM itself, in place of the training loop.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            cluster.coordinator or None,
            cluster.num_processes or None,
            cluster.process_id if cluster.coordinator else None,
            initialization_timeout=cluster.join_s,
            heartbeat_timeout_seconds=HEARTBEAT_S,
            shutdown_timeout_seconds=SHUTDOWN_S,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"cannot join the other processes ({str(error).strip().splitlines()[0]})",
            cure="give --coordinator=HOST:PORT, --num_processes and --process_id, the same HOST:"
            "PORT to all, and start all of them",
        ) from error
    yield
    jax.distributed.shutdown()


def leave(status: int) -> NoReturn:
    """End this process after an error; others have JAX's shutdown time to report theirs."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(RuntimeError):  # others have ended
        jax.distributed.shutdown()
    os._exit(status)


def writes() -> bool:
    """Return whether this process is the one that writes files."""
    return jax.process_index() == 0


def least(number: float) -> float:
    """Return the smallest of the numbers that all processes give."""
    return float(np.min(multihost_utils.process_allgather(np.float32(number))))


def check_agreement(facts: Mapping[str, Any]) -> None:
    """Refuse processes that would not do the same; facts are JSON values."""
    mine = json.dumps(dict(facts)).encode()
    size = int(np.max(multihost_utils.process_allgather(np.int32(len(mine)))))
    padded = np.frombuffer(mine.ljust(size), np.uint8)
    here, *others = (json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded))
    for number, theirs in enumerate(others, start=1):
        for name in sorted(here.keys() | theirs.keys()):
            if here.get(name) != theirs.get(name):
                raise UserError(
                    f"{name} is {here.get(name)} in process 0, but {theirs.get(name)} in process "
                    f"{number}",
                    cure="start all processes with the same command over the same files",
                )


class Agreement:
    """What all processes come to know of one another without waiting.

    Each gives a number in every call, and gets the largest of the call before, which is there by
    then: the same in all. A process that is alone gets its own number at once.
    """

    def __init__(self) -> None:
        self._before: Array | None = None
        self._spread = Shardings.over(jax.devices()).batch

    def __call__(self, number: int) -> int:
        """Return the largest number of the call before; 0 at the first."""
        if jax.process_count() == 1:
            return int(number)
        mine = np.full(jax.local_device_count(), number, np.int32)
        given = jax.make_array_from_process_local_data(self._spread, mine)
        before, self._before = self._before, jnp.max(given)
        return 0 if before is None else int(before)
