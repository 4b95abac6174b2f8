"""What ModifyReplicationGroupShardConfiguration asks for, checked against the group. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.features import is_given
from cachefleet.api.validation.identifiers import check_node_group_id
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.settings import check_zone
from cachefleet.api.validation.shards import CLUSTER_NODES_MAX
from cachefleet.engine.valkey.cluster import parse_slots, slot_count
from cachefleet.provisioner.state.layout import ShardRequest
from cachefleet.provisioner.state.tables import ReplicationGroup

Params = Mapping[str, Any]

NODE_GROUP_NUMBER_MAX = 9999
_LISTS = ("NodeGroupsToRemove", "NodeGroupsToRetain")


@dataclass(frozen=True, slots=True)
class Resharding:
    """The shards that are to come, and the NodeGroupIds of those that are to go."""

    added: tuple[ShardRequest, ...] = ()
    removed: tuple[str, ...] = ()


def plan_resharding(group: ReplicationGroup, params: Params, *, zones: Sequence[str]) -> Resharding:
    """Return what is to change; *zones* are those that new nodes may be in.

    Raises:
        Fault: the request is wrong in itself, or for this group.
    """
    wanted = params["NodeGroupCount"]
    current = len(group.node_groups)
    if wanted < 1:
        raise wrong_value("NodeGroupCount must be at least 1.")
    if wanted > CLUSTER_NODES_MAX:
        raise Fault(
            "NodeGroupsPerReplicationGroupQuotaExceededFault",
            f"A replication group can have at most {CLUSTER_NODES_MAX} node groups.",
        )
    if wanted > current:
        _refuse_given(params, _LISTS, "when node groups are added")
        return Resharding(added=_added(group, params, wanted - current, zones))
    _refuse_given(params, ("ReshardingConfiguration",), "unless node groups are added")
    if wanted < current:
        return Resharding(removed=_removed(group, params, current - wanted))
    _refuse_given(params, _LISTS, "when NodeGroupCount is unchanged")
    _refuse_even(group)
    return Resharding()


def _refuse_given(params: Params, names: Sequence[str], when: str) -> None:
    for name in names:
        if is_given(params, name):
            raise wrong_combination(f"{name} cannot be specified {when}.")


def _refuse_even(group: ReplicationGroup) -> None:
    sizes = [slot_count(parse_slots(shard.slots)) for shard in group.node_groups]
    if max(sizes) - min(sizes) <= 1:
        raise Fault(
            "InvalidReplicationGroupStateFault",
            "Slots in the replication group are uniformly distributed. Nothing to do.",
        )


def _removed(group: ReplicationGroup, params: Params, count: int) -> tuple[str, ...]:
    given = [name for name in _LISTS if is_given(params, name)]
    if len(given) != 1:
        raise wrong_combination(
            "Specify exactly one of NodeGroupsToRemove and NodeGroupsToRetain to remove node "
            "groups."
        )
    named = list(dict.fromkeys(params[given[0]]))
    present = [shard.node_group_id for shard in group.node_groups]
    for node_group_id in named:
        if node_group_id not in present:
            raise wrong_value(
                f"Node group {node_group_id} is not in replication group {group.name}."
            )
    if given[0] == "NodeGroupsToRetain":
        named = [node_group_id for node_group_id in present if node_group_id not in named]
    if len(named) != count:
        raise wrong_value(
            f"{given[0]} leaves {len(present) - len(named)} node groups, but NodeGroupCount is "
            f"{len(present) - count}."
        )
    return tuple(named)


def _added(
    group: ReplicationGroup, params: Params, count: int, zones: Sequence[str]
) -> tuple[ShardRequest, ...]:
    """Return the new shards, each with as many nodes as the smallest that is there."""
    present = [shard.node_group_id for shard in group.node_groups]
    node_count = min(len(shard.nodes) for shard in group.node_groups)
    entries = _entries_for_new(params.get("ReshardingConfiguration") or (), present, count)
    chosen = [entry.get("NodeGroupId") or None for entry in entries]
    for node_group_id in chosen:
        if node_group_id is not None:
            check_node_group_id(node_group_id)
    if len({*chosen} - {None}) < len([name for name in chosen if name is not None]):
        raise wrong_value("The NodeGroupIds of ReshardingConfiguration must differ.")
    free = iter(_free_ids(count, {*present, *(name for name in chosen if name is not None)}))
    requests = []
    for index in range(count):
        entry = entries[index] if index < len(entries) else {}
        preferred = _zones_of(entry, node_count, zones)
        requests.append(
            ShardRequest(
                node_group_id=entry.get("NodeGroupId") or next(free),
                replica_count=node_count - 1,
                primary_zone=preferred[0] if preferred else None,
                replica_zones=preferred[1:],
            )
        )
    return tuple(requests)


def _entries_for_new(
    entries: Sequence[Mapping[str, Any]], present: Collection[str], count: int
) -> list[Mapping[str, Any]]:
    """Return the entries for shards that are to come.

    There may be an entry for each of them alone, or for each shard that there will be: those of
    shards that are there already say nothing that could be changed.
    """
    rest = [entry for entry in entries if entry.get("NodeGroupId") not in present]
    there = len(present) - (len(entries) - len(rest))
    if len(entries) == len(present) + count:
        # Entries without an id stand for shards in order: first those that are there.
        unnamed = [entry for entry in rest if not entry.get("NodeGroupId")][:there]
        rest = [entry for entry in rest if not any(entry is ignored for ignored in unnamed)]
    if len(rest) > count:
        raise wrong_value(
            f"ReshardingConfiguration has {len(rest)} entries for {count} new node groups."
        )
    return rest


def _zones_of(entry: Mapping[str, Any], node_count: int, zones: Sequence[str]) -> tuple[str, ...]:
    preferred = tuple(entry.get("PreferredAvailabilityZones") or ())
    if preferred and len(preferred) != node_count:
        raise wrong_value(
            f"PreferredAvailabilityZones has {len(preferred)} entries for {node_count} nodes."
        )
    for zone in preferred:
        check_zone("PreferredAvailabilityZones", zone, zones)
    return preferred


def _free_ids(count: int, taken: Collection[str]) -> list[str]:
    """Return the next numbers: above the highest, and below only where those have run out."""
    highest = max(int(node_group_id) for node_group_id in taken)
    numbers = [*range(highest + 1, NODE_GROUP_NUMBER_MAX + 1), *range(1, highest)]
    free = (f"{number:04}" for number in numbers)
    return [
        text for _, text in zip(range(count), (t for t in free if t not in taken), strict=False)
    ]
