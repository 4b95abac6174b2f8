"""What a cache cluster and a replication group have in common, checked: network, ports, topics.

Engines, versions and node types are in :mod:`.engines`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.provisioner.state.scope import Scope

PORT_MIN = 1150
PORT_MAX = 65535
SECURITY_GROUPS_MAX = 5
RETENTION_DAYS_MAX = 35

_SECURITY_GROUP = re.compile(r"sg-[0-9A-Za-z-]{1,252}", re.ASCII)
_TOPIC = re.compile(r"arn:[a-z-]+:sns:([a-z0-9-]+):([0-9]{12}):[A-Za-z0-9_.-]{1,256}", re.ASCII)


def check_port(port: int | None, default: int) -> int:
    """Return the port that nodes listen on."""
    if port is None:
        return default
    if not PORT_MIN <= port <= PORT_MAX:
        raise wrong_value(f"Invalid port {port}. Must be between {PORT_MIN} and {PORT_MAX}.")
    return port


def check_topic(arn: str | None, scope: Scope) -> str | None:
    """Return the ARN of the topic for notifications, which must be of the caller's scope."""
    if not arn:
        return None
    match = _TOPIC.fullmatch(arn)
    if match is None:
        raise wrong_value(f"The parameter NotificationTopicArn is not a topic: {arn}")
    if match.groups() != (scope.region, scope.account):
        raise wrong_value(
            "The notification topic must belong to the same region and account as the cache."
        )
    return arn


def check_topic_status(status: str | None) -> str | None:
    """Return ``active`` or ``inactive``, or None where nothing was asked for."""
    if status is not None and status.lower() not in ("active", "inactive"):
        raise wrong_value("NotificationTopicStatus must be one of: active, inactive")
    return status.lower() if status is not None else None


def check_security_groups(ids: Sequence[str] | None) -> list[str]:
    """Return the ids of VPC security groups, each once, in order.

    Whether they exist is not known here: there is no EC2 to ask.
    """
    chosen = list(dict.fromkeys(ids or ()))
    if len(chosen) > SECURITY_GROUPS_MAX:
        raise wrong_value(f"At most {SECURITY_GROUPS_MAX} security groups are allowed.")
    for group_id in chosen:
        if not _SECURITY_GROUP.fullmatch(group_id):
            raise wrong_value(f"Some security groups are invalid: {group_id}")
    return chosen


def refuse_cache_security_groups(params: Mapping[str, Any]) -> None:
    """Refuse the security groups of EC2-Classic: every account here has a VPC."""
    if not params.get("CacheSecurityGroupNames"):
        return
    if params.get("CacheSubnetGroupName") or params.get("SecurityGroupIds"):
        raise wrong_combination(
            "Use of cache security groups is not permitted along with cache subnet group and/or "
            "security group Ids."
        )
    raise wrong_value(
        "Use of cache security groups is not permitted in this API version for your account."
    )


def check_retention(days: int | None, *, node_type_has_snapshots: bool) -> int:
    """Return for how many days automatic snapshots are kept; 0 is none."""
    if days is None:
        return 0
    if not 0 <= days <= RETENTION_DAYS_MAX:
        raise wrong_value(f"SnapshotRetentionLimit must be within 0 and {RETENTION_DAYS_MAX} days.")
    if days and not node_type_has_snapshots:
        raise wrong_combination(
            "Instance type does not support snapshotting. Snapshot retention limit parameter "
            "should not be specified."
        )
    return days


def check_network(params: Mapping[str, Any]) -> tuple[str, str]:
    """Return the network type and the discovery type.

    Subnets here carry IPv4 addresses only, so anything else does not go with the subnet group.
    """
    network = params.get("NetworkType") or "ipv4"
    discovery = params.get("IpDiscovery") or "ipv4"
    if network != "ipv4":
        raise wrong_combination(
            f"The subnet group does not support the network type {network}: its subnets have no "
            "IPv6 addresses."
        )
    if discovery != "ipv4":
        raise wrong_combination(f"IpDiscovery {discovery} requires a network type with IPv6.")
    return network, discovery


def check_zone(parameter: str, zone: str, zones: Sequence[str]) -> str:
    """Return *zone* where the resource may have nodes in it."""
    if zone not in zones:
        raise wrong_value(
            f"The parameter {parameter} names {zone}, which is not an availability zone of the "
            "cache subnet group."
        )
    return zone
