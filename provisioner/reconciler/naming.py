"""The names that certificates are for, beside addresses, where endpoints have names. Pure."""

from __future__ import annotations

from cachefleet.engine.names.shapes import (
    Place,
    configuration_name,
    node_name,
    primary_name,
    reader_name,
)
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, ReplicationGroup


def certified_node_names(
    node: CacheNode, settings: ReplicationGroup | CacheCluster, domain: str | None
) -> tuple[str, ...]:
    """Return the name of a node itself."""
    if domain is None:
        return ()
    if settings.serverless_uid is not None:
        return ()  # nobody knows it
    place = Place(account=settings.account, region=settings.region, domain=domain)
    group = settings.name if isinstance(settings, ReplicationGroup) else None
    return (node_name(node.member_name, node.cache_node_id, group=group, tls=True, place=place),)


def certified_endpoint_names(
    kind: str, settings: ReplicationGroup | CacheCluster, domain: str | None
) -> tuple[str, ...]:
    """Return the names of one kind of endpoint of a group or cluster."""
    if domain is None:
        return ()
    place = Place(account=settings.account, region=settings.region, domain=domain)
    match kind:
        case "primary":
            return (primary_name(settings.name, tls=True, place=place),)
        case "reader":
            return (reader_name(settings.name, tls=True, place=place),)
        case "configuration":
            memcached = settings.engine == Engine.MEMCACHED
            return (configuration_name(settings.name, memcached=memcached, tls=True, place=place),)
    return ()
