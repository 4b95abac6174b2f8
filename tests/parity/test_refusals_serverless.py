"""Every refusal that the service documents for serverless caches and their snapshots, as a table.

A refusal has its code, its status and its known words, and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from cachefleet.provisioner.state.access_tables import User, UserGroup
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.world import World

ARN = "arn:aws:elasticache:us-east-1:000000000000"
VALUE, COMBINATION = "InvalidParameterValue", "InvalidParameterCombination"
STATE = "InvalidServerlessCacheStateFault"
SNAPSHOT_STATE = "InvalidServerlessCacheSnapshotStateFault"
MISSING, TAKEN = "ServerlessCacheNotFoundFault", "ServerlessCacheAlreadyExistsFault"
SNAPSHOT_MISSING = "ServerlessCacheSnapshotNotFoundFault"
SNAPSHOT_TAKEN = "ServerlessCacheSnapshotAlreadyExistsFault"
QUOTA = "ServerlessCacheQuotaForCustomerExceededFault"
ONE_ONLY = "Serverless Cache modifications only support modifying one field per request."
ECPU = (
    "Invalid value for ECPUPerSecond limit. Must be between 1000 and 15000000. You can set the "
    "value to zero to remove the limit."
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give one cache of each kind and status, and snapshots of one of them."""
    loop = asyncio.new_event_loop()
    stack = contextlib.AsyncExitStack()
    try:
        directory: Path = tmp_path_factory.mktemp("serverless")
        api = loop.run_until_complete(stack.enter_async_context(open_api(directory)))
        loop.run_until_complete(_populate(api))
        yield World(api, loop)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


PHASES = {
    "looked": "preparing",
    "fed": "syncing",
    "same": "in-sync",
    "halted": "stopped",
    "cutting": "cutting-over",
}


async def _populate(api: Api) -> None:
    await api("CreateUser", UserId="owner", UserName="owner", Engine="valkey",
              AccessString="on ~* +@all", Passwords=["p" * 16])  # fmt: skip
    await api("CreateUserGroup", UserGroupId="team", Engine="valkey", UserIds=["owner"])
    await api("CreateUserGroup", UserGroupId="busy", Engine="valkey", UserIds=["owner"])
    for name, engine in (
        ("ready", "valkey"), ("redis", "redis"), ("mem", "memcached"), ("starting", "valkey"),
        ("copied", "valkey"), ("failed", "valkey"), ("leaving", "valkey"),
        ("full", "valkey"), ("looked", "valkey"), ("fed", "valkey"), ("same", "valkey"),
        ("halted", "valkey"), ("cutting", "valkey"),
    ):  # fmt: skip
        await api("CreateServerlessCache", ServerlessCacheName=name, Engine=engine)
    async with api.store.begin(SCOPE) as tx:
        for user in (await tx.session.scalars(select(User))).all():
            user.status = "active"
        for team in (await tx.session.scalars(select(UserGroup))).all():
            team.status = "modifying" if team.name == "busy" else "active"
        for cache in (await tx.session.scalars(select(ServerlessCache))).all():
            cache.status = {
                "starting": "creating", "failed": "create-failed", "leaving": "deleting"
            }.get(cache.name, "available")  # fmt: skip
            if cache.name in PHASES:
                cache.migration = {"phase": PHASES[cache.name], "dirty": cache.name == "halted"}
        await _put_available(tx.session)
    await api("CreateServerlessCacheSnapshot", ServerlessCacheName="ready",
              ServerlessCacheSnapshotName="whole")  # fmt: skip
    async with api.store.begin(SCOPE.shadow) as tx:
        (snapshot,) = (await tx.session.scalars(select(Snapshot))).all()
        snapshot.status = "available"
        await _put_available(tx.session)
        full = await tx.get(ReplicationGroup, "full")
        for number in range(24):
            tx.enqueue(
                "snapshot",
                subject_uid=full.uid,
                payload={"of": "full", "kind": "manual", "snapshot": f"f{number}", "final": False},
            ).state = "done"
    await api("CreateServerlessCacheSnapshot", ServerlessCacheName="copied",
              ServerlessCacheSnapshotName="unfinished")  # fmt: skip


async def _put_available(session: Any) -> None:
    for table in (ReplicationGroup, CacheCluster):
        await session.execute(update(table).values(status="available"))


def row(
    id_: str, operation: str, params: dict[str, Any], code: str, words: str = "", status: int = 400
) -> Any:
    return pytest.param(operation, params, code, status, words, id=f"{operation}-{id_}")


