"""The stream that a primary sends a replica: bytes in, the bytes of one RDB out. No sockets.

After ``PSYNC ? -1`` the primary answers ``+FULLRESYNC <replid> <offset>``, sends line ends while it
prepares, then the RDB: ``$<length>`` and so many bytes, or ``$EOF:<mark>`` and bytes up to the
mark. A stream that ends before that has no RDB in it, whatever has arrived: :meth:`finish` says so.

The mark is the last that comes: nothing follows it before the replica has acknowledged the RDB, and
whoever only copies never does. So it is looked for at the end of what arrived, not in all of it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TypeAlias

from cachefleet.engine.errors import CommandRefused, EngineError

LINE_BYTES_MAX = 1024  # no line of the handshake is a tenth of this
MARK_BYTES = 40
EOF_PREFIX = b"$EOF:"

Part: TypeAlias = "bytes | memoryview"


class BrokenStream(EngineError):
    """What arrived is not what a primary sends, or ended before it was whole."""


class _State(enum.Enum):
    ANSWER = enum.auto()
    PREAMBLE = enum.auto()
    COUNTED = enum.auto()
    MARKED = enum.auto()
    WHOLE = enum.auto()


class FullSyncReader:
    """Reads one full resynchronisation. Feed it what arrives; it gives back parts of the RDB."""

    def __init__(self) -> None:
        self._state = _State.ANSWER
        self._line = bytearray()
        self._left = 0  # bytes that are to come, where they are counted
        self._mark = b""
        self._held = b""  # the end of what arrived: it may be the beginning of the mark
        self.replication_id = ""
        self.offset = 0
        self.rest = b""  # what came behind the RDB in the same piece

    @property
    def began(self) -> bool:
        """Whether the primary has agreed to send a copy."""
        return self._state is not _State.ANSWER

    @property
    def whole(self) -> bool:
        """Whether the last byte of the RDB has been given back."""
        return self._state is _State.WHOLE

    def is_due(self, data: Part) -> bool:
        """Tell whether *data* has to be fed now; otherwise more may be put behind it first."""
        match self._state:
            case _State.COUNTED:
                return len(data) >= self._left
            case _State.MARKED:
                return self._tail(data) == self._mark
            case _:
                return True

    def feed(self, data: Part) -> Iterator[Part]:
        """Give back the parts of the RDB that *data* completes, in order; never an empty one.

        A part may be a view of *data*: it is good until that changes.

        Raises:
            CommandRefused: the primary said no.
            BrokenStream: it said something else than it may.
        """
        view = memoryview(data)
        if self._state in (_State.ANSWER, _State.PREAMBLE):
            view = view[self._read_lines(bytes(view)) :]
        if not view:
            return
        if self._state is _State.COUNTED:
            part = view[: self._left]
            self._left -= len(part)
            if not self._left:
                self._state = _State.WHOLE
                self.rest = bytes(view[len(part) :])
            yield part
        elif self._state is _State.MARKED:
            yield from self._until_mark(view)

    def finish(self) -> None:
        """Raise :class:`BrokenStream` unless the RDB is whole; called when the stream has ended."""
        if not self.whole:
            raise BrokenStream("the stream ended before the copy was whole")

    def _read_lines(self, data: bytes) -> int:
        """Take the lines before the RDB; return where they end."""
        position = 0
        while position < len(data) and self._state in (_State.ANSWER, _State.PREAMBLE):
            position = self._read_line(data, position)
        return position

    def _read_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position, position + LINE_BYTES_MAX)
        if end < 0:
            self._line += data[position:]
            if len(self._line) > LINE_BYTES_MAX:
                raise BrokenStream("a line of the handshake does not end")
            return len(data)
        line = bytes(self._line + data[position:end]).rstrip(b"\r")
        self._line.clear()
        if line:  # an empty one keeps the connection alive
            self._take_line(line)
        return end + 1

    def _take_line(self, line: bytes) -> None:
        if line.startswith(b"-"):
            text = line[1:].decode("utf-8", "replace")
            raise CommandRefused(f"PSYNC: {text}", code=text.split(" ", 1)[0])
        if self._state is _State.ANSWER:
            words = line.split()
            if len(words) != 3 or words[0] != b"+FULLRESYNC" or not words[2].isdigit():
                raise BrokenStream(f"{line[:80]!r} does not begin a full copy")
            self.replication_id = words[1].decode("ascii", "replace")
            self.offset = int(words[2])
            self._state = _State.PREAMBLE
        elif line.startswith(EOF_PREFIX) and len(line) == len(EOF_PREFIX) + MARK_BYTES:
            self._mark = line.removeprefix(EOF_PREFIX)
            self._state = _State.MARKED
        elif line.startswith(b"$") and line[1:].isdigit() and int(line[1:]):
            self._left = int(line[1:])
            self._state = _State.COUNTED
        else:
            raise BrokenStream(f"{line[:80]!r} does not begin an RDB")

    def _until_mark(self, view: memoryview) -> Iterator[Part]:
        """Give back what certainly stands before the mark, and keep what may be part of it."""
        ended = self._tail(view) == self._mark
        if ended:
            self._state = _State.WHOLE
        total = len(self._held) + len(view)
        given = total - (MARK_BYTES if ended else min(MARK_BYTES - 1, total))
        from_held = min(len(self._held), given)
        before, kept = self._held[:from_held], self._held[from_held:]
        rest = given - from_held
        self._held = kept + bytes(view[rest:])
        if before:
            yield before
        if rest:
            yield view[:rest]

    def _tail(self, data: Part) -> bytes:
        """Return the last bytes of all that is known once *data* has come, as many as a mark."""
        return (self._held + bytes(data[-MARK_BYTES:]))[-MARK_BYTES:]
