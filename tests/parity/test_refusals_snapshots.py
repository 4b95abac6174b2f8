"""Every refusal that the service documents for snapshots, as a table.

As in :mod:`.clusters`: a refusal has its code, its status and its known words, and
changes nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Refused
from tests.support.world import NODE, World

VALUE = "InvalidParameterValue"
COMBINATION = "InvalidParameterCombination"
STATE = "InvalidSnapshotState"
MISSING = "SnapshotNotFoundFault"
TAKEN = "SnapshotAlreadyExistsFault"


def row(name: str, params: dict[str, Any], code: str, words: str = "", *, status: int = 400) -> Any:
    return pytest.param(params, code, status, words, id=name)


def take(of: str, name: str = "new") -> dict[str, Any]:
    return {"CacheClusterId": of, "SnapshotName": name}


CREATE = [
    row("neither", {"SnapshotName": "new"}, COMBINATION),
    row("both", {**take("single"), "ReplicationGroupId": "pair"}, COMBINATION),
    row("member-in-cluster-mode", take("shards-0001-001"), COMBINATION),
    row("memcached", take("mem"), "SnapshotFeatureNotSupportedFault"),
    row("taken", take("single", "AVAILABLE-1"), TAKEN),
    row("busy-cluster", take("starting"), "InvalidCacheClusterState"),
    row(
        "busy-group",
        {"ReplicationGroupId": "busy", "SnapshotName": "new"},
        "InvalidReplicationGroupState",
    ),
    row("busy-group-by-member", take("busy-001"), "InvalidReplicationGroupState"),
    row("no-cluster", take("nothing"), "CacheClusterNotFound", status=404),
    row(
        "no-group",
        {"ReplicationGroupId": "nothing", "SnapshotName": "new"},
        "ReplicationGroupNotFoundFault",
        status=404,
    ),
    row("twenty-first", take("multi-001"), "SnapshotQuotaExceededFault"),
    row("name-with-a-dot", take("single", "automatic.x"), VALUE, "not a valid identifier"),
    row("name-with-two-hyphens", take("single", "a--b"), VALUE, "not a valid identifier"),
    row("name-ends-in-a-hyphen", take("single", "a-"), VALUE, "not a valid identifier"),
    row("name-begins-with-a-digit", take("single", "1a"), VALUE, "not a valid identifier"),
    row("name-too-long", take("single", "a" * 256), VALUE),
    row("reserved-tag", {**take("single"), "Tags": [{"Key": "aws:x", "Value": ""}]}, VALUE),
]

DESCRIBE = [
    row("unknown", {"SnapshotName": "nothing"}, MISSING, status=404),
    row("filter", {"SnapshotSource": "manual"}, VALUE),
    row("few", {"MaxRecords": 19}, VALUE),
    row("many", {"MaxRecords": 51}, VALUE),
    row("marker", {"Marker": "nonsense"}, VALUE),
]

DELETE = [
    row("unknown", {"SnapshotName": "nothing"}, MISSING, status=404),
    *(
        row(status, {"SnapshotName": f"{status}-1"}, STATE, status)
        for status in ("creating", "restoring", "copying", "exporting", "deleting")
    ),
]


def copy(of: str, name: str = "new", **options: Any) -> dict[str, Any]:
    return {"SourceSnapshotName": of, "TargetSnapshotName": name, **options}


COPY = [
    row("unknown", copy("nothing"), MISSING, status=404),
    row("taken", copy("available-1", "sharded"), TAKEN),
    row("bad-name", copy("available-1", "a--b"), VALUE),
    *(
        row(status, copy(f"{status}-1"), STATE, status)
        for status in ("creating", "restoring", "copying", "exporting", "deleting")
    ),
    *(
        row(f"export-{status}", copy(f"{status}-1", TargetBucket="bucket"), STATE, status)
        for status in ("creating", "restoring", "copying", "exporting", "deleting")
    ),
    row("export-unknown", copy("nothing", TargetBucket="bucket"), MISSING, status=404),
    row(
        "export-with-a-key",
        copy("available-1", TargetBucket="bucket", KmsKeyId="k"),
        COMBINATION,
    ),
    row("export-no-bucket-name", copy("available-1", TargetBucket="No_Such"), VALUE, "not exist"),
    row("export-long-name", copy("available-1", "x" * 1001, TargetBucket="bucket"), VALUE),
]


def group(**options: Any) -> dict[str, Any]:
    return {"ReplicationGroupId": "new", "ReplicationGroupDescription": "d", **options}


RESTORE_GROUP = [
    row("unknown", group(SnapshotName="nothing"), VALUE, "Snapshot not found: nothing"),
    row("unfinished", group(SnapshotName="creating-1"), VALUE, "creating"),
    row("going", group(SnapshotName="deleting-1"), VALUE, "deleting"),
    row(
        "cluster-mode-off",
        group(SnapshotName="sharded", ClusterMode="disabled", NumNodeGroups=1),
        COMBINATION,
        "cluster mode",
    ),
    row("older-version", group(SnapshotName="available-1", EngineVersion="6.2"), COMBINATION),
    row(
        "back-to-redis",
        group(SnapshotName="of-valkey", Engine="redis", EngineVersion="7.1"),
        COMBINATION,
    ),
    row(
        "two-sources",
        group(SnapshotName="available-1", SnapshotArns=["arn:aws:s3:::bucket/k"]),
        COMBINATION,
    ),
    row(
        "two-files",
        group(CacheNodeType=NODE, SnapshotArns=["arn:aws:s3:::bucket/a", "arn:aws:s3:::bucket/b"]),
        VALUE,
    ),
    row(
        "no-path",
        group(CacheNodeType=NODE, SnapshotArns=["arn:aws:s3:::bucket"]),
        VALUE,
        "Must specify an object path for S3 ARN",
    ),
    row("no-arn", group(CacheNodeType=NODE, SnapshotArns=["s3://bucket/key"]), VALUE),
    row(
        "no-slots",
        group(
            CacheNodeType=NODE,
            SnapshotArns=["arn:aws:s3:::bucket/a"],
            NumNodeGroups=2,
            AutomaticFailoverEnabled=True,
        ),
        COMBINATION,
        "Slots must be provided when restoring from snapshot ARNs with cluster mode enabled",
    ),
]

RESTORE_CLUSTER = [
    row("unknown", {"CacheClusterId": "new", "SnapshotName": "nothing"}, VALUE),
    row("sharded", {"CacheClusterId": "new", "SnapshotName": "sharded"}, COMBINATION),
    row("unfinished", {"CacheClusterId": "new", "SnapshotName": "creating-1"}, VALUE),
]

FINAL_OF_CLUSTER = [
    row("taken", {"CacheClusterId": "single", "FinalSnapshotIdentifier": "sharded"}, TAKEN),
    row("name", {"CacheClusterId": "single", "FinalSnapshotIdentifier": "a--b"}, VALUE),
    row("member", {"CacheClusterId": "pair-002", "FinalSnapshotIdentifier": "new"}, COMBINATION),
]

FINAL_OF_GROUP = [
    row("taken", {"ReplicationGroupId": "pair", "FinalSnapshotIdentifier": "sharded"}, TAKEN),
    row("name", {"ReplicationGroupId": "pair", "FinalSnapshotIdentifier": "a.b"}, VALUE),
    row(
        "busy",
        {"ReplicationGroupId": "busy", "FinalSnapshotIdentifier": "new"},
        "InvalidReplicationGroupState",
    ),
]

TABLES = {
    "CreateSnapshot": CREATE,
    "DescribeSnapshots": DESCRIBE,
    "DeleteSnapshot": DELETE,
    "CopySnapshot": COPY,
    "CreateReplicationGroup": RESTORE_GROUP,
    "CreateCacheCluster": RESTORE_CLUSTER,
    "DeleteCacheCluster": FINAL_OF_CLUSTER,
    "DeleteReplicationGroup": FINAL_OF_GROUP,
}


@pytest.mark.parametrize(
    ("operation", "params", "code", "status", "words"),
    [
        pytest.param(operation, *entry.values, id=f"{operation}-{entry.id}")
        for operation, entries in TABLES.items()
        for entry in entries
    ],
)
def test_refused(
    world: World, operation: str, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    before = world.revision()
    with pytest.raises(Refused) as refusal:
        world.ask(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status), refusal.value
    assert words in refusal.value.message
    assert world.revision() == before, "a refusal changes nothing"
