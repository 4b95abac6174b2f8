"""Which replicas come and go when their number changes: pure, from the rows of a group."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.features import is_given
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.settings import check_zone
from cachefleet.api.validation.shards import check_replica_count
from cachefleet.api.validation.unavailable import refuse_outposts
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.state.layout import PlacedNode, choose_removals, zones_left
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup, ReplicationGroup
from cachefleet.provisioner.state.zones import spread

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """How many replicas a shard is to have, and in which zones its nodes, where that was asked."""

    node_group: NodeGroup
    replica_count: int
    zones: tuple[str, ...] = ()


def check_exactly_one(params: Params, *names: str) -> str:
    """Return which of *names* was given."""
    given = [name for name in names if is_given(params, name)]
    if len(given) != 1:
        raise wrong_combination(f"Specify exactly one of {', '.join(names)}.")
    return given[0]


def check_immediately(params: Params) -> None:
    """Refuse to wait: the number of replicas is changed at once or not at all."""
    if not params.get("ApplyImmediately"):
        raise wrong_value("ApplyImmediately must be true to change the number of replicas.")


def replicas_of(node_group: NodeGroup) -> list[CacheNode]:
    """Return the replicas of a shard."""
    return [node for node in node_group.nodes if node.role != NodeRole.PRIMARY]


def primary_of(node_group: NodeGroup) -> CacheNode:
    """Return the primary of a shard."""
    return next(node for node in node_group.nodes if node.role == NodeRole.PRIMARY)


def targets(
    group: ReplicationGroup, params: Params, *, zones: Collection[str]
) -> tuple[Target, ...]:
    """Return what each shard that was named, or every shard, is to have."""
    count = params.get("NewReplicaCount")
    if count is not None:
        check_replica_count(count)
        return tuple(Target(node_group, count) for node_group in group.node_groups)
    by_id = {node_group.node_group_id: node_group for node_group in group.node_groups}
    found: dict[str, Target] = {}
    for entry in params["ReplicaConfiguration"]:
        node_group = by_id.get(entry["NodeGroupId"])
        if node_group is None:
            raise wrong_value(
                f"Node group {entry['NodeGroupId']} is not in replication group {group.name}."
            )
        if node_group.node_group_id in found:
            raise wrong_value(f"Node group {node_group.node_group_id} is named twice.")
        refuse_outposts(entry)
        found[node_group.node_group_id] = Target(
            node_group,
            check_replica_count(entry["NewReplicaCount"]),
            _zones_of(entry, zones),
        )
    return tuple(found.values())


def _zones_of(entry: Mapping[str, Any], zones: Collection[str]) -> tuple[str, ...]:
    listed = tuple(entry.get("PreferredAvailabilityZones") or ())
    if listed and len(listed) != entry["NewReplicaCount"] + 1:
        raise wrong_combination(
            f"PreferredAvailabilityZones has {len(listed)} entries for "
            f"{entry['NewReplicaCount'] + 1} nodes, the primary among them."
        )
    for zone in listed:
        check_zone("PreferredAvailabilityZones", zone, tuple(zones))
    return listed


def check_grows(wanted: Sequence[Target]) -> None:
    """Refuse a number that leaves every shard as it is, or takes a replica from one."""
    for target in wanted:
        if target.replica_count < len(replicas_of(target.node_group)):
            raise wrong_value(
                f"Node group {target.node_group.node_group_id} has more than "
                f"{target.replica_count} replicas. Use DecreaseReplicaCount."
            )
    _check_changes(wanted)


def check_shrinks(group: ReplicationGroup, wanted: Sequence[Target]) -> None:
    """Refuse a number that leaves every shard as it is, adds a replica, or takes one too many."""
    for target in wanted:
        if target.replica_count > len(replicas_of(target.node_group)):
            raise wrong_value(
                f"Node group {target.node_group.node_group_id} has fewer than "
                f"{target.replica_count} replicas. Use IncreaseReplicaCount."
            )
    _check_changes(wanted)
    for target in wanted:
        check_left(group, target.replica_count)


def check_left(group: ReplicationGroup, replica_count: int) -> None:
    """Refuse to leave a shard with too few replicas for what the group promises."""
    if replica_count > 0:
        return
    if not group.cluster_enabled and group.automatic_failover in ("enabled", "enabling"):
        raise wrong_value(
            "Must have at least 1 replica when cluster mode is disabled with auto failover enabled."
        )
    if group.multi_az == "enabled":
        raise wrong_value("Must have at least 1 replica when Multi-AZ is enabled.")


def _check_changes(wanted: Sequence[Target]) -> None:
    if all(target.replica_count == len(replicas_of(target.node_group)) for target in wanted):
        raise Fault("NoOperationFault", "The number of replicas is what was asked for already.")


def zones_for_new(target: Target, *, zones: Sequence[str]) -> list[str]:
    """Return a zone for each replica that the shard lacks."""
    taken = [node.availability_zone for node in target.node_group.nodes]
    added = target.replica_count + 1 - len(taken)
    if target.zones:
        return zones_left(target.zones, taken)[:added]
    return spread(zones, added, taken=taken)


def names_to_remove(target: Target) -> list[str]:
    """Return the names of the replicas that the shard has too many."""
    replicas = replicas_of(target.node_group)
    return choose_removals(
        [
            PlacedNode(member_name=node.member_name, zone=node.availability_zone)
            for node in replicas
        ],
        len(replicas) - target.replica_count,
        primary_zone=primary_of(target.node_group).availability_zone,
        zones_kept=target.zones,
    )


def check_named_removals(group: ReplicationGroup, names: Sequence[str]) -> list[str]:
    """Return the names of the replicas that were chosen by name, each once."""
    chosen = list(dict.fromkeys(name.lower() for name in names))
    nodes = {node.member_name: node for shard in group.node_groups for node in shard.nodes}
    for name in chosen:
        node = nodes.get(name)
        if node is None:
            raise wrong_value(f"{name} is not a member of replication group {group.name}.")
        if node.role == NodeRole.PRIMARY:
            raise wrong_value(f"{name} is a primary and cannot be removed.")
    for shard in group.node_groups:
        left = [node for node in replicas_of(shard) if node.member_name not in chosen]
        check_left(group, len(left))
    return chosen
