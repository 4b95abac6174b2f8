"""Remembers how far targets are, so that a link that broke can go on without a new copy. Pure.

A mark says: when the target's own stream was at this offset, it had the source's up to that one. A
target whose stream stands at a mark, byte for byte, is exactly there; any other is not known to be
anywhere, because commands of the source are not the commands that a target passes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from cachefleet.engine.feed.links import IllegalLinks, Position, position_of

MARKS_MAX = 64
STATE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetView:
    """What a target says of its own stream: its history, the one before that, and its offset."""

    replication_id: str
    former_id: str
    former_end: int  # how far the former history goes; -1 where there is none
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """The target at ``at`` has what the source had at ``source``."""

    source: Position
    at: Position


class Marks:
    """The newest marks of one link."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks = list(marks)[-MARKS_MAX:]

    @property
    def newest(self) -> Mark | None:
        return self._marks[-1] if self._marks else None

    def add(self, mark: Mark) -> None:
        """Remember *mark*."""
        self._marks.append(mark)
        del self._marks[:-MARKS_MAX]

    def forget(self) -> None:
        """Remember nothing: what the target has is changed by other means."""
        self._marks.clear()

    def find(self, target: TargetView) -> Position | None:
        """Return what of the source *target* has; None where that is not certain."""
        for mark in reversed(self._marks):
            if mark.at.offset != target.offset:
                continue
            if mark.at.replication_id == target.replication_id:
                return mark.source
            # Promoted since, and nothing came in between: its history begins where that one ends.
            ends = target.former_end - 1 == target.offset
            if mark.at.replication_id == target.former_id and ends:
                return mark.source
        return None


def render_state(marks: Mapping[str, Mark]) -> str:
    """Return the text in which the newest mark of each link, by token, is kept."""
    return json.dumps({token: asdict(mark) for token, mark in sorted(marks.items())}) + "\n"


def parse_state(text: str) -> dict[str, Mark]:
    """Read it back; whatever cannot be read is not known, and costs a copy."""
    if len(text) > STATE_BYTES_MAX:
        return {}
    try:
        rows = json.loads(text)
        return {
            str(token): Mark(
                source=position_of(row["source"], token), at=position_of(row["at"], token)
            )
            for token, row in rows.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IllegalLinks):
        return {}
