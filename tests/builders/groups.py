"""Rows of parameter groups, subnet groups, and of caches that use them, written straight away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cachefleet.provisioner.state import ids
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    Event,
    NodeGroup,
    ParameterGroup,
    ReplicationGroup,
    SubnetGroup,
)

Settings = dict[str, Any]


def cache_settings(**changes: Any) -> Settings:
    """Return what a replication group and a cluster have in common."""
    return {
        "status": "available",
        "engine": "redis",
        "engine_version": "7.1.0",
        "node_type": "cache.t4g.micro",
        "port": 6379,
        "parameter_group_name": "default.redis7",
        "subnet_group_name": "default",
        "maintenance_window": "mon:03:00-mon:04:00",
        **changes,
    }


def parameter_group(tx: Transaction, name: str = "pg", **changes: Any) -> ParameterGroup:
    """Add a custom parameter group."""
    columns = {"family": "redis7", "description": "mine", "values": {}, **changes}
    row = ParameterGroup(
        uid=ids.new_uid(), account=tx.scope.account, region=tx.scope.region, name=name, **columns
    )
    tx.session.add(row)
    return row


def subnet_group(tx: Transaction, name: str = "sg", **changes: Any) -> SubnetGroup:
    """Add a subnet group."""
    columns = {
        "description": "mine",
        "vpc_id": "vpc-1",
        "subnets": [{"id": "subnet-a", "az": "us-east-1a"}, {"id": "subnet-b", "az": "us-east-1b"}],
        **changes,
    }
    row = SubnetGroup(
        uid=ids.new_uid(), account=tx.scope.account, region=tx.scope.region, name=name, **columns
    )
    tx.session.add(row)
    return row


async def cache_cluster(
    tx: Transaction,
    name: str = "demo",
    *,
    group: ReplicationGroup | None = None,
    node_group: NodeGroup | None = None,
    node_count: int = 1,
    zone: str = "us-east-1a",
    parameter_group_status: str = "in-sync",
    **settings: Any,
) -> CacheCluster:
    """Add a cache cluster with its nodes: one that stands alone, or a member of *group*."""
    uid = ids.new_uid()
    if group is None:
        await tx.new_subject("cache_cluster", uid)
    nodes = [
        CacheNode(
            uid=ids.new_uid(),
            subject_uid=uid if group is None else group.uid,
            node_group_uid=None if node_group is None else node_group.uid,
            member_name=name,
            cache_node_id=f"{number:04}",
            status="available",
            availability_zone=zone,
            parameter_group_status=parameter_group_status,
            engine_node_id=ids.new_engine_id(),
            admin_secret=ids.new_secret(),
        )
        for number in range(1, node_count + 1)
    ]
    cluster = CacheCluster(
        uid=uid,
        account=tx.scope.account,
        region=tx.scope.region,
        name=name,
        replication_group_uid=None if group is None else group.uid,
        num_cache_nodes=node_count,
        nodes=nodes,
        **cache_settings(**settings),
    )
    tx.session.add(cluster)
    await tx.session.flush()
    return cluster


async def replication_group(
    tx: Transaction,
    name: str = "rg",
    *,
    member_count: int = 2,
    user_group_ids: Sequence[str] = (),
    **settings: Any,
) -> ReplicationGroup:
    """Add a replication group of one shard with members ``<name>-001``, ``<name>-002``, ..."""
    uid = ids.new_uid()
    await tx.new_subject("replication_group", uid)
    group = ReplicationGroup(
        uid=uid,
        account=tx.scope.account,
        region=tx.scope.region,
        name=name,
        description="mine",
        cluster_mode="disabled",
        automatic_failover="enabled",
        multi_az="disabled",
        user_group_ids=list(user_group_ids),
        **cache_settings(**settings),
    )
    node_group = NodeGroup(
        uid=ids.new_uid(),
        replication_group_uid=uid,
        node_group_id="0001",
        status="available",
        engine_shard_id=ids.new_engine_id(),
    )
    tx.session.add(group)
    await tx.session.flush()
    tx.session.add(node_group)
    await tx.session.flush()
    for number in range(1, member_count + 1):
        await cache_cluster(
            tx, f"{name}-{number:03}", group=group, node_group=node_group, **settings
        )
    return group


def event(tx: Transaction, occurred_at: datetime, **changes: Any) -> Event:
    """Add an event of a cache cluster."""
    columns = {
        "source_type": "cache-cluster",
        "source_identifier": "demo",
        "message": "Cache cluster created",
        **changes,
    }
    row = Event(
        account=tx.scope.account, region=tx.scope.region, occurred_at=occurred_at, **columns
    )
    tx.session.add(row)
    return row
