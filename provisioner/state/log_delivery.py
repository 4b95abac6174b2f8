"""Configurations of log delivery as they are recorded, and how their statuses change. Pure.

An entry is what the service shows: ``LogType``, ``DestinationType``, ``DestinationDetails``,
``LogFormat``, ``Status`` and, after a failure, ``Message``. There is one a log type at most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ENABLING, MODIFYING, DISABLING = "enabling", "modifying", "disabling"
ACTIVE, ERROR = "active", "error"
ON_THE_WAY = frozenset({ENABLING, MODIFYING})
DELIVERED = frozenset({ACTIVE, ERROR, MODIFYING})  # what is in error is tried again
PENDING = "LogDeliveryConfigurations"
WISHES = ("LogType", "DestinationType", "DestinationDetails", "LogFormat")

Entry = Mapping[str, Any]


def key_of(entry: Entry) -> str:
    """Return what tells an entry from another, its status apart."""
    return json.dumps([entry[name] for name in WISHES], sort_keys=True)


def changed(
    now: Sequence[Entry], wanted: Mapping[str, Entry | None]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the entries with *wanted* (by log type, None to turn off) on their way, and pending.

    Nothing is pending where nothing changes.
    """
    by_type: dict[str, dict[str, Any]] = {entry["LogType"]: dict(entry) for entry in now}
    pending = []
    for log_type, wish in wanted.items():
        before = by_type.get(log_type)
        if wish is None:
            if before is not None:
                by_type[log_type] = _on_the_way(before, DISABLING)
        elif before is None or key_of(before) != key_of(wish) or before["Status"] == ERROR:
            by_type[log_type] = _on_the_way(wish, ENABLING if before is None else MODIFYING)
            pending.append({name: wish[name] for name in WISHES})
    return [by_type[name] for name in sorted(by_type)], pending


def concluded(now: Sequence[Entry], checked: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """Return the entries after a look at their destinations: None is good, else the reason.

    What is being turned off goes. What was not looked at stays as it is.
    """
    entries = []
    for entry in now:
        if entry["Status"] == DISABLING:
            continue
        key = key_of(entry)
        entries.append(with_outcome(entry, checked[key]) if key in checked else dict(entry))
    return entries


def with_outcome(entry: Entry, failure: str | None) -> dict[str, Any]:
    """Return *entry* as it is after it was tried."""
    wishes = {name: entry[name] for name in WISHES}
    if failure is None:
        return {**wishes, "Status": ACTIVE}
    return {**wishes, "Status": ERROR, "Message": failure}


def _on_the_way(entry: Entry, status: str) -> dict[str, Any]:
    return {**{name: entry[name] for name in WISHES}, "Status": status}
