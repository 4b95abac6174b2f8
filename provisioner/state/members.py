"""The rows of nodes and members, made from a layout.

A row comes before its process: these are ``creating``, and the provisioner starts what they
describe. What a member has in common with its group is copied, because the service shows it on
both and a member may outlive its group.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from cachefleet.provisioner.state import ids, lifecycle
from cachefleet.provisioner.state.layout import (
    FIRST_NODE_ID,
    NodePlan,
    ShardPlan,
    free_node_ids,
)
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    CacheSettings,
    NodeGroup,
    ReplicationGroup,
)

# Settings that a group keeps to itself.
_NOT_SHARED = frozenset(
    {
        "status",
        "pending",
        "created_at",
        "snapshot_retention_limit",
        "snapshots_since",
        "log_delivery",
    }
)

SHARED_SETTINGS: tuple[str, ...] = tuple(
    name for name in CacheSettings.__annotations__ if name not in _NOT_SHARED
)


def settings_of(source: ReplicationGroup | CacheCluster) -> dict[str, Any]:
    """Return the settings that a group and its members share, as columns."""
    return {name: getattr(source, name) for name in SHARED_SETTINGS}


def new_node(
    *,
    subject_uid: str,
    member_name: str,
    cache_node_id: str,
    zone: str,
    role: str | None,
    now: datetime,
) -> CacheNode:
    """Return the row of a node that is to be launched; memcached nodes have no role."""
    return CacheNode(
        uid=ids.new_uid(),
        subject_uid=subject_uid,
        member_name=member_name,
        cache_node_id=cache_node_id,
        status=lifecycle.NODE_CREATING,
        availability_zone=zone,
        role=role,
        created_at=now,
        engine_node_id=ids.new_engine_id(),
        admin_secret=ids.new_secret(),
    )


def new_node_group(plan: ShardPlan) -> NodeGroup:
    """Return the row of a shard, without nodes."""
    return NodeGroup(
        uid=ids.new_uid(),
        node_group_id=plan.node_group_id,
        status=lifecycle.CREATING,
        slots=plan.slots,
        engine_shard_id=ids.new_engine_id(),
    )


def add_member(
    group: ReplicationGroup,
    node_group: NodeGroup,
    plan: NodePlan,
    *,
    now: datetime,
    requested_zone: str | None = None,
    auto_minor_version_upgrade: bool | None = None,
) -> CacheCluster:
    """Add a cache cluster with its one node to a shard of *group*, and return it."""
    settings = settings_of(group)
    if auto_minor_version_upgrade is not None:
        settings["auto_minor_version_upgrade"] = auto_minor_version_upgrade
    node = new_node(
        subject_uid=group.uid,
        member_name=plan.member_name,
        cache_node_id=FIRST_NODE_ID,
        zone=plan.zone,
        role=plan.role.value,
        now=now,
    )
    cluster = CacheCluster(
        uid=ids.new_uid(),
        account=group.account,
        region=group.region,
        name=plan.member_name,
        status=lifecycle.CREATING,
        num_cache_nodes=1,
        preferred_availability_zone=requested_zone,
        created_at=now,
        pending={},
        nodes=[node],
        **settings,
    )
    node_group.nodes.append(node)
    group.members.append(cluster)
    return cluster


def add_cache_nodes(cluster: CacheCluster, zones: Sequence[str], *, now: datetime) -> None:
    """Add one node in each of *zones* to a memcached cluster, under the lowest free ids."""
    taken = {node.cache_node_id for node in cluster.nodes}
    for node_id, zone in zip(free_node_ids(len(zones), taken), zones, strict=True):
        cluster.nodes.append(
            new_node(
                subject_uid=cluster.uid,
                member_name=cluster.name,
                cache_node_id=node_id,
                zone=zone,
                role=None,
                now=now,
            )
        )


def retire_cache_nodes(cluster: CacheCluster, node_ids: Collection[str]) -> None:
    """Mark nodes of a memcached cluster as on their way out."""
    for node in cluster.nodes:
        if node.cache_node_id in node_ids:
            node.status = lifecycle.NODE_DELETING
