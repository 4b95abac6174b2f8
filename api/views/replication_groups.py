"""Replication groups, their shards and members as the API shows them.

Which fields are there depends on the status and on cluster mode: without it a shard has endpoints
and its members have roles; with it the group has a configuration endpoint and shards have slots.
"""

from __future__ import annotations

from typing import Any, Final

from cachefleet.api.views.settings import NO_ENDPOINTS, Endpoints, endpoint_view, shown_pending
from cachefleet.engine.types import Endpoint
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup, ReplicationGroup

# Members of PendingModifiedValues: what else is pending is shown by the members of the group.
PENDING: Final = (
    "PrimaryClusterId",
    "AutomaticFailoverStatus",
    "Resharding",
    "AuthTokenStatus",
    "UserGroups",
    "LogDeliveryConfigurations",
    "TransitEncryptionEnabled",
    "TransitEncryptionMode",
    "ClusterMode",
)

# The columns of a node that a group's view needs, for listings that load no more.
SHOWN_OF_NODES: Final = (
    CacheNode.member_name,
    CacheNode.cache_node_id,
    CacheNode.availability_zone,
    CacheNode.role,
    CacheNode.host,
    CacheNode.port,
)


def replication_group_view(
    group: ReplicationGroup, *, endpoints: Endpoints = NO_ENDPOINTS
) -> dict[str, Any]:
    """Return ``ReplicationGroup`` in any status."""
    creating = group.status in (lifecycle.CREATING, lifecycle.CREATE_FAILED)
    view = _always(group)
    view["AuthTokenEnabled"] = group.auth_token_enabled
    if group.auth_token_changed_at is not None:
        view["AuthTokenLastModifiedDate"] = group.auth_token_changed_at
    if group.status == lifecycle.DELETING:
        return view
    view.update(
        {
            "MemberClusters": sorted(member.name for member in group.members),
            "ClusterEnabled": group.cluster_enabled,
            "CacheNodeType": group.node_type,
            "ReplicationGroupCreateTime": group.created_at,
            "DataTiering": group.data_tiering,
            "AutoMinorVersionUpgrade": group.auto_minor_version_upgrade,
            "NetworkType": group.network_type,
            "IpDiscovery": group.ip_discovery,
            "ClusterMode": group.cluster_mode,
            "Engine": group.engine,
        }
    )
    if group.snapshot_retention_limit and not group.cluster_enabled:
        view["SnapshottingClusterId"] = group.snapshotting_cluster_id
    if group.kms_key_id:
        view["KmsKeyId"] = group.kms_key_id
    if user_group_ids := _user_group_ids(group):
        view["UserGroupIds"] = user_group_ids
    if creating:
        return view
    view["NodeGroups"] = [
        _node_group_view(node_group, group, endpoints)
        for node_group in sorted(group.node_groups, key=lambda shard: shard.node_group_id)
    ]
    if group.cluster_enabled:
        view["ConfigurationEndpoint"] = endpoint_view(endpoints.get((group.uid, "configuration")))
    return view


def deleted_replication_group_view(group: ReplicationGroup) -> dict[str, Any]:
    """Return ``ReplicationGroup`` as DeleteReplicationGroup answers it, the barest of all."""
    return _always(group)


def _always(group: ReplicationGroup) -> dict[str, Any]:
    view: dict[str, Any] = {
        "ReplicationGroupId": group.name,
        "Description": group.description,
        "GlobalReplicationGroupInfo": {
            "GlobalReplicationGroupId": group.global_name,
            "GlobalReplicationGroupMemberRole": group.global_role,
        }
        if group.global_name is not None
        else {},
        "Status": group.status,
        "PendingModifiedValues": shown_pending(group.pending, PENDING),
        "AutomaticFailover": group.automatic_failover,
        "MultiAZ": group.multi_az,
        "SnapshotRetentionLimit": group.snapshot_retention_limit,
        "SnapshotWindow": group.snapshot_window,
        "TransitEncryptionEnabled": group.transit_encryption_enabled,
        "AtRestEncryptionEnabled": group.at_rest_encryption_enabled,
        "ARN": group.arn,
        "LogDeliveryConfigurations": group.log_delivery,
    }
    if group.transit_encryption_enabled:
        view["TransitEncryptionMode"] = group.transit_encryption_mode
    return view


def _user_group_ids(group: ReplicationGroup) -> list[str]:
    """Return the user groups as they were until a change is everywhere."""
    change = group.pending.get("UserGroups", {})
    added = change.get("UserGroupIdsToAdd", ())
    kept = [one for one in group.user_group_ids if one not in added]
    return [*kept, *change.get("UserGroupIdsToRemove", ())]


def _node_group_view(
    node_group: NodeGroup, group: ReplicationGroup, endpoints: Endpoints
) -> dict[str, Any]:
    with_roles = group.cluster_mode != "enabled"
    nodes = sorted(node_group.nodes, key=lambda node: node.member_name)
    view: dict[str, Any] = {
        "NodeGroupId": node_group.node_group_id,
        "Status": node_group.status,
        "NodeGroupMembers": [_member_view(node, with_role=with_roles) for node in nodes],
    }
    if with_roles:
        view["PrimaryEndpoint"] = endpoint_view(endpoints.get((group.uid, "primary")))
        view["ReaderEndpoint"] = endpoint_view(endpoints.get((group.uid, "reader")))
    if node_group.slots:
        view["Slots"] = node_group.slots
    return view


def _member_view(node: CacheNode, *, with_role: bool) -> dict[str, Any]:
    view: dict[str, Any] = {
        "CacheClusterId": node.member_name,
        "CacheNodeId": node.cache_node_id,
        "PreferredAvailabilityZone": node.availability_zone,
    }
    if with_role:
        view["CurrentRole"] = node.role
        if node.host is not None and node.port is not None:
            view["ReadEndpoint"] = endpoint_view(Endpoint(node.host, node.port))
    return view