def create(id_: str, code: str, words: str = "", status: int = 400, **params: Any) -> Any:
    given = {"ServerlessCacheName": "new", "Engine": "valkey", **params}
    return row(id_, "CreateServerlessCache", given, code, words, status)


def modify(id_: str, code: str, words: str = "", status: int = 400, **params: Any) -> Any:
    given = {"ServerlessCacheName": "ready", **params}
    return row(id_, "ModifyServerlessCache", given, code, words, status)


def data(**given: Any) -> dict[str, Any]:
    return {"CacheUsageLimits": {"DataStorage": {"Unit": "GB", **given}}}


def units(**given: Any) -> dict[str, Any]:
    return {"CacheUsageLimits": {"ECPUPerSecond": given}}


def take(id_: str, of: str, name: str, code: str, words: str = "", status: int = 400) -> Any:
    params = {"ServerlessCacheName": of, "ServerlessCacheSnapshotName": name}
    return row(id_, "CreateServerlessCacheSnapshot", params, code, words, status)


CREATE = [
    create("taken-in-any-case", TAKEN, "ready", ServerlessCacheName="READY"),
    create("name-with-a-dot", VALUE, "ServerlessCacheName", ServerlessCacheName="a.b"),
    create("name-too-long", VALUE, "40", ServerlessCacheName="a" * 41),
    create("unknown-engine", VALUE, "engine", Engine="dragon"),
    create("unknown-version", VALUE, "MajorEngineVersion", MajorEngineVersion="9"),
    create("version-of-another-engine", VALUE, "7", Engine="redis", MajorEngineVersion="8"),
    create("too-little-data", VALUE, "between 1 and 5000", **data(Maximum=-1)),
    create("too-much-data", VALUE, "between 1 and 5000", **data(Maximum=5001)),
    create("minimum-over-maximum", VALUE, "DataStorage", **data(Minimum=3, Maximum=2)),
    create("too-few-units", VALUE, ECPU, **units(Maximum=999)),
    create("too-many-units", VALUE, ECPU, **units(Minimum=15_000_001)),
    create("units-minimum-over-maximum", VALUE, "", **units(Minimum=2000, Maximum=1000)),
    create("one-subnet", VALUE, "2 to 3", SubnetIds=["subnet-1"]),
    create("four-subnets", VALUE, "2 to 3", SubnetIds=[f"subnet-{n}" for n in range(4)]),
    create("a-subnet-twice", VALUE, "2 to 3", SubnetIds=["subnet-1", "subnet-1"]),
    create("no-subnet", VALUE, "invalid", SubnetIds=["subnet-1", "vpc-2"]),
    create("bad-security-group", VALUE, "security groups", SecurityGroupIds=["x"]),
    create("unknown-user-group", "UserGroupNotFound", "nobody", 404, UserGroupId="nobody"),
    create("busy-user-group", "InvalidUserGroupState", "busy", UserGroupId="busy"),
    create("valkey-users-on-redis", COMBINATION, "valkey", Engine="redis", UserGroupId="team"),
    create("memcached-with-users", COMBINATION, "", Engine="memcached", UserGroupId="team"),
    create("long-retention", VALUE, "35", SnapshotRetentionLimit=36),
    create("no-time-of-day", VALUE, "HH:MM", DailySnapshotTime="24:00"),
    create("ipv6", COMBINATION, "IPv6", NetworkType="ipv6"),
    create("long-description", VALUE, "255", Description="d" * 256),
    create("reserved-tag", VALUE, "aws:", Tags=[{"Key": "aws:x", "Value": ""}]),
    create("no-snapshot", VALUE, "none",
           SnapshotArnsToRestore=[f"{ARN}:serverlesscachesnapshot:none"]),
    create("unfinished-snapshot", VALUE, "creating",
           SnapshotArnsToRestore=[f"{ARN}:serverlesscachesnapshot:unfinished"]),
    create("arn-of-a-cache", VALUE, "snapshot", SnapshotArnsToRestore=[f"{ARN}:cluster:a"]),
    create("no-arn", "InvalidARN", "", SnapshotArnsToRestore=["nonsense"]),
    create("valkey-8-into-redis", COMBINATION, "restored", Engine="redis",
           SnapshotArnsToRestore=[f"{ARN}:serverlesscachesnapshot:whole"]),
    create("public", COMBINATION, "Valkey 9 or above", ConnectionType="public"),
    create("integration", COMBINATION, "Valkey 9 or above",
           Integrations=[{"IntegrationType": "dynamodb"}]),
    create("other-integration", VALUE, "IntegrationType",
           Integrations=[{"IntegrationType": "s3"}]),
    create("memcached-from-s3", COMBINATION, "memcached", Engine="memcached",
           SnapshotArnsToRestore=["arn:aws:s3:::b/k"]),
    create("memcached-from-valkey", COMBINATION, "cannot be restored", Engine="memcached",
           SnapshotArnsToRestore=[f"{ARN}:serverlesscachesnapshot:whole"]),
    create("one-snapshot-twice", VALUE, "different",
           SnapshotArnsToRestore=[f"{ARN}:serverlesscachesnapshot:whole"] * 2),
    create("one-of-two-unfinished", VALUE, "creating",
           SnapshotArnsToRestore=[f"{ARN}:serverlesscachesnapshot:whole",
                                  f"{ARN}:serverlesscachesnapshot:unfinished"]),
]  # fmt: skip

