"""Changes of settings that need no engine: windows, topics, security groups, minor upgrades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.validation import settings
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.api.validation.windows import (
    check_apart,
    check_maintenance_window,
    check_snapshot_window,
)
from cachefleet.provisioner.state import events
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup


def setting_changes(
    row: ReplicationGroup | CacheCluster, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the columns of *row* that *params* change, with their new values.

    Raises:
        Fault: a value is wrong, or does not go with another.
    """
    settings.refuse_cache_security_groups(params)
    wanted: dict[str, Any] = {}
    if params.get("SecurityGroupIds"):
        wanted["security_group_ids"] = settings.check_security_groups(params["SecurityGroupIds"])
    if params.get("AutoMinorVersionUpgrade") is not None:
        wanted["auto_minor_version_upgrade"] = params["AutoMinorVersionUpgrade"]
    if params.get("PreferredMaintenanceWindow"):
        wanted["maintenance_window"] = check_maintenance_window(
            params["PreferredMaintenanceWindow"]
        )
    if params.get("SnapshotWindow"):
        wanted["snapshot_window"] = check_snapshot_window(params["SnapshotWindow"])
    snapshot = wanted.get("snapshot_window", row.snapshot_window)
    if snapshot and ("snapshot_window" in wanted or "maintenance_window" in wanted):
        check_apart(wanted.get("maintenance_window", row.maintenance_window), snapshot)
    wanted.update(_topic(row, params))
    if params.get("IpDiscovery") not in (None, row.ip_discovery):
        raise wrong_combination(
            f"IpDiscovery {params['IpDiscovery']} requires a network type with IPv6."
        )
    return {name: value for name, value in wanted.items() if value != getattr(row, name)}


def announcements(
    changes: Mapping[str, Any], clusters: Sequence[CacheCluster]
) -> dict[str, list[events.Announcement]]:
    """Return, as an operation carries it, what is to be told once *changes* are in force."""
    if "security_group_ids" not in changes:
        return {}
    told = [events.later("cluster_security_group_changed", one.name) for one in clusters]
    return {"announce": told}


def _topic(row: ReplicationGroup | CacheCluster, params: Mapping[str, Any]) -> dict[str, Any]:
    arn = params.get("NotificationTopicArn")
    status = settings.check_topic_status(params.get("NotificationTopicStatus"))
    wanted: dict[str, Any] = {}
    if arn is not None:
        chosen = settings.check_topic(arn, row.scope)
        wanted["notification_topic_arn"] = chosen
        wanted["notification_topic_status"] = "active" if chosen else None
    if status is not None:
        topic = wanted.get("notification_topic_arn", row.notification_topic_arn)
        if topic is None:
            raise wrong_combination("NotificationTopicStatus requires a notification topic.")
        wanted["notification_topic_status"] = status
    return wanted
