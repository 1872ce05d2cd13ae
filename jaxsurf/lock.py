"""One run at a time in a working directory.

The lock is the operating system's (flock), on a file that stays there. It ends with the process
that holds it, however that ends: what a killed run left behind blocks nobody, and neither a clock
nor a process number is relied on. Linux hands such locks on to NFS servers, so they keep hosts
apart too, unless a folder is mounted with locks of its own (`nolock`, `local_lock`), which nobody
can tell from here. Where a file system or an operating system has no such locks, the run goes on
without, and says so.
"""

import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxsurf.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

FILE = ".lock"
# What a file system says that has no locks, and what one says whose lock another holds.
NONE = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing.

    Raises:
        UserError: another process holds it, or the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}", cure="choose another with --workdir"
        ) from error
    with file:
        _take(file, folder)
        _write(file, json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        try:
            yield
        finally:
            _write(file, "")


def _take(file: IO[str], folder: Path) -> None:
    """Take the lock, or say who has it."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise UserError(
                f"{folder} is in use by {_holder(file)}",
                cure="wait until it has ended, or use another --workdir",
            ) from error
        if error.errno not in NONE:
            raise
        _log.warning(
            "%s can't be locked (%s): see to it that no other run uses it", folder, error.strerror
        )


def _holder(file: IO[str]) -> str:
    """Return who wrote into the file of a lock."""
    try:
        file.seek(0)
        said = json.loads(file.read())
        return f"process {said['process']} on {said['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written yet
        return "another process"


def _write(file: IO[str], text: str) -> None:
    """Replace what the file says; it is for people, so a full disk is no reason to stop."""
    with contextlib.suppress(OSError):
        file.seek(0)
        file.truncate()
        file.write(text)
        file.flush()
