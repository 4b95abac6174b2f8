"""Replies of the wire protocol (RESP2) as bytes in, values out, with a limit on their size.

For connections on which people ask whatever they like: a reply that is too large is given up before
it is in memory. No sockets, no clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final, Literal

DEPTH_MAX = 16
LINE_BYTES_MAX = 64 * 1024


class _Signal(enum.Enum):
    NEED_DATA = enum.auto()


NEED_DATA: Final[Literal[_Signal.NEED_DATA]] = _Signal.NEED_DATA


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """The node said no; *text* begins with a code such as ``ERR``."""

    text: str


class ReplyTooLarge(Exception):
    """The reply is larger than the reader takes; the connection cannot be used any more."""


class NotAReply(Exception):
    """What came is not of the protocol."""


class ReplyReader:
    """Holds what is unread of one connection; *bytes_max* bounds one reply."""

    def __init__(self, *, bytes_max: int) -> None:
        self._unread = bytearray()
        self._bytes_max = bytes_max

    def feed(self, data: bytes) -> None:
        self._unread += data

    def next_reply(self) -> Any:
        """Return a whole reply, or ``NEED_DATA``.

        Raises:
            ReplyTooLarge: it is, or says that it will be.
            NotAReply: it is none.
        """
        found = self._parse(0, 0)
        if found is None:
            if len(self._unread) > self._bytes_max:
                raise ReplyTooLarge
            return NEED_DATA
        value, end = found
        if end > self._bytes_max:
            raise ReplyTooLarge
        del self._unread[:end]
        return value

    def _parse(self, at: int, depth: int) -> tuple[Any, int] | None:
        """Return the value that begins at *at* and where it ends, or None where that is unread."""
        if depth > DEPTH_MAX:
            raise ReplyTooLarge
        end = self._unread.find(b"\r\n", at)
        if end < 0:
            if len(self._unread) - at > max(LINE_BYTES_MAX, self._bytes_max):
                raise ReplyTooLarge
            return None
        kind, line = self._unread[at : at + 1], bytes(self._unread[at + 1 : end])
        after = end + 2
        if kind == b"+":
            return line, after
        if kind == b"-":
            return ErrorReply(line.decode("utf-8", "replace")), after
        if kind == b":":
            return _number(line), after
        if kind == b"$":
            return self._bulk(_number(line), after)
        if kind == b"*":
            return self._array(_number(line), after, depth)
        raise NotAReply(f"a reply begins with {bytes(kind)!r}")

    def _bulk(self, size: int, at: int) -> tuple[bytes | None, int] | None:
        if size < 0:
            return None, at
        if size > self._bytes_max:
            raise ReplyTooLarge
        end = at + size
        if len(self._unread) < end + 2:
            return None
        return bytes(self._unread[at:end]), end + 2

    def _array(self, count: int, at: int, depth: int) -> tuple[list[Any] | None, int] | None:
        if count < 0:
            return None, at
        if count > self._bytes_max:
            raise ReplyTooLarge
        items: list[Any] = []
        for _ in range(count):
            found = self._parse(at, depth + 1)
            if found is None:
                return None
            value, at = found
            items.append(value)
        return items, at


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise NotAReply(f"{line[:40]!r} is no number") from None


def packed(words: list[str | bytes]) -> bytes:
    """Return a command as it is sent."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode() if isinstance(word, str) else word
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)
