"""What of a replication stream is sent to the target, and how. Pure.

Most commands go as they came. What concerns the link itself (``PING``, ``REPLCONF``) is taken out,
and transactions are held until they are whole: an engine in cluster mode takes one only if all its
keys are of one slot, which those of a script, or of keys that expired meanwhile, need not be. Such
a one is applied command by command.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cachefleet.engine.feed.wire import StreamCommand, words_of
from cachefleet.engine.rdb.split import key_slot

# Commands whose first word is none of their keys.
_KEY_SECOND = frozenset({b"XGROUP", b"BITOP"})
_WITHOUT_KEY = frozenset(
    {b"SELECT", b"FLUSHALL", b"FLUSHDB", b"FUNCTION", b"SCRIPT", b"PING", b"SWAPDB"}
)


@dataclass(frozen=True, slots=True)
class Sending:
    """Bytes for the target, the replies that they make, and how far the stream is with them."""

    raw: bytes
    replies: int
    end: int


class Applier:
    """Turns commands into what is sent; keeps the database and the open transaction."""

    def __init__(self, database: int = 0) -> None:
        self.database = database
        self.ack_asked = False  # the source wants to hear how far we are
        self._open: list[StreamCommand] | None = None

    def take(self, commands: Iterable[StreamCommand]) -> list[Sending]:
        """Return what is to be sent for *commands*, in order."""
        found: list[Sending] = []
        for command in commands:
            name = command.name
            if self._open is not None:
                self._open.append(command)
                if name == b"EXEC":
                    found.append(_transaction(self._open))
                    self._open = None
            elif name == b"MULTI":
                self._open = [command]
            elif name == b"PING":
                found.append(Sending(b"", 0, command.end))
            elif name == b"REPLCONF":
                self.ack_asked = self.ack_asked or b"GETACK" in command.raw.upper()
                found.append(Sending(b"", 0, command.end))
            elif name == b"SELECT":
                found.append(self._select(command))
            else:
                found.append(Sending(command.raw, 1, command.end))
        return found

    def _select(self, command: StreamCommand) -> Sending:
        wanted = int(words_of(command.raw)[1])
        if wanted == self.database:
            return Sending(b"", 0, command.end)
        self.database = wanted
        return Sending(command.raw, 1, command.end)


def _transaction(commands: list[StreamCommand]) -> Sending:
    inner = commands[1:-1]
    slots = {slot for command in inner if (slot := slot_of(command)) is not None}
    sent = commands if len(slots) <= 1 else inner
    return Sending(b"".join(command.raw for command in sent), len(sent), commands[-1].end)


def slot_of(command: StreamCommand) -> int | None:
    """Return the slot of the command's first key; None where it has none.

    Replicas are sent effects, so no command has its keys further behind. A mistake here would cost
    a transaction that the target refuses, and thereby a new copy; never a wrong value.
    """
    if command.name in _WITHOUT_KEY:
        return None
    words = words_of(command.raw)
    at = 2 if command.name in _KEY_SECOND else 1
    return key_slot(words[at]) if len(words) > at else None
