"""What a request does to what is pending: merged by name, applied at once or left to wait. Pure.

A change that needs the engine is recorded under the request's own name for it, whether it is
applied at once or in the maintenance window. A newer value takes the place of an older one; asking
for what is so already cancels what was pending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.provisioner.state import log_delivery

SCALE_PERCENTAGES = range(1, 101)
SCALE_INTERVAL_MINUTES_MAX = 1440
# Pending values that an operation of their own deals with.
_OF_OTHERS = frozenset({"Resharding", "UserGroups", log_delivery.PENDING})
# What members of a group show of what is pending on their group.
SHOWN_ON_MEMBERS = (
    "CacheNodeType",
    "EngineVersion",
    "AuthTokenStatus",
    "TransitEncryptionEnabled",
    "TransitEncryptionMode",
)


def merged(pending: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return *pending* with *changes*; a change to None takes the entry out."""
    result = {**pending, **changes}
    return {name: value for name, value in result.items() if value is not None}


def is_due(pending: Mapping[str, Any], *, immediately: bool) -> bool:
    """Say whether something pending is to be applied now: at once, all of it is."""
    return immediately and bool(pending.keys() - _OF_OTHERS)


def check_separate_upgrade(
    pending: Mapping[str, Any], changes: Mapping[str, Any], *, immediately: bool
) -> None:
    """Refuse to mix a new node type and a new version, unless both are applied now, together."""
    scales, upgrades = bool(changes.get("CacheNodeType")), bool(changes.get("EngineVersion"))
    if scales and upgrades and not immediately:
        raise wrong_combination(
            "Changing the node type and the engine version together requires ApplyImmediately."
        )
    if immediately and upgrades and "CacheNodeType" in pending and "CacheNodeType" not in changes:
        raise wrong_combination(
            "The engine version cannot be changed while a change of the node type is pending."
        )
    if immediately and scales and "EngineVersion" in pending and "EngineVersion" not in changes:
        raise wrong_combination(
            "The node type cannot be changed while a change of the engine version is pending."
        )


def zones_waiting(pending: Mapping[str, Any], *, present: int, count: int) -> list[str]:
    """Return the zones of nodes that are to be added already, where *count* adds to them.

    Raises:
        Fault: *count* would add fewer nodes than are pending.
    """
    waiting = list(pending.get("NewAvailabilityZones", ()))
    if present < count < present + len(waiting):
        raise wrong_combination(
            f"{len(waiting)} cache nodes are pending to be added. To add fewer, cancel them first "
            f"by setting NumCacheNodes to {present}."
        )
    return waiting


def more_nodes(count: int, zones: Sequence[str]) -> dict[str, Any]:
    """Return the changes for new nodes in *zones*, which bring the cluster to *count*."""
    return {
        "NumCacheNodes": count,
        "NewAvailabilityZones": list(zones),
        "CacheNodeIdsToRemove": None,
    }


def fewer_nodes(count: int, node_ids: Sequence[str]) -> dict[str, Any]:
    """Return the changes for nodes that leave."""
    return {
        "NumCacheNodes": count,
        "CacheNodeIdsToRemove": list(node_ids),
        "NewAvailabilityZones": None,
    }


NO_NODES: Mapping[str, Any] = {
    "NumCacheNodes": None,
    "CacheNodeIdsToRemove": None,
    "NewAvailabilityZones": None,
}


def check_scale_config(config: Mapping[str, int] | None) -> dict[str, int] | None:
    """Return how gradually a memcached cluster takes its new node type, where that was said."""
    if not config:
        return None
    percentage, interval = config.get("ScalePercentage"), config.get("ScaleIntervalMinutes")
    if percentage is not None and percentage not in SCALE_PERCENTAGES:
        raise wrong_value("ScalePercentage must be within 1 and 100.")
    if interval is not None and not 0 <= interval <= SCALE_INTERVAL_MINUTES_MAX:
        raise wrong_value(
            f"ScaleIntervalMinutes must be within 0 and {SCALE_INTERVAL_MINUTES_MAX}."
        )
    return {name: value for name, value in config.items() if value is not None}
