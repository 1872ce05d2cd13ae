"""A line between the processes of a run, which breaks as soon as one of them ends.

Collective operations wait for ever for a process that is gone, and JAX itself notices after minutes
of silence. A connection tells at once: the system closes it, however its process ends; and where a
whole machine vanishes, the system at the other end soon misses its answers. Every process holds one
to process 0, which passes on what it hears.

Whoever hears of an end has some patience: it may meet the same error itself, and say so. As long as
process 0 is there, that is: JAX aborts the others when it goes, so it waits for them. But an error
that may be the mere echo of another's end is held back while its process listens.
"""

import contextlib
import logging
import secrets
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

_TOKEN_BYTES = 16
_GREETING = struct.Struct(f"<{_TOKEN_BYTES}sI")
# What is sent before an orderly end; anything else is the name of who was lost.
_FAREWELL = b"\0"
_HUB = b"process 0\n"
_CONNECT_S = 10.0
_MESSAGE_BYTES = 256
# The system asks the other end after so many seconds of silence, again after so many more, and
# gives it up after so many questions without an answer: half a minute in all.
_KEPT_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
# What macOS calls the first of them.
_OTHER_NAMES = {"TCP_KEEPIDLE": "TCP_KEEPALIVE"}

# How long to listen for word of another's end, on a machine with much else to do.
_WORD_S = 5.0

Lost = Callable[[str], None]


class _End:
    """What both ends of the line have in common: they hear of others, and tell of them late."""

    def __init__(self, lost: Lost, patience_s: float) -> None:
        self._lost = lost
        self._patience_s = patience_s
        self._open = True
        self._alarmed, self._told = threading.Event(), threading.Event()

    def listen(self) -> None:
        """Wait for word of another's end; if there is any, until `lost` has been called.

        So it returns only where no other has ended, or `lost` does.
        """
        if self._alarmed.wait(_WORD_S):
            self._told.wait()

    def _tell_of(self, name: str) -> None:
        try:
            if self._open:
                self._lost(name)
        finally:
            self._told.set()


class Hub(_End):
    """The end of the line at process 0.

    Args:
        lost: called in a thread of its own with the name of a process that has ended.
        patience_s: seconds before that, in which this process may close its end, if it does not
            listen.
    """

    def __init__(self, lost: Lost, *, patience_s: float = 0.0) -> None:
        super().__init__(lost, patience_s)
        self._token = secrets.token_bytes(_TOKEN_BYTES)
        self._server = _listening()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._names: dict[socket.socket, str] = {}
        self._strangers: dict[socket.socket, bytes] = {}
        self._greeted = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What the other processes are told: host, port and token."""
        return f"{socket.gethostname()} {self._server.getsockname()[1]} {self._token.hex()}"

    def wait_for(self, number: int) -> None:
        """Return when so many others, which have connected, are known by their names."""
        for _ in range(number):
            self._greeted.acquire(timeout=_CONNECT_S)

    def close(self, *, orderly: bool) -> None:
        """Let go of the line.

        Args:
            orderly: whether this process comes to its end as it should.
        """
        self._open = False
        self._thread.join()
        self._tell(_FAREWELL if orderly else _HUB)
        if not orderly:
            self._wait_for_others()
        for connection in (*self._names, *self._strangers):
            _hang_up(connection)
        self._server.close()
        self._selector.close()

    def _watch(self) -> None:
        while self._open:
            for key, _ in self._selector.select(timeout=0.2):
                if key.fileobj is self._server:
                    self._take_up()
                elif key.fileobj in self._strangers:
                    self._greet(key.fileobj)  # pyright: ignore[reportArgumentType]
                else:
                    self._hear(key.fileobj)  # pyright: ignore[reportArgumentType]

    def _take_up(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:  # it is gone already
            return
        connection.settimeout(_CONNECT_S)
        self._strangers[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ)

    def _greet(self, connection: socket.socket) -> None:
        """Hear out who has connected; whoever doesn't know the token is sent away."""
        missing = _GREETING.size - len(self._strangers[connection])
        said = _heard(connection, missing)
        self._strangers[connection] += said
        if said and len(said) < missing:
            return
        greeting = self._strangers.pop(connection)
        token, number = _GREETING.unpack(greeting.ljust(_GREETING.size, b"\0"))
        if said and secrets.compare_digest(token, self._token):
            with contextlib.suppress(OSError):  # it is gone already, as will be heard
                _keep_alive(connection)
            self._names[connection] = f"process {number}"
            self._greeted.release()
        else:
            self._selector.unregister(connection)
            connection.close()

    def _hear(self, connection: socket.socket) -> None:
        """Let a process go; if it did not say farewell, all others are told."""
        said = _heard(connection)
        self._selector.unregister(connection)
        name = self._names.pop(connection)
        connection.close()
        if said != _FAREWELL:
            self._tell(f"{name}\n".encode())
            # Not in this thread, which `close` waits for.
            timer = threading.Timer(self._patience_s, self._tell_of, [name])
            timer.daemon = True
            timer.start()
            self._alarmed.set()

    def _wait_for_others(self) -> None:
        """Return when all others have gone, which they do soon after they were told."""
        until = time.monotonic() + 2 * self._patience_s
        for connection in self._names:
            with contextlib.suppress(OSError):
                while (left := until - time.monotonic()) > 0:
                    connection.settimeout(left)
                    if not connection.recv(_MESSAGE_BYTES):
                        break

    def _tell(self, message: bytes) -> None:
        for connection in self._names:
            with contextlib.suppress(OSError):  # it is gone too
                connection.sendall(message)


