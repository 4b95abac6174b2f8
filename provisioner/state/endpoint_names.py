"""The name of every endpoint and node that is recorded, by its address."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from cachefleet.engine.names.shapes import (
    Place,
    configuration_name,
    node_name,
    primary_name,
    reader_name,
    serverless_name,
)
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ReplicationGroup,
)

EVERYBODY: Final = Scope("", "")

Address = tuple[str, int]
Names = dict[Address, str]


async def read_names(tx: Transaction, scope: Scope, domain: str) -> Names:
    """Return the names in a scope, or of everybody (``EVERYBODY``), by host and port."""
    return {
        **await _endpoints(tx, scope, domain),
        **await _serverless(tx, scope, domain),
        **await _nodes(tx, scope, domain),
    }


async def _serverless(tx: Transaction, scope: Scope, domain: str) -> Names:
    """Return the names of serverless caches, each at both of its ports."""
    query = select(ServerlessCache, EndpointAddress).join(
        EndpointAddress, EndpointAddress.subject_uid == ServerlessCache.backing_uid
    )
    query = query.where(EndpointAddress.kind.in_(("serverless", "serverless-reads")))
    if scope != EVERYBODY:
        query = query.where(
            ServerlessCache.account == scope.account, ServerlessCache.region == scope.region
        )
    found: Names = {}
    for cache, row in (await tx.session.execute(query)).all():
        place = Place(account=cache.account, region=cache.region, domain=domain)
        name = serverless_name(cache.name, cache.uid, place=place)
        found[row.host, row.port] = found[row.host, row.port + 1] = name
    return found


async def _endpoints(tx: Transaction, scope: Scope, domain: str) -> Names:
    found: Names = {}
    for table in (ReplicationGroup, CacheCluster):
        query = select(
            EndpointAddress.kind,
            EndpointAddress.host,
            EndpointAddress.port,
            table.name,
            table.engine,
            table.transit_encryption_enabled,
            table.account,
            table.region,
        ).join(table, table.uid == EndpointAddress.subject_uid)
        query = query.where(table.serverless_uid.is_(None))
        if scope != EVERYBODY:
            query = query.where(table.account == scope.account, table.region == scope.region)
        for kind, host, port, name, engine, tls, account, region in (
            await tx.session.execute(query)
        ).all():
            place = Place(account=account, region=region, domain=domain)
            match kind:
                case "primary":
                    found[host, port] = primary_name(name, tls=tls, place=place)
                case "reader":
                    found[host, port] = reader_name(name, tls=tls, place=place)
                case "configuration":
                    found[host, port] = configuration_name(
                        name, memcached=engine == Engine.MEMCACHED, tls=tls, place=place
                    )
    return found


async def _nodes(tx: Transaction, scope: Scope, domain: str) -> Names:
    query = (
        select(
            CacheNode.host,
            CacheNode.port,
            CacheNode.member_name,
            CacheNode.cache_node_id,
            CacheCluster.account,
            CacheCluster.region,
            ReplicationGroup.name,
            ReplicationGroup.transit_encryption_enabled,
        )
        .join(CacheCluster, CacheCluster.uid == CacheNode.cache_cluster_uid)
        .outerjoin(ReplicationGroup, ReplicationGroup.uid == CacheCluster.replication_group_uid)
        .where(
            CacheNode.host.is_not(None),
            CacheNode.port.is_not(None),
            CacheCluster.serverless_uid.is_(None),
        )
    )
    if scope != EVERYBODY:
        query = query.where(
            CacheCluster.account == scope.account, CacheCluster.region == scope.region
        )
    found: Names = {}
    for host, port, member, node_id, account, region, group, tls in (
        await tx.session.execute(query)
    ).all():
        place = Place(account=account, region=region, domain=domain)
        assert host is not None
        assert port is not None
        found[host, port] = node_name(member, node_id, group=group, tls=bool(tls), place=place)
    return found
