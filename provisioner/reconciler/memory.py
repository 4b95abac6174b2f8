"""How much data a node may hold: what its type has, or what its serverless cache gives it."""

from __future__ import annotations

from cachefleet.engine.valkey.config import effective_maxmemory_bytes
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord

MB = 1 << 20


def memory_bytes(record: SubjectRecord, fleet: Fleet) -> int:
    """Return a node's memory for data, before the reserve is taken off."""
    settings = record.settings
    if settings.memory_limit_bytes is not None:
        return settings.memory_limit_bytes
    node_type = fleet.catalog.node_type(settings.node_type)
    assert node_type is not None, settings.node_type
    return node_type.maxmemory_bytes


def usable_bytes(record: SubjectRecord, fleet: Fleet) -> int:
    """Return a node's memory for data, the reserve taken off."""
    return effective_maxmemory_bytes(
        memory_bytes(record, fleet), fleet.effective_parameters(record)
    )
