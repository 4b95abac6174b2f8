"""The nodes of a cache cluster that stands alone: how many, in which zones, which of them leave."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.features import is_given
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.settings import check_zone
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state.zones import spread

MEMCACHED_NODES_MAX = 40
SINGLE_AZ, CROSS_AZ = "single-az", "cross-az"

# Redis only: memcached has no snapshots, replicas or passwords.
_NOT_FOR_MEMCACHED = (
    "SnapshotName",
    "SnapshotArns",
    "SnapshotRetentionLimit",
    "SnapshotWindow",
    "AuthToken",
)


def check_node_count(engine: str, count: int | None) -> int:
    """Return how many nodes a new cluster has."""
    if count is None:
        return 1
    if count < 1:
        raise wrong_value("NumCacheNodes must be at least 1.")
    if engine != Engine.MEMCACHED and count != 1:
        raise wrong_value(f"A cluster that runs {engine} has exactly one cache node.")
    if count > MEMCACHED_NODES_MAX:
        raise too_many_nodes()
    return count


def too_many_nodes() -> Fault:
    """Return the refusal of more nodes than a cluster can have."""
    return Fault(
        "NodeQuotaForClusterExceededFault",
        f"A memcached cluster can have at most {MEMCACHED_NODES_MAX} nodes.",
    )


def check_engine_options(engine: str, params: Mapping[str, Any]) -> None:
    """Refuse options that the engine does not have."""
    if engine == Engine.MEMCACHED:
        for name in _NOT_FOR_MEMCACHED:
            if params.get(name):
                raise wrong_combination(f"{name} is not supported for engine memcached.")
        return
    if params.get("AZMode") == CROSS_AZ:
        raise wrong_combination(f"AZMode cross-az is not supported for engine {engine}.")
    if params.get("PreferredAvailabilityZones"):
        raise wrong_combination(f"PreferredAvailabilityZones is not supported for engine {engine}.")


def choose_zones(
    params: Mapping[str, Any], *, count: int, zones: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the AZ mode and a zone for each node, in order of their ids.

    *zones* are those that the cluster may use, in the order in which it takes them.
    """
    mode = params.get("AZMode")
    listed = params.get("PreferredAvailabilityZones") or ()
    one = params.get("PreferredAvailabilityZone") or None
    if one is not None and listed:
        raise wrong_combination(
            "PreferredAvailabilityZone and PreferredAvailabilityZones cannot be used together."
        )
    if mode == CROSS_AZ and count < 2:
        raise wrong_combination("AZMode cross-az requires at least two cache nodes.")
    if listed:
        return _from_list(mode, listed, count=count, zones=zones)
    if one is not None:
        check_zone("PreferredAvailabilityZone", one, zones)
        if mode == CROSS_AZ:
            raise wrong_combination(
                "AZMode cross-az does not go with one PreferredAvailabilityZone."
            )
        return SINGLE_AZ, [one] * count
    if mode == CROSS_AZ:
        if len(set(zones)) < 2:
            raise wrong_combination("The subnet group covers one availability zone only.")
        return CROSS_AZ, spread(zones, count)
    return SINGLE_AZ, [zones[0]] * count


def _from_list(
    mode: str | None, listed: Sequence[str], *, count: int, zones: Sequence[str]
) -> tuple[str, list[str]]:
    if len(listed) != count:
        raise wrong_combination(
            f"PreferredAvailabilityZones has {len(listed)} entries for {count} cache nodes."
        )
    for zone in listed:
        check_zone("PreferredAvailabilityZones", zone, zones)
    implied = CROSS_AZ if len(set(listed)) > 1 else SINGLE_AZ
    if mode is not None and mode != implied:
        raise wrong_combination(f"AZMode {mode} does not go with these PreferredAvailabilityZones.")
    return implied, list(listed)


def check_growth(
    params: Mapping[str, Any],
    *,
    az_mode: str,
    zones_now: Sequence[str],
    added: int,
    zones: Sequence[str],
) -> tuple[str, list[str]]:
    """Return the AZ mode from now on and a zone for each node that is *added*."""
    mode = params.get("AZMode") or az_mode
    listed = params.get("NewAvailabilityZones") or ()
    if params.get("AZMode") == SINGLE_AZ and len(set(zones_now)) > 1:
        raise wrong_combination("AZMode single-az requires all cache nodes to be in one zone.")
    if mode == CROSS_AZ and len(zones_now) + added < 2:
        raise wrong_combination("AZMode cross-az requires at least two cache nodes.")
    if listed and len(listed) != added:
        raise wrong_combination(
            f"NewAvailabilityZones has {len(listed)} entries for {added} new cache nodes."
        )
    if listed:
        for zone in listed:
            check_zone("NewAvailabilityZones", zone, zones)
        if mode == SINGLE_AZ and len({*zones_now, *listed}) > 1:
            raise wrong_combination(
                "NewAvailabilityZones in more than one zone require AZMode cross-az."
            )
        return mode, list(listed)
    if mode == CROSS_AZ:
        return mode, spread(zones, added, taken=zones_now)
    return mode, [zones_now[0]] * added


def check_removal(
    ids_to_remove: Sequence[str], *, present: Collection[str], removed: int
) -> list[str]:
    """Return the ids of the nodes that leave, each once."""
    chosen = list(dict.fromkeys(ids_to_remove))
    for node_id in chosen:
        if node_id not in present:
            raise wrong_value(f"Cache node {node_id} is not in the cluster.")
    if len(chosen) != removed:
        raise wrong_combination(
            f"CacheNodeIdsToRemove names {len(chosen)} cache nodes, but {removed} must be removed "
            "to reach NumCacheNodes."
        )
    return chosen


def refuse_extra_for_replica(params: Mapping[str, Any]) -> None:
    """Refuse what a replica takes over from its group and so cannot be asked for."""
    allowed = {
        "CacheClusterId",
        "ReplicationGroupId",
        "PreferredAvailabilityZone",
        "AutoMinorVersionUpgrade",
        "Tags",
    }
    if params.get("NumCacheNodes") == 1:
        allowed.add("NumCacheNodes")  # what a replica has anyway; Terraform sends it
    if any(is_given(params, name) for name in params.keys() - allowed):
        raise wrong_combination(
            "Cannot specify additional cache cluster parameters when creating a replica cluster"
        )
