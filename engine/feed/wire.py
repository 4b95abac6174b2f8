"""The two byte streams that a feed reads, taken apart: commands of a primary, replies of a target.

Sans-IO. Bytes go in as they arrive; what is whole comes out. A stream that cannot be read is a
:class:`BrokenStream`: nothing behind it is known any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.replstream import BrokenStream

LINE_BYTES_MAX = 64 * 1024  # of a reply's first line; errors can be long
HEADER_BYTES_MAX = 32  # of a count or a length
WORDS_MAX = 1 << 20  # engines take as many
_LINES = b"+-:_#,("
_BULKS = b"$=!"
_LISTS = b"*~>"


@dataclass(frozen=True, slots=True)
class StreamCommand:
    """One command of a replication stream. ``end`` is the stream's offset behind it."""

    name: bytes  # upper case
    raw: bytes
    end: int


class CommandStream:
    """Cuts a replication stream into commands; *offset* is where it begins."""

    def __init__(self, offset: int) -> None:
        self.offset = offset  # behind the last command that was given
        self._unread = bytearray()

    @property
    def received(self) -> int:
        """Return the offset behind the last byte that has come."""
        return self.offset + len(self._unread)

    def feed(self, data: bytes) -> list[StreamCommand]:
        """Take what arrived; return the commands that are whole now.

        Raises:
            BrokenStream: these are no commands.
        """
        self._unread += data
        found: list[StreamCommand] = []
        begin = 0
        while True:
            end, name = _command_end(self._unread, begin)
            if end < 0:
                break
            self.offset += end - begin
            if name:  # an empty line keeps the connection alive; it counts all the same
                raw = bytes(self._unread[begin:end])
                found.append(StreamCommand(name, raw, self.offset))
            begin = end
        if begin:
            del self._unread[:begin]
        return found


def _command_end(data: bytearray, at: int) -> tuple[int, bytes]:
    """Return where the command at *at* ends, and its name; -1 while it is not whole."""
    if at >= len(data):
        return -1, b""
    if data[at] == 0x0A:
        return at + 1, b""
    if data[at] != 0x2A:
        raise BrokenStream(f"byte {data[at]:#x} does not begin a command")
    at, count = _header(data, at)
    if at < 0:
        return -1, b""
    if not 1 <= count <= WORDS_MAX:
        raise BrokenStream(f"a command of {count} words")
    name = b""
    for number in range(count):
        if at >= len(data):
            return -1, b""
        if data[at] != 0x24:
            raise BrokenStream(f"byte {data[at]:#x} does not begin a word")
        at, length = _header(data, at)
        if at < 0:
            return -1, b""
        if number == 0:
            name = bytes(data[at : at + length]).upper()
        at += length + 2
    return (at, name) if at <= len(data) else (-1, b"")


def _header(data: bytearray, at: int) -> tuple[int, int]:
    """Return where the line at *at* ends, and its number; -1 while it does not."""
    end = data.find(b"\r\n", at + 1, at + HEADER_BYTES_MAX)
    if end < 0:
        if len(data) - at >= HEADER_BYTES_MAX:
            raise BrokenStream("a length does not end")
        return -1, 0
    try:
        return end + 2, int(data[at + 1 : end])
    except ValueError:
        raise BrokenStream("a length is no number") from None


def words_of(raw: bytes) -> list[bytes]:
    """Return the words of a whole command."""
    at = raw.index(b"\r\n") + 2
    words = []
    while at < len(raw):
        end = raw.index(b"\r\n", at)
        length = int(raw[at + 1 : end])
        words.append(raw[end + 2 : end + 2 + length])
        at = end + 4 + length
    return words


def encode(words: Sequence[bytes]) -> bytes:
    """Return a command as clients send it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        parts.append(b"$%d\r\n" % len(word))
        parts.append(word)
        parts.append(b"\r\n")
    return b"".join(parts)


class Replies:
    """Cuts what a server answers into replies, each whole and as it came."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the replies that are whole now.

        Raises:
            BrokenStream: these are no replies.
        """
        self._unread += data
        found: list[bytes] = []
        begin = 0
        while (end := _reply_end(self._unread, begin)) > 0:
            found.append(bytes(self._unread[begin:end]))
            begin = end
        if begin:
            del self._unread[:begin]
        return found


def _reply_end(data: bytearray, at: int) -> int:
    """Return where the reply at *at* ends; 0 while it is not whole."""
    missing = 1
    while missing:
        if at >= len(data):
            return 0
        kind = data[at]
        end = data.find(b"\r\n", at, at + LINE_BYTES_MAX)
        if end < 0:
            if len(data) - at >= LINE_BYTES_MAX:
                raise BrokenStream("a line of a reply does not end")
            return 0
        missing -= 1
        if kind in _LINES:
            at = end + 2
            continue
        try:
            number = int(data[at + 1 : end])
        except ValueError:
            raise BrokenStream("the length of a reply is no number") from None
        at = end + 2
        if kind in _BULKS:
            at += number + 2 if number >= 0 else 0
            if at > len(data):
                return 0
        elif kind in _LISTS:
            missing += max(number, 0)
        elif kind in b"%|":
            missing += 2 * max(number, 0) + (kind == 0x7C)
        else:
            raise BrokenStream(f"{chr(kind)!r} begins no reply")
    return at


def error_of(reply: bytes) -> str | None:
    """Return what a reply complains of, itself or in a transaction; None for a good one."""
    at = 0 if reply.startswith(b"-") else -1
    if at < 0 and reply.startswith(b"*"):
        at = reply.find(b"\r\n-") + 2
        at = at if at >= 2 else -1
    if at < 0:
        return None
    return reply[at + 1 : reply.find(b"\r\n", at)].decode("utf-8", "replace")