MODIFY = [
    modify("nothing", COMBINATION, "No modifications were requested"),
    modify("empty-limits", COMBINATION, "No modifications", CacheUsageLimits={}),
    modify("two-fields", COMBINATION, ONE_ONLY, Description="d", SnapshotRetentionLimit=1),
    modify("two-with-an-empty-one", COMBINATION, ONE_ONLY, Description="",
           DailySnapshotTime="01:00"),
    modify("users-both-ways", COMBINATION, "", UserGroupId="team", RemoveUserGroup=True),
    modify("same-engine", VALUE, "only cross-engine upgrades to Valkey", Engine="Valkey"),
    modify("to-memcached", VALUE, "only cross-engine", Engine="memcached"),
    modify("valkey-8-to-redis", VALUE, "Valkey 7", Engine="redis"),
    modify("older-version", VALUE, "older", MajorEngineVersion="7"),
    modify("no-users-to-remove", VALUE, "no user group", RemoveUserGroup=True),
    modify("unknown-user-group", "UserGroupNotFound", "", 404, UserGroupId="nobody"),
    modify("busy-user-group", "InvalidUserGroupState", "busy", UserGroupId="busy"),
    modify("users-of-memcached", COMBINATION, "memcached", ServerlessCacheName="mem",
           UserGroupId="team"),
    modify("too-few-units", VALUE, ECPU, **units(Maximum=10)),
    modify("long-retention", VALUE, "35", SnapshotRetentionLimit=36),
    modify("no-time-of-day", VALUE, "HH:MM", DailySnapshotTime="5:00"),
    modify("unknown", MISSING, "nobody", 404, ServerlessCacheName="nobody", Description="d"),
    modify("creating", STATE, "creating", ServerlessCacheName="starting", Description="d"),
    modify("failed", STATE, "create-failed", ServerlessCacheName="failed", Description="d"),
    modify("deleting", STATE, "deleting", ServerlessCacheName="leaving", Description="d"),
    modify("in-a-backup", STATE, "snapshotting", ServerlessCacheName="copied", Description="d"),
]  # fmt: skip

DELETE = [
    row(id_, "DeleteServerlessCache", params, code, words, status)
    for id_, params, code, words, status in [
        ("unknown", {"ServerlessCacheName": "nobody"}, MISSING, "nobody", 404),
        ("creating", {"ServerlessCacheName": "starting"}, STATE, "creating", 400),
        ("deleting", {"ServerlessCacheName": "leaving"}, STATE, "deleting", 400),
        ("in-a-backup", {"ServerlessCacheName": "copied"}, STATE, "snapshotting", 400),
        ("taken", {"ServerlessCacheName": "ready", "FinalSnapshotName": "WHOLE"}, SNAPSHOT_TAKEN,
         "whole", 400),
        ("bad-name", {"ServerlessCacheName": "ready", "FinalSnapshotName": "a--b"}, VALUE,
         "FinalSnapshotName", 400),
    ]
]  # fmt: skip

DESCRIBE = [
    row("unknown", "DescribeServerlessCaches", {"ServerlessCacheName": "x"}, MISSING, "x", 404),
    row("page", "DescribeServerlessCaches", {"MaxResults": 51}, VALUE, "MaxResults"),
    row("token", "DescribeServerlessCaches", {"NextToken": "nonsense"}, VALUE, ""),
    row("unknown", "DescribeServerlessCacheSnapshots", {"ServerlessCacheSnapshotName": "x"},
        SNAPSHOT_MISSING, "x", 404),
    row("no-cache", "DescribeServerlessCacheSnapshots", {"ServerlessCacheName": "x"}, MISSING,
        "x", 404),
    row("type", "DescribeServerlessCacheSnapshots", {"SnapshotType": "x"}, VALUE, "SnapshotType"),
]  # fmt: skip

