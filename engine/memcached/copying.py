"""Takes a copy of a bundled server's items, and knows one that is whole.

Blocking, for a thread. Comes in by the node's control socket; the server forks to make the copy,
and serves its clients meanwhile. What arrives is a memory file, as the server writes it at an
orderly stop: its last bytes prove all that is before them.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cachefleet.engine.errors import CommandRefused, EngineError, NodeUnreachable
from cachefleet.engine.memserver.memfile import DIGEST_BYTES, FLAGS_AND_SIZE, HEADER, MAGIC
from cachefleet.engine.replstream import Part
from cachefleet.engine.valkey.copying import CopyHandle

FORMAT = "ITEMS 1"  # as a snapshot's manifest says it
RECEIVE_BYTES = 1 << 20
SILENCE_S_MAX = 60.0
LINE_BYTES_MAX = 1024
CAS_BYTES = 8

_TIMEVAL = struct.Struct("@ll")
_HEADER = struct.Struct(HEADER)
_FLAGS_BYTES = struct.calcsize(FLAGS_AND_SIZE)

Take = Callable[[Part], None]


class NotItems(EngineError):
    """The file is no whole memory file; the message says what is wrong with it."""


class ItemsCheck:
    """Tells whether what goes by is a whole memory file."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._digest = hashlib.sha256()

    def see(self, data: Part) -> None:
        """Look at the next part."""
        if len(self._head) < len(MAGIC):
            self._head += bytes(data[: len(MAGIC) - len(self._head)])
        if len(data) >= DIGEST_BYTES:
            self._digest.update(self._tail)
            self._digest.update(data[:-DIGEST_BYTES])
            self._tail = bytes(data[-DIGEST_BYTES:])
            return
        joined = self._tail + bytes(data)
        cut = max(0, len(joined) - DIGEST_BYTES)
        self._digest.update(joined[:cut])
        self._tail = joined[cut:]

    def conclude(self) -> str:
        """Return what the format is called.

        Raises:
            NotItems: it was another file, or not all of it.
        """
        if self._head != MAGIC:
            raise NotItems("it does not begin as a file of items does")
        if not hmac.compare_digest(self._digest.digest(), self._tail):
            raise NotItems("it is cut short, or was changed")
        return FORMAT


def copy_items(unix_socket: str, *, take: Take, handle: CopyHandle) -> None:
    """Give the parts of a memory file of all the node's items to *take*, in order, to its end.

    A part is good until *take* returns. Whether they were all is for :class:`ItemsCheck` to say.

    Raises:
        NodeUnreachable: the node did not answer.
        CommandRefused: it said no.
        Abandoned: the copy was called off; whatever *take* raises.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    silence = _TIMEVAL.pack(int(SILENCE_S_MAX), 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, silence)
    with connection, handle.holding(connection):
        try:
            connection.connect(unix_socket)
            connection.sendall(b"cachefleet dump\r\n")
            head = _first(connection)
        except OSError as error:
            handle.check()
            raise NodeUnreachable(f"the copy broke off: {error}") from error
        take(head)
        buffer = memoryview(bytearray(RECEIVE_BYTES))
        while count := _received(connection, buffer, handle):
            take(buffer[:count])


def _first(connection: socket.socket) -> bytes:
    """Return the first bytes of a copy.

    Raises:
        CommandRefused: there is none.
        OSError: nothing came.
    """
    head = b""
    while len(head) < len(MAGIC) and MAGIC.startswith(head):
        data = connection.recv(len(MAGIC) - len(head))
        if not data:
            raise OSError("it hung up")
        head += data
    if head != MAGIC:
        text = (head + connection.recv(LINE_BYTES_MAX)).decode("utf-8", "replace").strip()
        raise CommandRefused(f"dump: {text}", code=text.split(" ", 1)[0])
    return head


def _received(connection: socket.socket, buffer: memoryview, handle: CopyHandle) -> int:
    filled = 0
    while filled < len(buffer):
        try:
            count = connection.recv_into(buffer[filled:])
        except OSError as error:
            handle.check()
            raise NodeUnreachable(f"the copy broke off: {error}") from error
        handle.check()
        if not count:
            break
        filled += count
    return filled


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """One item of a memory file, without its value. *size_bytes* is of key and value."""

    key: bytes
    size_bytes: int
    expires: bool


def walk_items(file: BinaryIO, length: int) -> Iterator[ItemRecord]:
    """Give the items of a memory file of *length* bytes, which was seen to be whole.

    Raises:
        NotItems: it is none.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise NotItems("it does not begin as a file of items does")
    file.seek(CAS_BYTES, 1)
    while file.tell() < length - DIGEST_BYTES:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            raise NotItems("it is cut short")
        expiry, _, _, key_bytes, value_bytes = _HEADER.unpack(head)
        file.seek(_FLAGS_BYTES, 1)
        key = file.read(key_bytes)
        file.seek(value_bytes, 1)
        yield ItemRecord(key, key_bytes + value_bytes, bool(expiry))
