"""How much data a node may hold: what its type has, or what its serverless cache gives it."""

from __future__ import annotations

from cachefleet.engine.valkey.config import effective_maxmemory_bytes
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord

MB = 1 << 20
OVERHEAD = "memcached_connections_overhead"


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


def max_cache_memory_mb(record: SubjectRecord, fleet: Fleet) -> int:
    """Return what memcached has to share between items and connections."""
    limit = record.settings.memory_limit_bytes
    if limit is None:
        node_type = fleet.catalog.node_type(record.settings.node_type)
        assert node_type is not None, record.settings.node_type
        return node_type.max_cache_memory_mb
    # A serverless cache's limit is all for items.
    return max(1, limit // MB) + int(fleet.effective_parameters(record).get(OVERHEAD, "0"))
