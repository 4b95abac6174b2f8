"""Weekly maintenance windows and daily snapshot windows: their form, their length, their defaults.

Times are UTC. A window that nobody chose is drawn from the hash of the resource's name, so that
resources spread over the hours in which the region is quiet, and the same name gets the same one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cachefleet.api.faults import Fault
from cachefleet.api.validation.refusals import wrong_value

MINUTES_MIN = 60
MAINTENANCE_MINUTES_MAX = 24 * 60
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
DEFAULT_MINUTES = 60

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_DAY = "|".join(DAYS)
_MAINTENANCE = re.compile(rf"({_DAY}):({_CLOCK})-({_DAY}):({_CLOCK})", re.ASCII)
_SNAPSHOT = re.compile(rf"({_CLOCK})-({_CLOCK})", re.ASCII)

# The eight hours from which the service draws windows, by region: minute of the day they begin.
_QUIET_MINUTES = 8 * 60
_QUIET_STARTS: Mapping[str, str] = MappingProxyType(
    {
        "af-south-1": "13:00",
        "ap-east-1": "13:00",
        "ap-northeast-1": "13:00",
        "ap-northeast-2": "12:00",
        "ap-northeast-3": "12:00",
        "ap-south-1": "17:30",
        "ap-southeast-1": "14:00",
        "ap-southeast-2": "12:00",
        "ap-southeast-3": "14:00",
        "cn-north-1": "14:00",
        "cn-northwest-1": "14:00",
        "eu-central-1": "23:00",
        "eu-south-1": "21:00",
        "eu-west-1": "22:00",
        "eu-west-2": "23:00",
        "eu-west-3": "23:59",
        "me-central-1": "13:00",
        "me-south-1": "13:00",
        "sa-east-1": "01:00",
        "us-east-1": "03:00",
        "us-east-2": "04:00",
        "us-gov-west-1": "06:00",
        "us-west-1": "06:00",
        "us-west-2": "06:00",
    }
)
_QUIET_START_ELSEWHERE = "22:00"


@dataclass(frozen=True, slots=True)
class Windows:
    """Both windows of a resource as they are stored; memcached has no snapshot window."""

    maintenance: str
    snapshot: str | None


def choose_windows(
    *, region: str, name: str, maintenance: str | None, snapshot: str | None, has_snapshots: bool
) -> Windows:
    """Return the windows that were asked for, with a default for each that was not.

    Raises:
        Fault: ``InvalidParameterValue`` for a window that is malformed, too short or too long, or
            for two that overlap.
    """
    wanted = maintenance.lower() if maintenance else None
    if wanted is not None:
        _maintenance_span(wanted)
    if snapshot:
        _snapshot_span(snapshot)
    slots = _quiet_slots(region, name)
    day = DAYS[_digest(f"{region}/{name}/day") % len(DAYS)]
    if wanted is None:
        wanted = next(
            (
                window
                for window in (_maintenance_text(day, slot) for slot in slots)
                if not snapshot or not overlap(window, snapshot)
            ),
            _maintenance_text(day, slots[0]),
        )
    if not has_snapshots:
        return Windows(wanted, None)
    if snapshot:
        check_apart(wanted, snapshot)
        return Windows(wanted, snapshot)
    # A maintenance window that covers every slot leaves no choice; the next hours do as well.
    free = (slot for slot in slots if not overlap(wanted, _snapshot_text(slot)))
    return Windows(wanted, _snapshot_text(next(free, slots[-1])))


def check_maintenance_window(window: str) -> str:
    """Return a maintenance window as it is stored.

    Raises:
        Fault: ``InvalidParameterValue``.
    """
    _maintenance_span(window.lower())
    return window.lower()


def check_snapshot_window(window: str) -> str:
    """Return a snapshot window as it is stored.

    Raises:
        Fault: ``InvalidParameterValue``.
    """
    _snapshot_span(window)
    return window


def check_apart(maintenance: str, snapshot: str) -> None:
    """Refuse two valid windows that share a minute."""
    if overlap(maintenance, snapshot):
        raise wrong_value(
            f"The snapshot window {snapshot} and the maintenance window {maintenance} must not "
            "overlap."
        )


def overlap(maintenance: str, snapshot: str) -> bool:
    """Say whether a weekly and a daily window share a minute. Both must be valid."""
    first, length = _maintenance_span(maintenance)
    daily_first, daily_length = _snapshot_span(snapshot)
    # From the start of one, the other must not begin before it ends; on the circle of a day,
    # where a weekly window of at most a day comes round like a daily one.
    start = first % DAY_MINUTES
    return (daily_first - start) % DAY_MINUTES < length or (
        start - daily_first
    ) % DAY_MINUTES < daily_length


def _maintenance_span(window: str) -> tuple[int, int]:
    """Return the minute of the week and the length of a maintenance window."""
    match = _MAINTENANCE.fullmatch(window)
    if match is None:
        raise wrong_value(
            f"Invalid maintenance window format: {window}. "
            "Should be specified as a range ddd:hh24:mi-ddd:hh24:mi (24H Clock UTC)."
        )
    first_day, first, last_day, last = match.groups()
    start = DAYS.index(first_day) * DAY_MINUTES + _minute(first)
    end = DAYS.index(last_day) * DAY_MINUTES + _minute(last)
    length = (end - start) % WEEK_MINUTES
    if length < MINUTES_MIN:
        raise _too_short("Maintenance")
    if length > MAINTENANCE_MINUTES_MAX:
        raise wrong_value("Maintenance window must be at most 24 hours.")
    return start, length


def _snapshot_span(window: str) -> tuple[int, int]:
    """Return the minute of the day and the length of a snapshot window."""
    match = _SNAPSHOT.fullmatch(window)
    if match is None:
        raise wrong_value(
            f"Invalid snapshot window format: {window}. "
            "Should be specified as a range hh24:mi-hh24:mi (24H Clock UTC)."
        )
    start, end = _minute(match[1]), _minute(match[2])
    length = (end - start) % DAY_MINUTES
    if length < MINUTES_MIN:
        raise _too_short("Snapshot")
    return start, length


def _too_short(kind: str) -> Fault:
    return wrong_value(f"{kind} window must be at least {MINUTES_MIN} minutes.")


def _quiet_slots(region: str, name: str) -> list[int]:
    """Return the starts of the region's quiet hours, beginning with the one drawn for *name*."""
    start = _minute(_QUIET_STARTS.get(region, _QUIET_START_ELSEWHERE))
    slots = [
        (start + offset) % DAY_MINUTES
        for offset in range(0, _QUIET_MINUTES - DEFAULT_MINUTES + 1, DEFAULT_MINUTES // 2)
    ]
    drawn = _digest(f"{region}/{name}/hour") % len(slots)
    return slots[drawn:] + slots[:drawn]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _minute(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _clock(minute: int) -> str:
    return f"{minute % DAY_MINUTES // 60:02}:{minute % 60:02}"


def _snapshot_text(start: int) -> str:
    return f"{_clock(start)}-{_clock(start + DEFAULT_MINUTES)}"


def _maintenance_text(day: str, start: int) -> str:
    end = start + DEFAULT_MINUTES
    last_day = DAYS[(DAYS.index(day) + end // DAY_MINUTES) % len(DAYS)]
    return f"{day}:{_clock(start)}-{last_day}:{_clock(end)}"
