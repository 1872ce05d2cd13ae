"""Several processes, on one machine or many, as one run.

Every process runs the same program over the devices of all of them. They have to hold the same
configuration and the same images, which is checked before anything else; process 0 alone writes.
When one of them ends before its time, all others end too, at once and with a line that says so: the
run goes on from its last checkpoint.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int

from jaxsurf.errors import UserError
from jaxsurf.training import lifeline

# sysexits.h: a passing failure, worth another try.
PEER_LOST = 75
# JAX ends processes roughly after so much silence, where the lifeline could not be drawn.
_HEARTBEAT_S = 60
# How long a process has to say itself what is wrong, where another has ended of the same.
_OWN_ERROR_S = 2.0
# What JAX says of errors that others have nothing to do with.
_OWN_FAULTS = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")
# Processes that part have waited for one another before.
_SHUTDOWN_S = 10


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the processes of a run find one another.

    Attributes:
        coordinator: HOST:PORT of process 0; empty where the cluster's environment tells (Slurm,
            Open MPI, Cloud TPU).
        num_processes: how many; 0 where the environment tells.
        process_id: which of them this is, from 0; -1 where the environment tells.
        join_s: how long to wait for the others.
    """

    coordinator: str = ""
    num_processes: int = 0
    process_id: int = -1
    join_s: int = 300

    def __post_init__(self) -> None:
        told = (bool(self.coordinator), self.num_processes > 0, self.process_id >= 0)
        if any(told) and not all(told):
            raise UserError(
                "of --coordinator, --num_processes and --process_id some are missing",
                cure="give all three, or none where the cluster's environment tells",
            )
        if any(told) and not self.coordinator.rpartition(":")[2].isdecimal():
            raise UserError(f"--coordinator={self.coordinator} has no port", cure="give HOST:PORT")
        if any(told) and self.process_id >= self.num_processes:
            raise UserError(
                f"--process_id is {self.process_id}, but there are {self.num_processes} processes",
                cure=f"number them from 0 to {self.num_processes - 1}",
            )


class Alike(Exception):  # noqa: N818  (it says how it is raised)
    """Raised in all processes at the same point, so that none has to be told of another's end."""


class Disagreement(UserError, Alike):  # noqa: N818  (it says what is wrong)
    """The processes would not do the same."""


@contextlib.contextmanager
def joined(cluster: Cluster | None) -> Iterator[None]:
    """Be one of several processes for a while, or alone where there is no cluster.

    JAX must not have been asked for its devices before. A process that fails alone has to end by
    `os._exit` afterwards: an ordinary end would wait for the others. Where another ends before its
    time, this one ends too, with `PEER_LOST`, from within a thread; an error of JAX's is held back
    for some seconds, as it may come of that.

    Args:
        cluster: where the others are.

    Raises:
        UserError: they can't be found.
    """
    if cluster is None:
        yield
        return
    _join(cluster)
    line = _draw_line(cluster)
    alike: Alike | None = None
    try:
        try:
            yield
        except Alike as error:
            alike = error
        multihost_utils.sync_global_devices("end")
        jax.distributed.shutdown()
    except BaseException as error:
        try:
            if alike is None and _may_be_echo(error):
                line.listen()
        finally:
            line.close(orderly=False)
        if alike is not None:
            raise alike from error
        raise
    line.close(orderly=True)
    if alike is not None:
        raise alike


def _may_be_echo(error: BaseException | None) -> bool:
    """Return whether an error may be what an operation of all says where another has ended."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return not str(error).startswith(_OWN_FAULTS)
        error = error.__cause__ or error.__context__
    return False


def writes() -> bool:
    """Return whether this process is the one that writes files."""
    return jax.process_index() == 0


def least(number: float) -> float:
    """Return the smallest of the numbers that all processes give."""
    if jax.process_count() == 1:
        return number
    return min(float(text) for text in _gathered(str(number)))


def wait_for_all(where: str) -> None:
    """Return when all processes have come to the same point.

    Args:
        where: its name.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def check_agreement(facts: Mapping[str, Any]) -> None:
    """Refuse processes that would not do the same.

    Args:
        facts: by name, what must be the same everywhere, as JSON values.

    Raises:
        Disagreement: something differs.
    """
    if jax.process_count() == 1:
        return
    here, *others = (json.loads(text) for text in _gathered(json.dumps(dict(facts))))
    for number, theirs in enumerate(others, start=1):
        for name in sorted(here.keys() | theirs.keys()):
            if here.get(name) != theirs.get(name):
                raise Disagreement(
                    f"{name} is {here.get(name)} in process 0, but {theirs.get(name)} in process "
                    f"{number}",
                    cure="start all processes with the same command over the same files",
                )


class Agreement:
    """What all processes come to know of one another without waiting.

    Each gives a number in every call; what comes back is the largest that any gave in the call
    before, which is there by then. So all of them see the same numbers at the same calls. A
    process that is alone hears its own number at once.
    """

    def __init__(self) -> None:
        self._devices = np.asarray(jax.devices())
        self._before: Array | None = None

    def __call__(self, number: int) -> int:
        """Return the largest number of the call before; 0 at the first."""
        if jax.process_count() == 1:
            return int(number)
        before, self._before = self._before, self._launch(number)
        return 0 if before is None else int(before)

    def _launch(self, number: int) -> Int[Array, ""]:
        mesh = jax.sharding.Mesh(self._devices, ("data",))
        spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        mine = np.full(jax.local_device_count(), number, np.int32)
        return _largest(jax.make_array_from_process_local_data(spread, mine))


@jax.jit
def _largest(numbers: Int[Array, "device"]) -> Int[Array, ""]:
    return numbers.max()


def _join(cluster: Cluster) -> None:
    told = {
        "coordinator_address": cluster.coordinator,
        "num_processes": cluster.num_processes,
        "process_id": cluster.process_id,
    }
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would catch SIGTERM itself, in place of whoever waits for it here.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **(told if cluster.coordinator else {}),
            initialization_timeout=cluster.join_s,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=_SHUTDOWN_S,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"cannot join the other processes ({_first_line(error)})",
            cure="give --coordinator=HOST:PORT, --num_processes and --process_id, the same HOST:"
            "PORT to all, and start all of them",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _draw_line(cluster: Cluster) -> lifeline.Hub | lifeline.Spoke:
    number = jax.process_index()
    try:
        if number == 0:
            hub = lifeline.Hub(_leave, patience_s=_OWN_ERROR_S)
            _gathered(hub.address)
            hub.wait_for(_gathered("").count("drawn"))
            return hub
        address = _gathered("")[0]
        host = cluster.coordinator.rpartition(":")[0].strip("[]")
        spoke = lifeline.Spoke(number, address, _leave, host=host, patience_s=_OWN_ERROR_S)
        _gathered("drawn" if spoke.drawn else "")
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"another process ended before the run began ({_first_line(error)})",
            cure="start all of them again",
        ) from error
    return spoke


def _leave(name: str) -> NoReturn:
    """End this process from within a thread: the main one is in an operation of all, or listens."""
    try:
        sys.stderr.write(
            f"error: {name} of {jax.process_count()} ended; start all of them again: the run goes "
            "on from its last checkpoint\n"
        )
        sys.stderr.flush()
    finally:  # also where nobody reads it any more
        os._exit(PEER_LOST)


def _gathered(text: str) -> list[str]:
    """Return the texts of all processes, in the order of their numbers."""
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(data))))
    padded = np.zeros(max(1, int(sizes.max())), np.uint8)
    padded[: len(data)] = data
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]
