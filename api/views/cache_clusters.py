"""Cache clusters and their nodes as the API shows them.

Which fields are there depends on the status: while a cluster is created or deleted the service
shows the cluster alone, no nodes and no endpoints.
"""

from __future__ import annotations

from typing import Any, Final

from cachefleet.api.views.settings import NO_ENDPOINTS, Endpoints, endpoint_view, shown_pending
from cachefleet.engine.types import Endpoint, Engine
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode

LANDING_PAGE: Final = "https://console.aws.amazon.com/elasticache/home#client-download:"
MULTIPLE_ZONES: Final = "Multiple"

# Members of PendingModifiedValues: what else is pending has no place in the description.
PENDING: Final = (
    "NumCacheNodes",
    "CacheNodeIdsToRemove",
    "EngineVersion",
    "CacheNodeType",
    "AuthTokenStatus",
    "LogDeliveryConfigurations",
    "TransitEncryptionEnabled",
    "TransitEncryptionMode",
    "ScaleConfig",
)

_ALONE = (lifecycle.CREATING, lifecycle.DELETING)


def cache_cluster_view(
    cluster: CacheCluster,
    *,
    group_name: str | None = None,
    group_delivers_logs: bool = False,
    endpoints: Endpoints = NO_ENDPOINTS,
    with_nodes: bool = False,
) -> dict[str, Any]:
    """Return ``CacheCluster``; *group_name* is the replication group's id for a member."""
    creating = cluster.status == lifecycle.CREATING
    alone = cluster.status in _ALONE
    memcached = cluster.engine == Engine.MEMCACHED
    view: dict[str, Any] = {
        "CacheClusterId": cluster.name,
        "ConfigurationEndpoint": endpoint_view(endpoints.get((cluster.uid, "configuration")))
        if memcached and not alone
        else None,
        "ClientDownloadLandingPage": LANDING_PAGE,
        "CacheNodeType": cluster.node_type,
        "Engine": cluster.engine,
        "EngineVersion": cluster.engine_version,
        "CacheClusterStatus": cluster.status,
        "NumCacheNodes": cluster.num_cache_nodes,
        "PreferredAvailabilityZone": cluster.preferred_availability_zone
        if creating
        else _zone(cluster),
        "CacheClusterCreateTime": None if creating else cluster.created_at,
        "PreferredMaintenanceWindow": cluster.maintenance_window,
        "PendingModifiedValues": shown_pending(cluster.pending, PENDING),
        "CacheSecurityGroups": [],
        "CacheParameterGroup": _parameter_group(cluster),
        "CacheSubnetGroupName": cluster.subnet_group_name,
        "AutoMinorVersionUpgrade": cluster.auto_minor_version_upgrade,
        "SecurityGroups": [
            {"SecurityGroupId": group_id, "Status": "active"}
            for group_id in cluster.security_group_ids
        ],
        "ReplicationGroupId": group_name,
        "AuthTokenEnabled": cluster.auth_token_enabled,
        "TransitEncryptionEnabled": cluster.transit_encryption_enabled,
        "AtRestEncryptionEnabled": cluster.at_rest_encryption_enabled,
        "ARN": cluster.arn,
        "ReplicationGroupLogDeliveryEnabled": group_delivers_logs,
        "LogDeliveryConfigurations": cluster.log_delivery,
        "NetworkType": cluster.network_type,
        "IpDiscovery": cluster.ip_discovery,
    }
    if not memcached:
        view["SnapshotRetentionLimit"] = cluster.snapshot_retention_limit
        view["SnapshotWindow"] = cluster.snapshot_window
    if cluster.transit_encryption_enabled:
        view["TransitEncryptionMode"] = cluster.transit_encryption_mode
    if cluster.auth_token_changed_at is not None:
        view["AuthTokenLastModifiedDate"] = cluster.auth_token_changed_at
    if cluster.notification_topic_arn:
        view["NotificationConfiguration"] = {
            "TopicArn": cluster.notification_topic_arn,
            "TopicStatus": cluster.notification_topic_status or "active",
        }
    if with_nodes and not alone:
        view["CacheNodes"] = [cache_node_view(node) for node in cluster.nodes]
    return view


def cache_node_view(node: CacheNode) -> dict[str, Any]:
    """Return ``CacheNode``; a node that is being made has no endpoint."""
    endpoint = (
        Endpoint(node.host, node.port) if node.host is not None and node.port is not None else None
    )
    return {
        "CacheNodeId": node.cache_node_id,
        "CacheNodeStatus": node.status,
        "CacheNodeCreateTime": node.created_at,
        "Endpoint": None if node.status == lifecycle.NODE_CREATING else endpoint_view(endpoint),
        "ParameterGroupStatus": node.parameter_group_status,
        "CustomerAvailabilityZone": node.availability_zone,
    }


def _zone(cluster: CacheCluster) -> str | None:
    """Return the zone of all nodes, or ``Multiple``."""
    zones = {node.availability_zone for node in cluster.nodes}
    if not zones:
        return cluster.preferred_availability_zone
    return zones.pop() if len(zones) == 1 else MULTIPLE_ZONES


def _parameter_group(cluster: CacheCluster) -> dict[str, Any]:
    waiting = [
        node.cache_node_id
        for node in cluster.nodes
        if node.parameter_group_status == "pending-reboot"
    ]
    applying = any(node.parameter_group_status == "applying" for node in cluster.nodes)
    return {
        "CacheParameterGroupName": cluster.parameter_group_name,
        "ParameterApplyStatus": "pending-reboot"
        if waiting
        else "applying"
        if applying
        else "in-sync",
        "CacheNodeIdsToReboot": waiting,
    }
