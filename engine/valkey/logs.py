"""What a node writes about itself, as records: entries of the slow log, lines of its own log.

Pure. Records are what customers are sent: of a slow command its name and how many arguments it had,
never a key or a value. Lines that are no lines of the engine's (a crash report, a message of the
loader) go along as they are; debug lines do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SLOW_LOG, ENGINE_LOG = "slow-log", "engine-log"
LINE = re.compile(
    r"^\d+:(?P<role>[XCSM]) (?P<time>\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) (?P<mark>[-.*#]) "
    r"(?P<text>.*)$"
)
TIME_FORMAT = "%d %b %Y %H:%M:%S.%f"
LEVELS = {"-": "VERBOSE", "*": "NOTICE", "#": "WARNING"}
DEBUG_MARK = "."
MORE_ARGUMENTS = re.compile(r"^\.\.\. \((\d+) more arguments\)$")


@dataclass(frozen=True, slots=True)
class Source:
    """The node that a record is of."""

    cluster_id: str
    node_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowCommand:
    """An entry of the slow log. Ids count up, from 0 at the node's start."""

    id: int
    at_s: int
    duration_us: int
    name: str
    hidden_arguments: int
    client_address: str
    client_name: str

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.at_s, UTC)

    @property
    def command(self) -> str:
        if not self.hidden_arguments:
            return self.name
        return f"{self.name} ... ({self.hidden_arguments} more arguments)"

    def text(self, source: Source) -> str:
        """Return the record in the service's text form."""
        fields = (
            source.cluster_id,
            source.node_id,
            self.at_s,
            self.duration_us,
            self.command,
            self.client_address,
            self.client_name,
        )
        return ",".join(map(str, fields))

    def json(self, source: Source) -> str:
        """Return the record in the service's JSON form."""
        return json.dumps(
            {
                "CacheClusterId": source.cluster_id,
                "CacheNodeId": source.node_id,
                "Id": self.id,
                "Timestamp": self.at_s,
                "Duration (us)": self.duration_us,
                "Command": self.command,
                "ClientAddress": self.client_address,
                "ClientName": self.client_name,
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """A line of the node's own log."""

    at: datetime
    role: str
    mark: str
    message: str

    def text(self, source: Source) -> str:
        """Return the record in the service's text form."""
        when = f"{self.at:%d %b %Y %H:%M:%S}.{self.at.microsecond // 1000:03} UTC"
        return f"{source.cluster_id}/{source.node_id}:{self.role} {when} {self.mark} {self.message}"

    def json(self, source: Source) -> str:
        """Return the record in the service's JSON form."""
        return json.dumps(
            {
                "CacheClusterId": source.cluster_id,
                "CacheNodeId": source.node_id,
                "LogLevel": LEVELS[self.mark],
                "Role": self.role,
                "Time": f"{self.at:%d %b %Y %H:%M:%S}.{self.at.microsecond // 1000:03} UTC",
                "Message": self.message,
            }
        )


Record = SlowCommand | LogLine


def parse_slow_command(row: Sequence[Any]) -> SlowCommand:
    """Read one entry of ``SLOWLOG GET``."""
    words = [str(word) for word in row[3]]
    hidden = max(len(words) - 1, 0)
    cut = MORE_ARGUMENTS.match(words[-1]) if len(words) > 1 else None
    if cut is not None:
        hidden = len(words) - 2 + int(cut[1])
    return SlowCommand(
        id=int(row[0]),
        at_s=int(row[1]),
        duration_us=int(row[2]),
        name=words[0] if words else "",
        hidden_arguments=hidden,
        client_address=str(row[4]) if len(row) > 4 else "",
        client_name=str(row[5]) if len(row) > 5 else "",
    )


def parse_log_line(line: str, *, last: LogLine | None, now: datetime) -> LogLine | None:
    """Read a line of the log; None for one that is not delivered.

    The engine writes the machine's local time. A line without one belongs to the *last* that had.
    """
    match = LINE.match(line)
    if match is None:
        if not line.strip():
            return None
        return LogLine(
            at=last.at if last else now, role=last.role if last else "X", mark="#", message=line
        )
    if match["mark"] == DEBUG_MARK:
        return None
    at = datetime.strptime(match["time"], TIME_FORMAT).astimezone(UTC)
    return LogLine(at=at, role=match["role"], mark=match["mark"], message=match["text"])
