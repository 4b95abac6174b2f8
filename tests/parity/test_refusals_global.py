"""What the service refuses of global datastores, and of the groups that are members of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cachefleet.provisioner.state import ids
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import EndpointAddress, NodeGroup, ReplicationGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

FIT = "cache.r7g.large"
THERE, ELSEWHERE = "eu-west-1", "ap-south-1"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def datastore(
    tx: Transaction, suffix: str, primary: ReplicationGroup, *others: str, status: str = "available"
) -> None:
    """Write a global datastore of *primary* and of groups in *others*, which have no rows."""
    name, uid = f"ldgnf-{suffix}", ids.new_uid()
    primary.global_name, primary.global_role = name, "PRIMARY"
    members = [
        GlobalMember(
            uid=ids.new_uid(),
            account=SCOPE.account,
            global_uid=uid,
            group_uid=primary.uid if region == SCOPE.region else ids.new_uid(),
            group_name=primary.name if region == SCOPE.region else "far",
            region=region,
            role="PRIMARY" if region == SCOPE.region else "SECONDARY",
            status="associated",
        )
        for region in (SCOPE.region, *others)
    ]
    row = GlobalGroup(
        uid=uid,
        account=SCOPE.account,
        region="",
        name=name,
        description="",
        status=status,
        pending={},
        created_at=tx.now,
        members=members,
    )
    tx.session.add(row)
    await tx.session.flush()


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        async with opened.store.begin(SCOPE) as tx:
            await groups.replication_group(tx, "free", node_type=FIT)
            await groups.replication_group(tx, "small")
            await groups.replication_group(tx, "busy", node_type=FIT, status="modifying")
            await groups.replication_group(
                tx,
                "old",
                node_type="cache.r5.large",
                engine_version="5.0.5",
                parameter_group_name="default.redis5.0",
            )
            for number, (name, others, status) in enumerate(
                [
                    ("leads", [THERE], "available"),
                    ("alone", [], "primary-only"),
                    ("moving", [THERE], "modifying"),
                ]
            ):
                group = await groups.replication_group(tx, name, node_type=FIT)
                await datastore(tx, name, group, *others, status=status)
                tx.session.add(
                    EndpointAddress(
                        kind="primary",
                        subject_uid=group.uid,
                        host=f"127.0.1.{number + 1}",
                        port=6379,
                    )
                )
            await sharded(tx)
            moving = await tx.get(ReplicationGroup, "moving")
            moving.parameter_group_name = "global-datastore-moving"
            groups.parameter_group(tx, "global-datastore-moving")
        yield opened


async def sharded(tx: Transaction) -> None:
    """Write a global datastore in cluster mode, of two shards with an equal share of slots."""
    group = await groups.replication_group(tx, "sharded", node_type=FIT)
    group.cluster_mode = "enabled"
    tx.session.add(
        NodeGroup(
            uid=ids.new_uid(),
            replication_group_uid=group.uid,
            node_group_id="0002",
            status="available",
            slots="8192-16383",
            engine_shard_id=ids.new_engine_id(),
        )
    )
    await tx.session.flush()
    await tx.session.refresh(group, ["node_groups"])
    group.node_groups[0].slots = "0-8191"
    await datastore(tx, "sharded", group)
    compatible = await groups.replication_group(tx, "compatible", node_type=FIT)
    compatible.cluster_mode = "compatible"
    await tx.session.flush()


def row(
    id_: str, operation: str, params: dict[str, Any], code: str, fragment: str, status: int = 400
) -> Any:
    return pytest.param(operation, params, code, status, fragment, id=id_)


VALUE, COMBINATION = "InvalidParameterValue", "InvalidParameterCombination"
STATE, MISSING = "InvalidGlobalReplicationGroupState", "GlobalReplicationGroupNotFoundFault"
CREATE, MODIFY = "CreateGlobalReplicationGroup", "ModifyGlobalReplicationGroup"
FAILOVER, DISASSOCIATE = "FailoverGlobalReplicationGroup", "DisassociateGlobalReplicationGroup"
DELETE, JOIN = "DeleteGlobalReplicationGroup", "CreateReplicationGroup"
PART = "is part of a global cluster [ldgnf-leads]. Request rejected."


def create(primary: str = "free", suffix: str = "new") -> dict[str, Any]:
    return {"GlobalReplicationGroupIdSuffix": suffix, "PrimaryReplicationGroupId": primary}


def of(name: str = "ldgnf-leads", **params: Any) -> dict[str, Any]:
    return {"GlobalReplicationGroupId": name, **params}


def join(name: str = "ldgnf-alone", **params: Any) -> dict[str, Any]:
    return {
        "ReplicationGroupId": "new",
        "ReplicationGroupDescription": "d",
        "GlobalReplicationGroupId": name,
        **params,
    }


def shards(**params: Any) -> dict[str, Any]:
    return {"GlobalReplicationGroupId": "ldgnf-sharded", **NOW, **params}


def regional(group: str, *node_groups: str) -> dict[str, Any]:
    return {
        "ReplicationGroupId": group,
        "ReplicationGroupRegion": SCOPE.region,
        "ReshardingConfiguration": [{"NodeGroupId": name} for name in node_groups],
    }


VALUES = {"ParameterName": "maxmemory-policy", "ParameterValue": "allkeys-lru"}
SECOND = "ldgnf-sharded-0002"
NOW: dict[str, Any] = {"ApplyImmediately": True}
# Everything that acts on a global datastore by its name, with what else it requires.
ACTS: dict[str, dict[str, Any]] = {
    MODIFY: {**NOW, "CacheNodeType": "cache.r7g.xlarge"},
    FAILOVER: {"PrimaryRegion": THERE, "PrimaryReplicationGroupId": "far"},
    DISASSOCIATE: {"ReplicationGroupId": "far", "ReplicationGroupRegion": THERE},
    "IncreaseNodeGroupsInGlobalReplicationGroup": {**NOW, "NodeGroupCount": 3},
    "DecreaseNodeGroupsInGlobalReplicationGroup": {**NOW, "NodeGroupCount": 1},
    "RebalanceSlotsInGlobalReplicationGroup": NOW,
}
INCREASE, DECREASE, REBALANCE = list(ACTS)[3:]
TO_REMOVE, TO_RETAIN = "GlobalNodeGroupsToRemove", "GlobalNodeGroupsToRetain"
INHERITED: dict[str, Any] = {
    "CacheNodeType": FIT,
    "Engine": "redis",
    "EngineVersion": "7.1",
    "CacheParameterGroupName": "default.redis7",
    "NumNodeGroups": 1,
    "AutomaticFailoverEnabled": True,
    "TransitEncryptionEnabled": False,
    "AtRestEncryptionEnabled": False,
    "SnapshotName": "s",
    "PrimaryClusterId": "c",
}

OF_MEMBERS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("ModifyReplicationGroup", {"ReplicationGroupId": "leads", **change})
        for change in (
            {"CacheNodeType": "cache.r7g.xlarge"},
            {"EngineVersion": "7.1"},
            {"Engine": "valkey"},
            {"CacheParameterGroupName": "default.redis7"},
            {"AutomaticFailoverEnabled": False},
        )
    ),
    ("DeleteReplicationGroup", {"ReplicationGroupId": "leads"}),
    (
        "ModifyReplicationGroupShardConfiguration",
        {"ReplicationGroupId": "leads", "NodeGroupCount": 2, **NOW},
    ),
    (
        "StartMigration",
        {
            "ReplicationGroupId": "leads",
            "CustomerNodeEndpointList": [{"Address": "a", "Port": 1}],
        },
    ),
]

ROWS = [
    row("missing-group", CREATE, create("nobody"), "ReplicationGroupNotFoundFault", "nobody", 404),
    row("busy-group", CREATE, create("busy"), "InvalidReplicationGroupState", "busy"),
    row(
        "small-node",
        CREATE,
        create("small"),
        VALUE,
        "Global replication group is not supported for the node type.",
    ),
    row("old-engine", CREATE, create("old"), VALUE, "5.0.5"),
    row("member-already", CREATE, create("leads"), VALUE, PART),
    row(
        "suffix-taken",
        CREATE,
        create(suffix="LEADS"),
        "GlobalReplicationGroupAlreadyExistsFault",
        "ldgnf-leads",
    ),
    row("suffix-empty", CREATE, create(suffix=""), VALUE, "GlobalReplicationGroupIdSuffix"),
    row("suffix-bad", CREATE, create(suffix="a_b"), VALUE, "GlobalReplicationGroupIdSuffix"),
    row("suffix-long", CREATE, create(suffix="a" * 51), VALUE, "GlobalReplicationGroupIdSuffix"),
    row(
        "description-long",
        CREATE,
        {**create(), "GlobalReplicationGroupDescription": "d" * 1025},
        VALUE,
        "Description",
    ),
    row("describe-missing", "DescribeGlobalReplicationGroups", of("x"), MISSING, "x", 404),
    row("nothing", MODIFY, of(**NOW), VALUE, "At least one"),
    row("later", MODIFY, of(ApplyImmediately=False, CacheNodeType=FIT), VALUE, "ApplyImmediately"),
    row("unfit", MODIFY, of(**NOW, CacheNodeType="cache.t3.small"), VALUE, "node type"),
    row("unknown-node-type", MODIFY, of(**NOW, CacheNodeType="cache.x"), VALUE, "cache.x"),
    row("older", MODIFY, of(**NOW, EngineVersion="6.2"), VALUE, "downgrade"),
    row(
        "parameters-alone",
        MODIFY,
        of(**NOW, EngineVersion="7.1", CacheParameterGroupName="default.redis7"),
        VALUE,
        "major version",
    ),
    row(
        "failover-to-primary",
        FAILOVER,
        of(PrimaryRegion=SCOPE.region, PrimaryReplicationGroupId="leads"),
        VALUE,
        "primary already",
    ),
    row(
        "failover-to-nobody",
        FAILOVER,
        of(PrimaryRegion=ELSEWHERE, PrimaryReplicationGroupId="far"),
        VALUE,
        "is not associated with Global Replication Group",
    ),
    row(
        "disassociate-primary",
        DISASSOCIATE,
        of(ReplicationGroupId="leads", ReplicationGroupRegion=SCOPE.region),
        VALUE,
        "cannot be disassociated",
    ),
    row(
        "disassociate-nobody",
        DISASSOCIATE,
        of(ReplicationGroupId="free", ReplicationGroupRegion=SCOPE.region),
        VALUE,
        "is not associated with Global Replication Group",
    ),
    row(
        "delete-with-secondaries",
        DELETE,
        of(RetainPrimaryReplicationGroup=True),
        STATE,
        "Cannot delete a global replication group in available state",
    ),
    row("delete-missing", DELETE, of("x", RetainPrimaryReplicationGroup=True), MISSING, "x", 404),
    row("join-missing", JOIN, join("x"), MISSING, "x", 404),
    row("join-busy", JOIN, join("ldgnf-moving"), STATE, "ldgnf-moving"),
    row("compatible", CREATE, create("compatible"), VALUE, "compatible"),
    *(
        row(f"increase-{id_}", INCREASE, shards(**params), VALUE, fragment)
        for id_, params, fragment in (
            ("to-none", {"NodeGroupCount": 0}, "more than 2"),
            ("to-what-there-is", {"NodeGroupCount": 2}, "more than 2"),
            ("to-too-many", {"NodeGroupCount": 91}, "at most 90"),
            ("later", {"NodeGroupCount": 3, "ApplyImmediately": False}, "ApplyImmediately"),
            (
                "of-no-member",
                {"NodeGroupCount": 3, "RegionalConfigurations": [regional("nobody", "0003")]},
                "is not associated with Global Replication Group",
            ),
            (
                "of-one-twice",
                {
                    "NodeGroupCount": 3,
                    "RegionalConfigurations": [regional("sharded", "0003")] * 2,
                },
                "two entries",
            ),
            (
                "with-too-many-entries",
                {
                    "NodeGroupCount": 3,
                    "RegionalConfigurations": [regional("sharded", "0003", "0004")],
                },
                "2 entries for 1 new",
            ),
        )
    ),
    *(
        row(f"decrease-{id_}", DECREASE, shards(**params), code, fragment)
        for id_, params, code, fragment in (
            ("to-none", {"NodeGroupCount": 0}, VALUE, "1 to 1"),
            ("to-what-there-is", {"NodeGroupCount": 2}, VALUE, "1 to 1"),
            ("without-names", {"NodeGroupCount": 1}, COMBINATION, "exactly one"),
            (
                "with-both",
                {"NodeGroupCount": 1, TO_REMOVE: [SECOND], TO_RETAIN: [SECOND]},
                COMBINATION,
                "exactly one",
            ),
            ("of-another", {"NodeGroupCount": 1, TO_REMOVE: ["0002"]}, COMBINATION, "not in"),
            (
                "of-nobody",
                {"NodeGroupCount": 1, TO_REMOVE: ["ldgnf-sharded-0009"]},
                COMBINATION,
                "not in",
            ),
            (
                "of-all",
                {"NodeGroupCount": 1, TO_REMOVE: ["ldgnf-sharded-0001", SECOND]},
                COMBINATION,
                "leaves 0",
            ),
        )
    ),
    *(
        row(
            f"{operation}-while-it-moves",
            operation,
            {"CacheParameterGroupName": "global-datastore-moving", "ParameterNameValues": [VALUES]},
            STATE,
            "ldgnf-moving",
        )
        for operation in ("ModifyCacheParameterGroup", "ResetCacheParameterGroup")
    ),
    row("rebalance-even", REBALANCE, shards(), VALUE, "uniformly distributed"),
    row("join-in-the-same-region", JOIN, join(), VALUE, "has a member in us-east-1 already"),
]
ROWS += [
    row(f"{operation}-missing", operation, of("x", **params), MISSING, "x", 404)
    for operation, params in ACTS.items()
]
ROWS += [
    row(f"{operation}-busy", operation, of("ldgnf-moving", **params), STATE, "modifying")
    for operation, params in ACTS.items()
]
ROWS += [
    row(f"{operation}-without-shards", operation, of(**params), VALUE, "cluster mode")
    for operation, params in ACTS.items()
    if ("Group" in operation and "NodeGroup" in operation) or "Slots" in operation
]
ROWS += [
    row(f"join-with-{name}", JOIN, join(**{name: value}), COMBINATION, "Cannot use the given")
    for name, value in INHERITED.items()
    if value is not False
]
ROWS += [
    row(f"member-{operation}-{number}", operation, params, VALUE, PART)
    for number, (operation, params) in enumerate(OF_MEMBERS)
]


@pytest.mark.parametrize(("operation", "params", "code", "status", "fragment"), ROWS)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, status: int, fragment: str
) -> None:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert fragment in refusal.value.message
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"
