"""The commands that open a Valkey or Redis OSS connection, read and rewritten. Sans-IO.

Clients authenticate before anything else, so only the first commands of a connection are read:
up to the first that is none of ``OPENING``. From there on bytes pass as they are, at no cost. What
cannot be read, or is larger than any such command, is passed on whole and is the engine's to
refuse: nothing is ever answered here, and nothing but one command is held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

COMMAND_BYTES_MAX: Final = 16 * 1024  # an IAM token has 1 to 2 KiB
WORDS_MAX: Final = 16
LINE_BYTES_MAX: Final = 64  # of a count or a length
# What clients send before, between and behind their AUTH or HELLO. INFO, COMMAND and CLUSTER are
# asked by some to find out where they are.
OPENING: Final = frozenset(
    (b"AUTH", b"HELLO", b"CLIENT", b"SELECT", b"PING", b"READONLY", b"ECHO", b"INFO", b"COMMAND")
)

Words = list[bytes]
Rewrite = Callable[[Words], Words]


class Unreadable(Exception):
    """Not a command of which we want to know more."""


class Opening:
    """Implements :class:`~cachefleet.engine.gateway.interception.Interceptor`.

    *rewrite* is given the words of each opening command and returns those that the engine gets;
    it is never given another command.
    """

    def __init__(self, rewrite: Rewrite) -> None:
        self._rewrite = rewrite
        self._unread = bytearray()
        self._open = True

    def client_sent(self, data: bytes) -> bytes:
        """Return what the engine gets now."""
        if not self._open:
            return data
        self._unread += data
        passed: list[bytes] = []
        while self._open and self._unread:
            try:
                end, words = next_command(self._unread)
            except Unreadable:
                self._open = False
                break
            if end == 0:
                # Half of a command; the rest of a longer one is not waited for.
                self._open = len(self._unread) <= COMMAND_BYTES_MAX
                break
            if words and words[0].upper() not in OPENING:
                self._open = False
                break
            raw = bytes(self._unread[:end])
            del self._unread[:end]
            passed.append(self._rewritten(raw, words))
        if not self._open:
            passed.append(self._take())
        return b"".join(passed)

    def backend_sent(self, data: bytes) -> bytes:
        """Pass on what the engine says."""
        return data

    def client_finished(self) -> bytes:
        """Return what is left of a command that did not end."""
        self._open = False
        return self._take()

    def backend_finished(self) -> bytes:
        """Hold nothing back."""
        return b""

    def _rewritten(self, raw: bytes, words: Words) -> bytes:
        if not words:
            return raw  # an empty line is no command, and gets no answer
        wanted = self._rewrite(list(words))
        return raw if wanted == words else encode(wanted)

    def _take(self) -> bytes:
        rest, self._unread = bytes(self._unread), bytearray()
        return rest


def encode(words: Sequence[bytes]) -> bytes:
    """Return a command as clients send it."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def next_command(data: bytes | bytearray) -> tuple[int, Words]:
    """Return where the first command of *data* ends, and its words; 0 while it is not whole.

    Raises:
        Unreadable: it is none, or too large to be one that opens a connection.
    """
    if data[:1] != b"*":
        return _inline(data)
    at, count = _number(data, 1)
    if at == 0:
        return 0, []
    if count > WORDS_MAX:
        raise Unreadable
    words: Words = []
    for _ in range(count):
        if at >= len(data):
            return 0, []
        if data[at : at + 1] != b"$":
            raise Unreadable
        at, length = _number(data, at + 1)
        if at == 0:
            return 0, []
        if length > COMMAND_BYTES_MAX:
            raise Unreadable
        end = at + length + 2
        if len(data) < end:
            return 0, []
        # The engine does not look at these two bytes, so neither may we.
        words.append(bytes(data[at : at + length]))
        at = end
    return at, words


def _number(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return where the line that begins at *at* ends, and its number; 0 while it has no end."""
    end = data.find(b"\r\n", at, at + LINE_BYTES_MAX)
    if end < 0:
        if len(data) - at >= LINE_BYTES_MAX:
            raise Unreadable
        return 0, 0
    digits = bytes(data[at:end])
    if not digits.isdigit() or len(digits) > 10:
        raise Unreadable
    return end + 2, int(digits)


def _inline(data: bytes | bytearray) -> tuple[int, Words]:
    end = data.find(b"\n", 0, COMMAND_BYTES_MAX)
    if end < 0:
        return 0, []
    line = bytes(data[:end])
    # Quotes have rules of their own: such a line is for the engine to read.
    if b'"' in line or b"'" in line:
        raise Unreadable
    return end + 1, line.split()