SNAPSHOTS = [
    take("no-cache", "nobody", "new", MISSING, "nobody", 404),
    take("taken", "ready", "Whole", SNAPSHOT_TAKEN, "whole"),
    take("creating", "starting", "new", STATE, "creating"),
    take("in-a-backup", "copied", "new", STATE, "snapshotting"),
    take("twenty-fifth", "full", "new", "ServerlessCacheSnapshotQuotaExceededFault", "24"),
    take("bad-name", "ready", "a_b", VALUE, "ServerlessCacheSnapshotName"),
    row("unknown", "DeleteServerlessCacheSnapshot", {"ServerlessCacheSnapshotName": "x"},
        SNAPSHOT_MISSING, "x", 404),
    row("unfinished", "DeleteServerlessCacheSnapshot",
        {"ServerlessCacheSnapshotName": "unfinished"}, SNAPSHOT_STATE, "creating"),
    row("unknown", "CopyServerlessCacheSnapshot",
        {"SourceServerlessCacheSnapshotName": "x", "TargetServerlessCacheSnapshotName": "y"},
        SNAPSHOT_MISSING, "x", 404),
    row("taken", "CopyServerlessCacheSnapshot",
        {"SourceServerlessCacheSnapshotName": "whole",
         "TargetServerlessCacheSnapshotName": "unfinished"}, SNAPSHOT_TAKEN, "unfinished"),
    row("unfinished", "CopyServerlessCacheSnapshot",
        {"SourceServerlessCacheSnapshotName": "unfinished",
         "TargetServerlessCacheSnapshotName": "y"}, SNAPSHOT_STATE, "creating"),
    row("unknown", "ExportServerlessCacheSnapshot",
        {"ServerlessCacheSnapshotName": "x", "S3BucketName": "b"}, SNAPSHOT_MISSING, "x", 404),
    row("unfinished", "ExportServerlessCacheSnapshot",
        {"ServerlessCacheSnapshotName": "unfinished", "S3BucketName": "b"}, SNAPSHOT_STATE,
        "creating"),
]  # fmt: skip

GROUPS = [
    row("no-serverless-snapshot", "CreateReplicationGroup",
        {"ReplicationGroupId": "g", "ReplicationGroupDescription": "g",
         "CacheNodeType": "cache.r7g.large", "ServerlessCacheSnapshotName": "none"}, VALUE,
        "Snapshot not found: none"),
    row("older-than-its-snapshot", "CreateReplicationGroup",
        {"ReplicationGroupId": "g", "ReplicationGroupDescription": "g", "EngineVersion": "7.2",
         "Engine": "valkey", "CacheNodeType": "cache.r7g.large",
         "AutomaticFailoverEnabled": True, "ServerlessCacheSnapshotName": "whole"}, COMBINATION,
        "cannot be restored"),
]  # fmt: skip

SOURCE = [{"Address": "10.0.0.1", "Port": 6379}]
NOT_UNDER, UNHEALTHY = "ServerlessCacheNotUnderMigrationFault", "MigrationHealthFault"


def prepare(
    id_: str, code: str, words: str = "", status: int = 400, name: str = "ready", **params: Any
) -> Any:
    given = {"ServerlessCacheName": name, "CustomerNodeEndpointList": SOURCE, **params}
    return row(id_, "PrepareMigration", given, code, words, status)


def move(
    id_: str, verb: str, name: str, code: str, words: str = "", status: int = 400, **params: Any
) -> Any:
    given = {"ServerlessCacheName": name, **params}
    return row(id_, f"{verb}Migration", given, code, words, status)


