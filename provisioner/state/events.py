"""Writes what customers read in DescribeEvents, in the catalogue's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state.store import Transaction

Announcement = dict[str, Any]


def record(
    tx: Transaction,
    catalog: Catalog,
    key: str,
    source: str,
    *,
    about: str | None = None,
    **values: object,
) -> None:
    """Write the event *key* of the catalogue about the resource *source*; *values* fill it in.

    Its notification, where it has one, names *about*, else the source.
    """
    template = catalog.event(key)
    tx.emit(
        template.source_type,
        source,
        template.fill(**values),
        sns_event=template.sns_event if template.sends_sns else None,
        about=about,
    )


def later(key: str, source: str, *, about: str | None = None, **values: object) -> Announcement:
    """Return the event in the form in which an operation carries it, until it is true."""
    return {"key": key, "source": source, "about": about, "values": values}


def record_announcements(
    tx: Transaction, catalog: Catalog, announcements: Iterable[Announcement]
) -> None:
    """Write what an operation that has ended was to announce."""
    for one in announcements:
        record(tx, catalog, one["key"], one["source"], about=one["about"], **one["values"])
