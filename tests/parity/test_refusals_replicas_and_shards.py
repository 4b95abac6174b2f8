"""What is refused of changes of how many replicas and shards there are: see :mod:`.clusters`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.clusters import (
    CASES,
    CLUSTER_STATE,
    COMBINATION,
    COMPATIBLE,
    GROUP_STATE,
    REPLICAS,
    VALUE,
    change,
    check,
    row,
)
from tests.support.world import World


def one_shard(node_group_id: str, count: int, **options: Any) -> dict[str, Any]:
    entry = {"NodeGroupId": node_group_id, "NewReplicaCount": count, **options}
    return {"ReplicaConfiguration": [entry]}


INCREASE = [
    row("nothing", change("no", NewReplicaCount=1), "ReplicationGroupNotFoundFault", status=404),
    row(
        "busy",
        change("busy", NewReplicaCount=2),
        GROUP_STATE,
        "Replication group must be in available state to modify.",
    ),
    row("later", {**change("pair", NewReplicaCount=2), "ApplyImmediately": False}, VALUE),
    row("neither", change("pair"), COMBINATION),
    row("both", change("pair", NewReplicaCount=2, **one_shard("0001", 2)), COMBINATION),
    row("equal", change("pair", NewReplicaCount=1), "NoOperationFault"),
    row("fewer", change("multi", NewReplicaCount=1), VALUE),
    row("six", change("pair", NewReplicaCount=6), VALUE, REPLICAS),
    row("unknown-shard", change("pair", **one_shard("0009", 2)), VALUE),
    row(
        "zone-count",
        change("pair", **one_shard("0001", 2, PreferredAvailabilityZones=["us-east-1a"])),
        COMBINATION,
    ),
    row(
        "zone-elsewhere",
        change("pair", **one_shard("0001", 2, PreferredAvailabilityZones=["x", "y", "z"])),
        VALUE,
    ),
]

INCREASE.append(row("compatible", change("compat", NewReplicaCount=2), GROUP_STATE, COMPATIBLE))

LAST_REPLICA = "Must have at least 1 replica when cluster mode is disabled with auto failover"

DECREASE = [
    row("busy", change("busy", NewReplicaCount=0), GROUP_STATE),
    row("later", {**change("pair", NewReplicaCount=0), "ApplyImmediately": False}, VALUE),
    row("neither", change("pair"), COMBINATION),
    row("both", change("pair", NewReplicaCount=0, ReplicasToRemove=["pair-002"]), COMBINATION),
    row("equal", change("pair", NewReplicaCount=1), "NoOperationFault"),
    row("more", change("pair", NewReplicaCount=2), VALUE),
    row("negative", change("pair", NewReplicaCount=-1), VALUE),
    row("none-with-failover", change("auto", NewReplicaCount=0), VALUE, LAST_REPLICA),
    row(
        "last-by-name",
        change("auto", ReplicasToRemove=["auto-002"]),
        VALUE,
        LAST_REPLICA,
    ),
    row("primary", change("pair", ReplicasToRemove=["pair-001"]), VALUE),
    row("stranger", change("pair", ReplicasToRemove=["single"]), VALUE),
    row("member-busy", change("stuck", NewReplicaCount=0), CLUSTER_STATE),
    row("compatible", change("compat", NewReplicaCount=0), GROUP_STATE, COMPATIBLE),
]

SHARDS = [
    row(
        "nothing",
        change("no", NodeGroupCount=2),
        "ReplicationGroupNotFoundFault",
        status=404,
    ),
    row(
        "without-cluster-mode",
        change("pair", NodeGroupCount=2),
        VALUE,
        "Operation is only applicable for cluster mode enabled replication groups.",
    ),
    row("compatible", change("compat", NodeGroupCount=2), GROUP_STATE, COMPATIBLE),
    row("later", {**change("shards", NodeGroupCount=3), "ApplyImmediately": False}, VALUE),
    row(
        "even-already",
        change("shards", NodeGroupCount=2),
        GROUP_STATE,
        "Slots in the replication group are uniformly distributed. Nothing to do.",
    ),
    row("none", change("shards", NodeGroupCount=0), VALUE),
    row("which-to-remove", change("shards", NodeGroupCount=1), COMBINATION),
    row(
        "unknown-shard",
        change("shards", NodeGroupCount=1, NodeGroupsToRemove=["0009"]),
        VALUE,
    ),
]


@pytest.mark.parametrize(CASES, INCREASE)
def test_increase_replica_count(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "IncreaseReplicaCount", params, (code, status, words))


@pytest.mark.parametrize(CASES, DECREASE)
def test_decrease_replica_count(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "DecreaseReplicaCount", params, (code, status, words))


@pytest.mark.parametrize(CASES, SHARDS)
def test_modify_replication_group_shard_configuration(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "ModifyReplicationGroupShardConfiguration", params, (code, status, words))
