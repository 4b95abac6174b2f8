"""Writes what customers read in DescribeEvents, in the catalogue's words."""

from __future__ import annotations

from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state.store import Transaction


def record(tx: Transaction, catalog: Catalog, key: str, source: str, **values: object) -> None:
    """Write the event *key* of the catalogue about the resource *source*; *values* fill it in."""
    template = catalog.event(key)
    tx.emit(template.source_type, source, template.fill(**values))
