"""The shape of a new replication group: cluster mode, shards, replicas, zones, failover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.identifiers import check_node_group_id
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.settings import check_zone
from cachefleet.engine.catalog import Catalog, EngineVersion
from cachefleet.engine.valkey.cluster import BadSlots
from cachefleet.provisioner.state.layout import ShardPlan, ShardRequest, choose_slots

REPLICAS_PER_SHARD_MAX = 5
NODES_PER_SHARD_MAX = REPLICAS_PER_SHARD_MAX + 1
CLUSTER_NODES_MAX = 90  # nodes, and so shards, of a group in cluster mode; a quota of the service


def count_shards(params: Mapping[str, Any]) -> int:
    """Return how many shards a request asks for, having checked all of its counts."""
    shard_count = params.get("NumNodeGroups")
    replica_count = params.get("ReplicasPerNodeGroup")
    node_count = params.get("NumCacheClusters")
    entries = params.get("NodeGroupConfiguration") or ()
    if node_count is not None:
        if shard_count is not None or replica_count is not None or entries:
            raise wrong_combination(
                "NumCacheClusters cannot be used together with NumNodeGroups, "
                "ReplicasPerNodeGroup or NodeGroupConfiguration."
            )
        if not 1 <= node_count <= NODES_PER_SHARD_MAX:
            raise too_many_replicas()
    if replica_count is not None:
        check_replica_count(replica_count)
    if shard_count is not None and shard_count < 1:
        raise wrong_value("NumNodeGroups must be at least 1.")
    if entries and shard_count is not None and len(entries) != shard_count:
        raise wrong_combination(
            f"NodeGroupConfiguration has {len(entries)} entries, but NumNodeGroups is "
            f"{shard_count}."
        )
    return shard_count or len(entries) or 1


def check_replica_count(count: int) -> int:
    """Return how many replicas a shard shall have."""
    if not 0 <= count <= REPLICAS_PER_SHARD_MAX:
        raise too_many_replicas()
    return count


def too_many_replicas() -> Fault:
    """Return the refusal of a number of replicas that no shard can have."""
    return wrong_value(
        f"The number of replicas per node group must be within 0 and {REPLICAS_PER_SHARD_MAX}."
    )


def choose_cluster_mode(
    params: Mapping[str, Any], *, shard_count: int, group_enables: bool | None
) -> bool:
    """Return whether cluster mode is on.

    *group_enables* is ``cluster-enabled`` of the parameter group that was named, None for none.
    """
    mode = params.get("ClusterMode")
    wanted = None if mode is None else mode != "disabled"
    if group_enables is not None:
        if wanted is not None and wanted != group_enables:
            raise wrong_combination(
                f"ClusterMode {mode} does not go with the parameter group, whose cluster-enabled "
                f"is {'yes' if group_enables else 'no'}."
            )
        wanted = group_enables
    if shard_count > 1 and wanted is False:
        raise wrong_combination("More than one node group requires cluster mode to be enabled.")
    if shard_count > 1 and mode == "compatible":
        raise wrong_combination("ClusterMode compatible allows one node group only.")
    enabled = shard_count > 1 if wanted is None else wanted
    if enabled and params.get("NumCacheClusters") is not None:
        raise wrong_combination(
            "Use NumNodeGroups and ReplicasPerNodeGroup, not NumCacheClusters, with cluster mode "
            "enabled."
        )
    if enabled and params.get("PrimaryClusterId"):
        raise wrong_combination("PrimaryClusterId does not go with cluster mode enabled.")
    return enabled


def check_compatible(catalog: Catalog, version: EngineVersion, plans: Sequence[ShardPlan]) -> None:
    """Check a new group that is to be half way into cluster mode: as one that is changed to it."""
    if not catalog.supports("cluster_mode_migration", version.engine, version.version):
        raise wrong_combination(
            f"ClusterMode compatible is not supported for engine version {version.version}."
        )
    if min(len(plan.nodes) for plan in plans) < 2:
        raise wrong_combination("ClusterMode compatible requires at least one replica.")


def shard_requests(
    params: Mapping[str, Any], *, shard_count: int, cluster_mode: bool, zones: Sequence[str]
) -> tuple[ShardRequest, ...]:
    """Return what is asked of each shard. *zones* are those that the nodes may be in."""
    preferred = params.get("PreferredCacheClusterAZs") or ()
    entries: Sequence[Mapping[str, Any]] = params.get("NodeGroupConfiguration") or ()
    node_count = params.get("NumCacheClusters")
    replica_count = params.get("ReplicasPerNodeGroup") or 0
    if node_count is not None:
        replica_count = node_count - 1
    if preferred:
        if shard_count > 1:
            raise wrong_combination(
                "PreferredCacheClusterAZs can only be specified for one node group."
            )
        if entries:
            raise wrong_combination(
                "PreferredCacheClusterAZs and NodeGroupConfiguration cannot be used together."
            )
        if len(preferred) != replica_count + 1:
            raise wrong_combination(
                f"PreferredCacheClusterAZs has {len(preferred)} entries for "
                f"{replica_count + 1} cache clusters."
            )
        for zone in preferred:
            check_zone("PreferredCacheClusterAZs", zone, zones)
        primary, *others = preferred
        return (
            ShardRequest(
                replica_count=replica_count, primary_zone=primary, replica_zones=tuple(others)
            ),
        )
    if not entries:
        return (ShardRequest(replica_count=replica_count),) * shard_count
    requests = tuple(
        _from_entry(entry, replica_count=replica_count, zones=zones) for entry in entries
    )
    _check_entries(requests, cluster_mode=cluster_mode)
    return requests


def _from_entry(
    entry: Mapping[str, Any], *, replica_count: int, zones: Sequence[str]
) -> ShardRequest:
    replica_zones = tuple(entry.get("ReplicaAvailabilityZones") or ())
    wanted = entry.get("ReplicaCount")
    if wanted is None:
        wanted = len(replica_zones) or replica_count
    check_replica_count(wanted)
    if replica_zones and len(replica_zones) != wanted:
        raise wrong_combination(
            f"ReplicaAvailabilityZones has {len(replica_zones)} entries for {wanted} replicas."
        )
    primary_zone = entry.get("PrimaryAvailabilityZone") or None
    for zone in replica_zones if primary_zone is None else (primary_zone, *replica_zones):
        check_zone("NodeGroupConfiguration", zone, zones)
    node_group_id = entry.get("NodeGroupId") or None
    return ShardRequest(
        replica_count=wanted,
        node_group_id=None if node_group_id is None else check_node_group_id(node_group_id),
        slots=entry.get("Slots"),
        primary_zone=primary_zone,
        replica_zones=replica_zones,
    )


def _check_entries(requests: Sequence[ShardRequest], *, cluster_mode: bool) -> None:
    named = [request.node_group_id for request in requests if request.node_group_id is not None]
    if len(set(named)) < len(named):
        raise wrong_value("The NodeGroupIds of NodeGroupConfiguration must differ.")
    with_slots = [request.slots for request in requests if request.slots is not None]
    if not with_slots:
        return
    if not cluster_mode:
        raise wrong_combination("Slots can only be specified with cluster mode enabled.")
    if len(with_slots) < len(requests) or not all(slots.strip() for slots in with_slots):
        raise wrong_value("Either every entry of NodeGroupConfiguration has Slots or none has.")
    try:
        choose_slots(with_slots)
    except BadSlots as problem:
        raise wrong_value(
            f"The Slots of NodeGroupConfiguration must be 0-16383, each once: {problem}."
        ) from problem


def check_failover(
    params: Mapping[str, Any], plans: Sequence[ShardPlan], *, cluster_mode: bool
) -> None:
    """Check automatic failover and Multi-AZ against the nodes that there will be."""
    failover = bool(params.get("AutomaticFailoverEnabled"))
    if cluster_mode and not failover:
        raise wrong_value(
            "Redis with cluster mode enabled cannot be created with auto failover turned off."
        )
    if failover and not cluster_mode and len(plans[0].nodes) < 2:
        raise wrong_combination(
            "When using automatic failover, there must be at least 2 cache clusters in the "
            "replication group."
        )
    if params.get("MultiAZEnabled"):
        if not failover:
            raise wrong_combination("Multi-AZ requires automatic failover to be enabled.")
        check_multi_az([[node.zone for node in plan.nodes] for plan in plans])


def check_multi_az(zones_by_shard: Sequence[Sequence[str]]) -> None:
    """Refuse Multi-AZ where a shard has all of its nodes in one zone, or only one node."""
    for zones in zones_by_shard:
        if len(zones) < 2:
            raise wrong_combination("Multi-AZ requires at least one replica in every node group.")
        if len(set(zones)) < 2:
            raise wrong_combination(
                "Multi-AZ requires the nodes of a node group to be in different availability zones."
            )


def check_cluster_size(plans: Sequence[ShardPlan]) -> None:
    """Check a group in cluster mode against the service's quotas."""
    if len(plans) > CLUSTER_NODES_MAX:
        raise Fault(
            "NodeGroupsPerReplicationGroupQuotaExceededFault",
            f"A replication group can have at most {CLUSTER_NODES_MAX} node groups.",
        )
    if sum(len(plan.nodes) for plan in plans) > CLUSTER_NODES_MAX:
        raise Fault(
            "NodeQuotaForClusterExceededFault",
            f"A replication group can have at most {CLUSTER_NODES_MAX} nodes.",
        )
