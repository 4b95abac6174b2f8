"""One node's records of one log, from where they are written to where they are taken.

Reading and sending are apart: what was read waits in a queue that is bounded in records and bytes,
and drops the oldest. How far was delivered is noted in the node's directory after each batch, so
that a restart goes on from there: a record can come twice, and is lost only when too many wait.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cachefleet.engine.valkey.logs import (
    LogLine,
    Record,
    SlowCommand,
    parse_log_line,
)

RECORDS_WAITING_MAX = 2_000
BYTES_WAITING_MAX = 1024 * 1024
BATCH_MAX = 500
READ_BYTES_MAX = 256 * 1024  # of a log file at one look
SLOW_COMMANDS_MAX = 1_024  # at one look


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read: the slow log's last id, or the file's offset, and whose they are.

    ``origin`` tells one start of the node's process (slow log) or one file (engine log) from
    another, where counting begins anew.
    """

    origin: str = ""
    at: int = -1


@dataclass(slots=True)
class Waiting:
    """A record that has yet to be taken, and how far the log was read with it."""

    record: Record
    position: Position
    size_bytes: int


@dataclass(slots=True)
class Queue:
    """What waits, bounded: the oldest go first."""

    dropped: int = 0
    _waiting: deque[Waiting] = field(default_factory=deque)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, record: Record, position: Position, *, size_bytes: int) -> None:
        """Add a record, at the cost of older ones where there is no room."""
        self._waiting.append(Waiting(record, position, size_bytes))
        self._bytes += size_bytes
        while len(self._waiting) > RECORDS_WAITING_MAX or self._bytes > BYTES_WAITING_MAX:
            if len(self._waiting) == 1:
                break  # one that is larger than all room is let through
            self._bytes -= self._waiting.popleft().size_bytes
            self.dropped += 1

    def head(self) -> list[Waiting]:
        """Return the next batch, which stays until :meth:`taken`."""
        return [self._waiting[index] for index in range(min(BATCH_MAX, len(self._waiting)))]

    def taken(self, batch: Sequence[Waiting]) -> None:
        """Forget what was delivered; some of it may have been dropped meanwhile."""
        gone = {id(one) for one in batch}
        while self._waiting and id(self._waiting[0]) in gone:
            self._bytes -= self._waiting.popleft().size_bytes


def new_slow_commands(
    rows: Sequence[SlowCommand], *, origin: str, since: Position
) -> list[SlowCommand]:
    """Return the commands of customers that came behind *since*, oldest first.

    Those that came over the control socket are ours, and nobody's business.
    """
    after = since.at if since.origin == origin else -1
    fresh = [row for row in rows if row.id > after and not row.client_address.startswith("/")]
    return sorted(fresh, key=lambda row: row.id)


Read = tuple[LogLine, Position]


@dataclass(slots=True)
class Tail:
    """Reads a log file from where it was left, whole lines only. A new file is read from 0."""

    path: Path
    last: LogLine | None = None

    def read(self, since: Position, *, now: datetime) -> tuple[list[Read], Position]:
        """Return the lines behind *since*, each with where it ends, and how far was read."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                origin, size = str(status.st_ino), status.st_size
                start = since.at if since.origin == origin and 0 <= since.at <= size else 0
                # Behind by more than can wait: what would be dropped is not read either.
                start = max(start, size - BYTES_WAITING_MAX)
                file.seek(start)
                data = file.read(READ_BYTES_MAX)
        except OSError:
            return [], since
        lines, offset = [], start
        for raw in data.splitlines(keepends=True):
            if not raw.endswith(b"\n") and len(data) < READ_BYTES_MAX:
                break  # it is still being written
            offset += len(raw)
            line = parse_log_line(
                raw.decode(errors="replace").rstrip("\r\n"), last=self.last, now=now
            )
            if line is not None:
                self.last = line
                lines.append((line, Position(origin, offset)))
        return lines, Position(origin, offset)


def load_position(path: Path) -> Position:
    """Return the position that was noted; the beginning where there is none."""
    try:
        told = json.loads(path.read_text())
        return Position(str(told["origin"]), int(told["at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Position()


def save_position(path: Path, position: Position) -> None:
    """Note how far was delivered; a node that is gone has nowhere to note it."""
    aside = path.with_name(path.name + ".aside")
    try:
        aside.touch(mode=0o600)
        aside.write_text(json.dumps({"origin": position.origin, "at": position.at}))
        aside.replace(path)
    except OSError:
        return