MIGRATION = [
    prepare("unknown", MISSING, "nobody", 404, name="nobody"),
    prepare("redis", VALUE, "Valkey only", name="redis"),
    prepare("memcached", VALUE, "Valkey only", name="mem"),
    prepare("creating", STATE, "creating", name="starting"),
    prepare("in-a-backup", STATE, "snapshotting", name="copied"),
    *(
        prepare(f"while-{phase}", "ServerlessCacheAlreadyUnderMigrationFault", name, name=name)
        for name, phase in PHASES.items()
    ),
    prepare("two-sources", VALUE, "exactly one", CustomerNodeEndpointList=SOURCE * 2),
    prepare("no-port", VALUE, "Port", CustomerNodeEndpointList=[{"Address": "a"}]),
    prepare("no-address", VALUE, "Address", CustomerNodeEndpointList=[{"Port": 1}]),
    prepare("no-secret", VALUE, "not valid", SourceAuthenticationConfiguration={
        "SecretManagerConfig": {"SecretArn": "arn:aws:s3:::b"}}),
    prepare("no-certificate", VALUE, "requires", SourceTlsConfiguration={
        "SourceTlsMode": "verify-ca"}),
    prepare("bad-certificate", VALUE, "PEM", SourceTlsConfiguration={
        "SourceTlsMode": "verify-ca", "SourceTlsCertificate": "x"}),
    prepare("certificate-for-nothing", VALUE, "verify-ca only", SourceTlsConfiguration={
        "SourceTlsMode": "none", "SourceTlsCertificate": "x"}),
    move("unknown", "Start", "nobody", MISSING, "nobody", 404),
    move("without-one", "Start", "ready", NOT_UNDER, "ready"),
    move("too-early", "Start", "looked", STATE, "preparing"),
    move("twice", "Start", "fed", STATE, "syncing"),
    move("again-without-clearing", "Start", "halted", COMBINATION, "ClearTargetCacheData"),
    move("with-sources", "Start", "halted", COMBINATION, "PrepareMigration",
         CustomerNodeEndpointList=SOURCE),
    move("unknown", "Stop", "nobody", MISSING, "nobody", 404),
    move("without-one", "Stop", "ready", NOT_UNDER, "ready"),
    move("not-begun", "Stop", "halted", STATE, "stopped"),
    move("in-the-cut-over", "Stop", "cutting", STATE, "cutting-over"),
    move("unknown", "Complete", "nobody", MISSING, "nobody", 404),
    move("without-one", "Complete", "ready", NOT_UNDER, "ready"),
    move("not-in-sync", "Complete", "fed", UNHEALTHY, "syncing"),
    move("stopped", "Complete", "halted", UNHEALTHY, "stopped"),
    move("too-early-by-force", "Complete", "looked", STATE, "preparing", Force=True),
    move("twice", "Complete", "cutting", STATE, "cutting-over", Force=True),
    modify("migrating", STATE, "migrating", ServerlessCacheName="same", Description="d"),
    take("migrating", "fed", "new", STATE, "migrating"),
    row("migrating", "DeleteServerlessCache", {"ServerlessCacheName": "halted"}, STATE,
        "migrating"),
]  # fmt: skip

TAGS = [
    row("creating", "AddTagsToResource",
        {"ResourceName": f"{ARN}:serverlesscache:starting", "Tags": [{"Key": "k", "Value": "v"}]},
        STATE, "creating"),
    row("unknown", "ListTagsForResource", {"ResourceName": f"{ARN}:serverlesscache:none"}, MISSING,
        "none", 404),
    row("snapshot", "ListTagsForResource",
        {"ResourceName": f"{ARN}:serverlesscachesnapshot:none"}, SNAPSHOT_MISSING, "none", 404),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "params", "code", "status", "words"),
    [*CREATE, *MODIFY, *DELETE, *DESCRIBE, *SNAPSHOTS, *GROUPS, *MIGRATION, *TAGS],
)
def test_refusal(
    world: World, operation: str, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    before = world.revision()
    with pytest.raises(Refused) as refused:
        world.ask(operation, **params)
    assert (refused.value.code, refused.value.status) == (code, status)
    assert words in refused.value.message
    assert world.revision() == before, "what is refused changes nothing"


def test_what_stands_behind_is_nobodys(world: World) -> None:
    assert world.ask("DescribeReplicationGroups")["ReplicationGroups"] == []
    assert world.ask("DescribeCacheClusters")["CacheClusters"] == []
    assert world.ask("DescribeSnapshots")["Snapshots"] == []
    with pytest.raises(Refused, match="ReplicationGroupNotFoundFault"):
        world.ask("DeleteReplicationGroup", ReplicationGroupId="ready")


async def _fill_region(api: Api) -> str:
    for number in range(40):
        await api("CreateServerlessCache", ServerlessCacheName=f"c{number}", Engine="valkey")
    try:
        await api("CreateServerlessCache", ServerlessCacheName="c40", Engine="valkey")
    except Refused as refusal:
        return refusal.code
    return ""


def test_the_forty_first_is_one_too_many(tmp_path: Path) -> None:
    async def ask() -> str:
        async with open_api(tmp_path) as api:
            return await _fill_region(api)

    assert asyncio.run(ask()) == QUOTA
