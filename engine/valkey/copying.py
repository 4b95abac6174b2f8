"""Takes a copy of a node's data over the replication protocol, as a replica does, without a file.

Blocking, for a thread: the bytes of a data set go by as fast as the engine makes them. Comes in by
the node's unix socket under the control plane's own user. The node forks to write the copy, and
serves its clients meanwhile; nothing is left behind on it when the connection ends.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.replstream import FullSyncReader, Part

# The engine sends some 16 KB at a time. They are put together: hashing and writing a megabyte takes
# one turn of the interpreter's lock, and one call, where that would be seventy.
RECEIVE_BYTES = 1 << 20
LINE_BYTES_MAX = 1024
# The node sends a line end each second while it prepares: this long without one, it hangs.
SILENCE_S_MAX = 60.0

_TIMEVAL = struct.Struct("@ll")

Take = Callable[[Part], None]


class Abandoned(Exception):
    """Whoever asked for the copy wants it no more."""


class CopyHandle:
    """Ends a copy that runs in another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.abandoned = False

    def abandon(self) -> None:
        """Make the copy raise :class:`Abandoned` at once, or when it would begin."""
        with self._lock:
            self.abandoned = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise :class:`Abandoned` where the copy has been called off."""
        if self.abandoned:
            raise Abandoned

    @contextlib.contextmanager
    def holding(self, connection: socket.socket) -> Iterator[None]:
        """Let :meth:`abandon` cut *connection* while the block lasts."""
        with self._lock:
            self.check()
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None


def copy_data(
    unix_socket: str, *, username: str, password: str, take: Take, handle: CopyHandle
) -> None:
    """Give the parts of an RDB of all the node's data to *take*, in order, until it is whole.

    A part is good until *take* returns.

    Raises:
        NodeUnreachable: the node did not answer, or hung up in the middle.
        CommandRefused: it said no (``NOMASTERLINK``: a replica that is not in sync).
        BrokenStream: it sent something else than a copy, or not all of it.
        Abandoned: the copy was called off; whatever *take* raises.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The kernel's timeout: one of the library would cost a second call for each that receives.
    silence = _TIMEVAL.pack(int(SILENCE_S_MAX), 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, silence)
    with connection, handle.holding(connection):
        try:
            connection.connect(unix_socket)
            _ask(connection, ("AUTH", username, password))
            # Without it the node would write the copy to its disk first.
            _ask(connection, ("REPLCONF", "capa", "eof"))
            with contextlib.suppress(CommandRefused):  # before Redis 7 there was no such word
                _ask(connection, ("REPLCONF", "rdb-only", "1"))
            connection.sendall(_packed(("PSYNC", "?", "-1")))
        except OSError as error:
            raise _broken_off(error, handle) from error
        _receive(connection, take, handle)


def _receive(connection: socket.socket, take: Take, handle: CopyHandle) -> None:
    reader = FullSyncReader()
    buffer, filled = memoryview(bytearray(RECEIVE_BYTES)), 0
    while not reader.whole:
        try:
            count = connection.recv_into(buffer[filled:])
        except OSError as error:
            raise _broken_off(error, handle) from error
        handle.check()
        if not count:
            reader.finish()
        filled += count
        if filled < RECEIVE_BYTES and not reader.is_due(buffer[:filled]):
            continue
        for part in reader.feed(buffer[:filled]):
            take(part)
        filled = 0


def _broken_off(error: OSError, handle: CopyHandle) -> NodeUnreachable:
    """Return what the node's silence is; an error of whoever takes the copy is none of these."""
    handle.check()
    return NodeUnreachable(f"the copy broke off: {error}")


def _ask(connection: socket.socket, words: Sequence[str]) -> None:
    """Send a command whose answer is one line."""
    connection.sendall(_packed(words))
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > LINE_BYTES_MAX:
            raise OSError("no answer")
        line += byte
    if line.startswith(b"-"):
        text = line[1:].decode("utf-8", "replace").strip()
        raise CommandRefused(f"{words[0]}: {text}", code=text.split(" ", 1)[0])


def _packed(words: Sequence[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded)