class Spoke(_End):
    """The end of the line at any other process.

    Args:
        number: of the process.
        address: what the hub tells.
        host: where process 0 is, if that is known; else the host that the hub tells.
        lost: called in a thread of its own with the name of a process that has ended.
        patience_s: seconds before that, in which this process may close its end, if it does not
            listen.
    """

    def __init__(
        self,
        number: int,
        address: str,
        lost: Lost,
        *,
        host: str = "",
        patience_s: float = 0.0,
    ) -> None:
        super().__init__(lost, patience_s)
        name, port, token = address.split()
        self._connection: socket.socket | None = None
        try:
            connection = socket.create_connection((host or name, int(port)), _CONNECT_S)
            connection.sendall(_GREETING.pack(bytes.fromhex(token), number))
            _keep_alive(connection)
            connection.settimeout(None)
            self._connection = connection
        except OSError as error:
            _log.warning(
                "process %d has no line to process 0 (%s): that another process has ended will "
                "be noticed late",
                *(number, error.strerror or error),
            )
            return
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    @property
    def drawn(self) -> bool:
        """Whether there is a line."""
        return self._connection is not None

    def close(self, *, orderly: bool) -> None:
        """Let go of the line; see `Hub.close`."""
        self._open = False
        if self._connection is None:
            return
        if orderly:
            with contextlib.suppress(OSError):  # process 0 went first
                self._connection.sendall(_FAREWELL)
        _hang_up(self._connection)

    def _watch(self) -> None:
        assert self._connection is not None
        said = _heard(self._connection)
        name = (said or _HUB).decode(errors="replace").partition("\n")[0]
        if said == _FAREWELL:
            return
        self._alarmed.set()
        until = time.monotonic() + self._patience_s
        # Until patience, or process 0, has come to its end.
        while said and said != _FAREWELL and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(OSError):  # it may be closed meanwhile
                self._connection.settimeout(left)
            said = _heard(self._connection)
        self._tell_of(name)


def _listening() -> socket.socket:
    """Return a socket at a free port, of IPv6 as well where there is such."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # it may be turned off
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _keep_alive(connection: socket.socket) -> None:
    """Have the system ask whether the other end is still there, as often as it lets us say."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEPT_ALIVE.items():
        known = name if hasattr(socket, name) else _OTHER_NAMES.get(name, name)
        if hasattr(socket, known):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, known), value)


def _hang_up(connection: socket.socket) -> None:
    """Close a connection, also where a thread is listening to it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _heard(connection: socket.socket, most: int = _MESSAGE_BYTES) -> bytes:
    """Return what comes next, so many bytes at most; nothing where the other end is gone."""
    try:
        return connection.recv(most)
    except OSError:
        return b""
