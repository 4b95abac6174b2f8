"""What may be asked of a global datastore's shards: all regions have the same ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.validation import global_groups as checks
from cachefleet.api.validation.features import is_given
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.shards import CLUSTER_NODES_MAX
from cachefleet.engine.valkey.cluster import parse_slots, slot_count
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.layout import ShardRequest
from cachefleet.provisioner.state.tables import ReplicationGroup

Params = Mapping[str, Any]


def require_cluster_mode(group: ReplicationGroup) -> None:
    """Refuse a global datastore that has no shards to change."""
    if not group.cluster_enabled:
        raise wrong_value(
            "Operation is only applicable for cluster mode enabled global replication groups."
        )


def check_increase(primary: ReplicationGroup, wanted: int) -> None:
    """Refuse a number of shards that is no increase, or too large."""
    if not len(primary.node_groups) < wanted <= CLUSTER_NODES_MAX:
        raise wrong_value(
            f"NodeGroupCount must be more than {len(primary.node_groups)}, which there are, and at "
            f"most {CLUSTER_NODES_MAX}."
        )


def regional_configurations(
    row: GlobalGroup, params: Params
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Return what is asked of the new shards in each region, by the uid of its group."""
    found: dict[str, Sequence[Mapping[str, Any]]] = {}
    for entry in params.get("RegionalConfigurations") or ():
        member = checks.find_member(
            row, entry["ReplicationGroupId"], entry["ReplicationGroupRegion"]
        )
        if member.group_uid in found:
            raise wrong_value(f"RegionalConfigurations has two entries for {member.group_name}.")
        found[member.group_uid] = entry["ReshardingConfiguration"]
    return found


def same_ids(
    requests: Sequence[ShardRequest], wanted: Sequence[ShardRequest], group: ReplicationGroup
) -> list[str]:
    """Return the NodeGroupIds of *wanted*, those of the primary.

    Raises:
        Fault: a secondary's *requests* name others.
    """
    ids = [request.node_group_id or "" for request in wanted]
    named = [request.node_group_id for request in requests]
    if set(named) != set(ids):
        raise wrong_value(
            f"The new node groups of {group.name} must be those of the primary: {', '.join(ids)}."
        )
    return [name or "" for name in named]


def removed_shards(row: GlobalGroup, primary: ReplicationGroup, params: Params) -> list[str]:
    """Return the NodeGroupIds of the shards that are to go.

    Raises:
        Fault: the lists and the count do not fit each other, or what there is.
    """
    wanted, present = params["NodeGroupCount"], [s.node_group_id for s in primary.node_groups]
    if not 1 <= wanted < len(present):
        raise wrong_value(f"NodeGroupCount must be 1 to {len(present) - 1}.")
    lists = ("GlobalNodeGroupsToRemove", "GlobalNodeGroupsToRetain")
    given = [name for name in lists if is_given(params, name)]
    if len(given) != 1:
        raise wrong_combination(f"Specify exactly one of {lists[0]} and {lists[1]}.")
    prefix = f"{row.name}-"
    named = {name.removeprefix(prefix) for name in params[given[0]] if name.startswith(prefix)}
    if len(named) < len(set(params[given[0]])) or not named <= set(present):
        raise wrong_combination(
            f"{given[0]} names node groups that are not in {row.name}: "
            f"{', '.join(params[given[0]])}."
        )
    gone = [one for one in present if (one in named) == (given[0] == lists[0])]
    if len(present) - len(gone) != wanted:
        raise wrong_combination(
            f"{given[0]} leaves {len(present) - len(gone)} node groups, but NodeGroupCount is "
            f"{wanted}."
        )
    return gone


def require_uneven(primary: ReplicationGroup) -> None:
    """Refuse to even out what is even."""
    sizes = [slot_count(parse_slots(shard.slots)) for shard in primary.node_groups]
    if max(sizes) - min(sizes) <= 1:
        raise wrong_value(
            "Slots in the global replication group are uniformly distributed. Nothing to do."
        )
