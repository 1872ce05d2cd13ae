"""Stopping on request: SIGTERM and SIGINT end a command in time, wherever it is.

Either raises where the command is, so that what is half done is tidied up on the way out; training
has its own way, which saves first. But Python runs handlers between its own instructions only, and
a command may be inside a long call: a compilation, a search, a device that computes. So a thread
watches: a command that has not ended `GRACE_S` seconds after the request is ended then and there.
That loses nothing that was saved, and a compilation has nothing to save. Something that is being
saved is waited for. A second SIGINT ends a command at once.
"""

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

# Ten seconds are promised; schedulers that take a machine away give thirty.
GRACE_S = 8.0
ASKING = (signal.SIGTERM, signal.SIGINT)

# How soon a request that was lost is made again: by then the destructor it fell into is over.
AGAIN_S = 0.01

_unhurried = threading.Event()
_lost = threading.Event()


class Stopped(KeyboardInterrupt):
    """A signal asked to stop; what is half done is tidied up on the way out.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


def exit_status(number: int) -> int:
    """Return the exit status of a command that a signal stopped, as shells count."""
    return 128 + number


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """Have what is done inside waited for, however long it takes."""
    before = _unhurried.is_set()
    _unhurried.set()
    try:
        yield
    finally:
        if not before:
            _unhurried.clear()


@contextlib.contextmanager
def watched(grace_s: float = GRACE_S) -> Iterator[None]:
    """Raise `Stopped` on request, and see to it that the process ends; for the main thread.

    Args:
        grace_s: seconds from the request to the end.
    """
    before = {number: signal.signal(number, _stop) for number in ASKING}
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Written to by the interpreter at once, also while the main thread is inside a long call.
    earlier = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, grace_s), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier)
        writer.close()


def ask_again(number: int) -> None:
    """Make a request once more that was raised where nothing can be, as in a destructor.

    Args:
        number: of the signal, which then counts as asked for once.
    """
    _lost.set()
    threading.Timer(AGAIN_S, os.kill, (os.getpid(), number)).start()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise Stopped(number)


def _watch(reader: socket.socket, grace_s: float) -> None:
    """End the process when a request has been waiting for too long."""
    asked, deadline = 0, float("inf")
    with reader:
        while True:
            left = None if not asked else max(0.0, deadline - time.monotonic())
            if not select.select([reader], [], [], left)[0]:
                if not _unhurried.is_set():
                    _leave(asked, "in the middle of a long call; what was saved before stands")
                deadline = time.monotonic() + 0.1
                continue
            received = reader.recv(64)
            if not received:
                return
            for number in filter(ASKING.__contains__, received):
                repeated = asked and _lost.is_set()
                if repeated:
                    _lost.clear()
                elif asked and number == signal.SIGINT:
                    _leave(number, "at once; what was saved before stands")
                deadline = min(deadline, time.monotonic() + grace_s)
                asked = asked or number


def _leave(number: int, how: str) -> NoReturn:
    line = f"stopped by {signal.Signals(number).name} {how}: the same command goes on from there\n"
    os.write(2, line.encode())
    os._exit(exit_status(number))
