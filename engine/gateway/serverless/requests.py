"""Commands of a Valkey or Redis OSS client, read one after the other. Sans-IO.

What is not whole is kept; how much has to be there before it is worth another look is known from
the lengths, so that a large value which arrives in small parts is not looked at for each of them.
"""

from __future__ import annotations

from typing import Final

WORDS_MAX: Final = 3_999  # arguments of one command, a limit of the service
WORD_BYTES_MAX: Final = 512 * 1024 * 1024
COMMAND_BYTES_MAX: Final = 1024 * 1024 * 1024  # a client's query buffer on the service
LINE_BYTES_MAX: Final = 64 * 1024  # of what a person types
NUMBER_BYTES_MAX: Final = 12

Command = tuple[list[bytes], bytes]


class BadRequest(Exception):
    """The client does not speak the protocol; ``args[0]`` is the error it gets before the end."""


class RequestReader:
    """Holds what is unread of one connection."""

    __slots__ = ("_at", "_data", "_need", "_parts", "_size")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # where the next command begins
        self._parts: list[bytes] = []  # that came behind _data
        self._size = 0  # of all that is unread
        self._need = 1  # there is no command in less

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._size += len(data)
        self._parts.append(data)

    @property
    def unread_bytes(self) -> int:
        """How much is held."""
        return self._size

    def next_command(self) -> Command | None:
        """Return the words of the next command and its bytes; None while it is not whole.

        Raises:
            BadRequest: it is none.
        """
        if self._size < self._need:
            return None
        if self._parts:
            self._data = b"".join((self._data[self._at :], *self._parts))
            self._parts.clear()
            self._at = 0
        data, start = self._data, self._at
        if data[start : start + 1] != b"*":
            return self._inline(data, start)
        at, count = self._number(data, start + 1)
        if at == 0:
            return None
        if count > WORDS_MAX + 1:
            raise BadRequest(b"-ERR Protocol error: invalid multibulk length\r\n")
        words = []
        for _ in range(count):
            if data[at : at + 1] != b"$":
                if at >= len(data):
                    self._need = at - start + 1
                    return None
                raise BadRequest(
                    b"-ERR Protocol error: expected '$', got '%b'\r\n" % data[at : at + 1]
                )
            at, length = self._number(data, at + 1)
            if at == 0:
                return None
            if length > WORD_BYTES_MAX:
                raise BadRequest(b"-ERR Protocol error: invalid bulk length\r\n")
            end = at + length + 2
            if end > len(data):
                if end - start > COMMAND_BYTES_MAX:
                    raise BadRequest(b"-ERR Protocol error: too big a command\r\n")
                self._need = end - start
                return None
            words.append(data[at : end - 2])
            at = end
        self._took(at)
        return words, data[start:at]

    def _took(self, at: int) -> None:
        self._size -= at - self._at
        self._at = at
        self._need = 1

    def _number(self, data: bytes, at: int) -> tuple[int, int]:
        """Return where the line ends that begins at *at*, and its number; 0 while it has no end."""
        end = data.find(b"\r\n", at, at + NUMBER_BYTES_MAX + 2)
        if end < 0:
            if len(data) - at > NUMBER_BYTES_MAX + 1:
                raise BadRequest(b"-ERR Protocol error: invalid bulk length\r\n")
            self._need = len(data) - self._at + 1
            return 0, 0
        digits = data[at:end]
        if not digits.isdigit():
            if digits[:1] == b"-" and digits[1:].isdigit():
                return end + 2, 0  # as the engines: no command at all
            raise BadRequest(b"-ERR Protocol error: invalid bulk length\r\n")
        return end + 2, int(digits)

    def _inline(self, data: bytes, start: int) -> Command | None:
        end = data.find(b"\n", start)
        if end < 0:
            if len(data) - start > LINE_BYTES_MAX:
                raise BadRequest(b"-ERR Protocol error: too big inline request\r\n")
            self._need = len(data) - start + 1
            return None
        words = data[start:end].split()
        self._took(end + 1)
        return words, encode(words) if words else b""


def encode(words: list[bytes] | tuple[bytes, ...]) -> bytes:
    """Return a command as clients send it."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)
