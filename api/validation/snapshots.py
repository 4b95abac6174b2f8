"""Snapshots as requests name them: what may be made of which source, and restored into what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.identifiers import check_identifier
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.catalog import EngineVersion
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.snapshots import MANUAL_PER_PERIOD_MAX
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

NAME_CHARS_MAX = 255
EXPORT_NAME_CHARS_MAX = 1000
# How DescribeSnapshots calls what the record calls automated and manual.
SOURCES: Mapping[str, str] = {"system": "automated", "user": "manual"}
# The last version that both engines had in common: only from there a way leads back.
VALKEY_LIKE_REDIS = (7, 2)
REDIS_LIKE_VALKEY = (7, 1)
AWAY = "Restoring from SnapshotArns takes exactly one element without cluster mode."


def check_snapshot_name(name: str) -> str:
    """Return a snapshot's name as it is stored."""
    return check_identifier("SnapshotName", name, chars_max=NAME_CHARS_MAX)


def check_export_name(name: str) -> str:
    """Return the name that an export's objects begin with."""
    if not 1 <= len(name) <= EXPORT_NAME_CHARS_MAX:
        raise wrong_value(f"TargetSnapshotName must have 1 to {EXPORT_NAME_CHARS_MAX} characters.")
    return name


def check_quota(count: int) -> None:
    """Refuse one manual snapshot more than a node may have in a day."""
    if count >= MANUAL_PER_PERIOD_MAX:
        raise Fault(
            "SnapshotQuotaExceededFault",
            f"At most {MANUAL_PER_PERIOD_MAX} manual snapshots of a node can be created in 24 "
            "hours.",
        )


def check_source_filter(value: str | None) -> str | None:
    """Return what the record calls the kind of snapshots that are asked for."""
    if value is None:
        return None
    if value not in SOURCES:
        raise wrong_value("SnapshotSource must be one of: system, user")
    return SOURCES[value]


def no_snapshots(engine: str) -> Fault:
    """Return the refusal of snapshots where there are none."""
    return Fault("SnapshotFeatureNotSupportedFault", f"Snapshots are not supported for {engine}.")


def choose_member(group: ReplicationGroup) -> CacheCluster:
    """Return the member of a group without cluster mode that is copied: a replica if any."""
    return min(
        group.members,
        key=lambda member: (any(n.role == NodeRole.PRIMARY for n in member.nodes), member.name),
    )


def require_restorable(snapshot: Snapshot | None, name: str) -> Snapshot:
    """Return a snapshot that a cache may be filled from; the operations have no fault for others.

    Raises:
        Fault: ``InvalidParameterValue``.
    """
    if snapshot is None:
        raise wrong_value(f"Snapshot not found: {name}")
    event = lifecycle.Event.RESTORE
    if lifecycle.target(snapshot.resource, snapshot.status, event) is None:
        raise wrong_value(
            f"Snapshot {snapshot.name} has status {snapshot.status} which is not valid for a "
            "restore."
        )
    return snapshot


def check_into(
    snapshot: Snapshot, version: EngineVersion, taken: EngineVersion | None, *, cluster_mode: bool
) -> None:
    """Refuse to restore into less than the snapshot was taken of, or into another kind of cache."""
    if (snapshot.engine == Engine.MEMCACHED) != (version.engine is Engine.MEMCACHED):
        raise wrong_combination(
            f"Snapshot {snapshot.name} of {snapshot.engine} cannot be restored with "
            f"{version.engine.value}."
        )
    if snapshot.cluster_enabled and not cluster_mode:
        raise needs_cluster_mode(snapshot)
    if taken is None:
        return
    numbers = taken.numbers
    if taken.engine is version.engine:
        lower = version.numbers < numbers
    elif version.engine is Engine.REDIS:
        lower = numbers[:2] > VALKEY_LIKE_REDIS or version.numbers[:2] < REDIS_LIKE_VALKEY
    else:
        lower = False  # Valkey begins where Redis OSS ended
    if lower:
        raise wrong_combination(
            f"Snapshot {snapshot.name} of {taken.engine.value} {taken.version} cannot be restored "
            f"with {version.engine.value} {version.version}."
        )


def needs_cluster_mode(snapshot: Snapshot) -> Fault:
    """Return the refusal to put the shards of a cluster into one node."""
    return wrong_combination(
        f"Snapshot {snapshot.name} was taken with cluster mode enabled and cannot be restored "
        "with cluster mode disabled."
    )


def check_arns(
    arns: Sequence[str], *, cluster_mode: bool, entries: Sequence[Mapping[str, Any]]
) -> None:
    """Check how many files there are, and that a cluster's slots are known."""
    for arn in arns:
        if "," in arn:
            raise wrong_value("SnapshotArns must not contain commas.")
    if not cluster_mode:
        if len(arns) != 1:
            raise wrong_value(AWAY)
        return
    if not entries or not all(entry.get("Slots") for entry in entries):
        raise wrong_combination(
            "Slots must be provided when restoring from snapshot ARNs with cluster mode enabled"
        )
