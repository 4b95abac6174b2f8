"""Which nodes a resource is made of: their names, roles, zones and slots. Pure.

Names follow the service: ``<group>-001`` without cluster mode, ``<group>-<shard>-001`` with it, the
lowest free number first; a name that another resource of the scope holds counts as taken. Zones
that were not asked for are spread: within a shard no zone is used twice while one is unused, and
each shard begins with the next zone, so that primaries spread too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count as count_from

from cachefleet.engine.types import NodeRole
from cachefleet.engine.valkey.cluster import check_partition, even_slots, format_slots, parse_slots
from cachefleet.provisioner.state.zones import spread

FIRST_NODE_ID = "0001"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRequest:
    """What was asked of one shard; None and empty mean that the choice is ours."""

    replica_count: int
    node_group_id: str | None = None
    slots: str | None = None
    primary_zone: str | None = None
    replica_zones: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlan:
    """One node of a replication group, under the name of its cache cluster."""

    member_name: str
    role: NodeRole
    zone: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """One shard; ``slots`` is empty where cluster mode is disabled. The primary comes first."""

    node_group_id: str
    slots: str
    nodes: tuple[NodePlan, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedNode:
    """A replica that already runs, and where."""

    member_name: str
    zone: str


def lay_out_group(
    name: str,
    shards: Sequence[ShardRequest],
    *,
    cluster_mode: bool,
    zones: Sequence[str],
    taken_names: Collection[str] = (),
    primary_name: str | None = None,
) -> tuple[ShardPlan, ...]:
    """Return the shards of a new group.

    *zones* is in the order in which this group takes them; *primary_name* is an existing cluster
    that becomes the primary, where there is one (one shard then).

    Raises:
        BadSlots: the slots that were asked for leave a gap or overlap.
    """
    assert shards
    assert cluster_mode or len(shards) == 1
    assert primary_name is None or len(shards) == 1
    ids = choose_node_group_ids([shard.node_group_id for shard in shards])
    slots = choose_slots([shard.slots for shard in shards]) if cluster_mode else [""]
    plans = []
    for index, (shard, node_group_id) in enumerate(zip(shards, ids, strict=True)):
        prefix = member_prefix(name, node_group_id if cluster_mode else None)
        names = free_member_names(prefix, taken_names)
        turned = _turn(zones, index)
        primary_zone = shard.primary_zone or turned[0]
        replica_zones = list(shard.replica_zones) or spread(
            turned, shard.replica_count, taken=[primary_zone]
        )
        assert len(replica_zones) == shard.replica_count
        primary = NodePlan(
            member_name=primary_name or next(names), role=NodeRole.PRIMARY, zone=primary_zone
        )
        replicas = [
            NodePlan(member_name=next(names), role=NodeRole.REPLICA, zone=zone)
            for zone in replica_zones
        ]
        plans.append(
            ShardPlan(node_group_id=node_group_id, slots=slots[index], nodes=(primary, *replicas))
        )
    return tuple(plans)


def choose_slots(wanted: Sequence[str | None]) -> list[str]:
    """Return the slots of each shard: an even split, or those that were asked for.

    Raises:
        BadSlots: those that were asked for are not all slots, each once.
    """
    if all(slots is None for slots in wanted):
        return [format_slots([slots]) for slots in even_slots(len(wanted))]
    ranges = [parse_slots(slots or "") for slots in wanted]
    check_partition(ranges)
    return [format_slots(owned) for owned in ranges]


def choose_node_group_ids(wanted: Sequence[str | None]) -> list[str]:
    """Return an id for each shard; ``0001``, ``0002``, ... where none was asked for."""
    taken = {node_group_id for node_group_id in wanted if node_group_id is not None}
    free = (text for text in _numbers(4) if text not in taken)
    return [node_group_id or next(free) for node_group_id in wanted]


def member_prefix(name: str, node_group_id: str | None) -> str:
    """Return what the names of a shard's members begin with; no shard without cluster mode."""
    return f"{name}-" if node_group_id is None else f"{name}-{node_group_id}-"


def free_member_names(prefix: str, taken: Collection[str]) -> Iterator[str]:
    """Yield the free member names behind *prefix*, the lowest number first."""
    return (
        member_name
        for member_name in (f"{prefix}{text}" for text in _numbers(3))
        if member_name not in taken
    )


def free_node_ids(count: int, taken: Collection[str]) -> list[str]:
    """Return *count* ids for memcached nodes: the lowest that are not in *taken*."""
    free = (text for text in _numbers(4) if text not in taken)
    return [next(free) for _ in range(count)]


def zones_left(preferred: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Return the zones of *preferred* that the nodes in *taken* do not use up, in order."""
    used = Counter(taken)
    left = []
    for zone in preferred:
        if used[zone] > 0:
            used[zone] -= 1
        else:
            left.append(zone)
    return left


def choose_removals(
    replicas: Sequence[PlacedNode],
    count: int,
    *,
    primary_zone: str,
    zones_kept: Sequence[str] = (),
) -> list[str]:
    """Return the names of the *count* replicas whose loss leaves the best spread.

    One at a time, from the zone that holds most nodes of the shard; the highest name in a tie.
    *zones_kept*, where given, are the zones (the primary's among them) that should remain: replicas
    outside of them go first.
    """
    assert count <= len(replicas)
    staying = list(replicas)
    wanted = Counter(zones_kept)
    removed = []
    for _ in range(count):
        surplus = Counter([primary_zone, *(replica.zone for replica in staying)])
        surplus.subtract(wanted)
        # By pairs, so that nothing but the two decides: how crowded the zone is, then the name.
        ranked = [(surplus[replica.zone], replica.member_name, replica) for replica in staying]
        gone = max(ranked, key=lambda row: row[:2])[2]
        staying.remove(gone)
        removed.append(gone.member_name)
    return removed


def _turn(zones: Sequence[str], index: int) -> tuple[str, ...]:
    first = index % len(zones)
    return (*zones[first:], *zones[:first])


def _numbers(width: int) -> Iterator[str]:
    return (f"{number:0{width}}" for number in count_from(1))
