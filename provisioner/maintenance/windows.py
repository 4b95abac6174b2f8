"""Weekly maintenance windows as instants: is one open, and when does the next begin. Pure.

A window is ``sun:05:00-sun:06:00`` in UTC. It may go over midnight, and over the end of the week.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = timedelta(days=7)

_DAY = "|".join(DAYS)
_WINDOW = re.compile(
    rf"({_DAY}):([01][0-9]|2[0-3]):([0-5][0-9])-({_DAY}):([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII
)


class NotAWindow(ValueError):
    """The text is no weekly window."""


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly window: how long after the beginning of Monday it opens, and for how long."""

    opens: timedelta
    length: timedelta

    def opened_at(self, instant: datetime) -> datetime | None:
        """Return when the window that is open at *instant* opened, or None while it is closed."""
        start = self._last_start(instant)
        return start if instant < start + self.length else None

    def is_open(self, instant: datetime) -> bool:
        """Tell whether *instant* is inside; the window's end is outside."""
        return self.opened_at(instant) is not None

    def next_start(self, instant: datetime) -> datetime:
        """Return when the window opens next, strictly after *instant*."""
        return self._last_start(instant) + WEEK

    def _last_start(self, instant: datetime) -> datetime:
        """Return the latest start that is not after *instant*."""
        utc = instant.astimezone(UTC)
        midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
        start = midnight - timedelta(days=utc.weekday()) + self.opens
        return start if start <= utc else start - WEEK


def parse_window(text: str) -> Window:
    """Read ``ddd:hh:mm-ddd:hh:mm``.

    Raises:
        NotAWindow: it is something else, or has no length.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise NotAWindow(text)
    first, last = _offset(*match.groups()[:3]), _offset(*match.groups()[3:])
    length = (last - first) % WEEK
    if not length:
        raise NotAWindow(text)
    return Window(opens=first, length=length)


def _offset(day: str, hour: str, minute: str) -> timedelta:
    return timedelta(days=DAYS.index(day), hours=int(hour), minutes=int(minute))
