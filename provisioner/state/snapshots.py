"""Snapshots in the record: begun, released, retired. The files are the provisioner's business.

``node_snapshots`` has an entry a shard: ``node_group_id``, ``slots``, ``replica_count``, ``zones``
(the primary's first), and as soon as it is known ``cache_cluster_id``, ``cache_node_id``,
``node_created_at``, ``taken_at`` and ``size_bytes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.state import ids, lifecycle, subnets
from cachefleet.provisioner.state.lifecycle import Event
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.snapshot_tables import Restore, Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    NodeGroup,
    Operation,
    ReplicationGroup,
)

MANUAL, AUTOMATED = "manual", "automated"
QUOTA_PERIOD = timedelta(hours=24)
MANUAL_PER_PERIOD_MAX = 20  # of one node, a quota of the service


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a snapshot is taken of: a whole group in cluster mode, or one node."""

    group: ReplicationGroup | None
    member: CacheCluster | None

    def __post_init__(self) -> None:
        assert self.group is not None or self.member is not None

    @property
    def subject_uid(self) -> str:
        row = self.group or self.member
        assert row is not None
        return row.uid

    @property
    def named(self) -> ReplicationGroup | CacheCluster:
        """The row that the snapshot is of, as customers see it."""
        row = self.member or self.group
        assert row is not None
        return row


async def begin(
    tx: Transaction,
    source: Source,
    *,
    name: str,
    kind: str = MANUAL,
    final: bool = False,
    kms_key_id: str | None = None,
    expires_at: datetime | None = None,
    token: str = "",
) -> Snapshot:
    """Write a snapshot that is ``creating``, and file the work on its source.

    Raises:
        IllegalTransition: the source is busy.
        AlreadyExists: the name is taken.
    """
    named = source.named
    mark(source)
    group = source.group
    snapshot = Snapshot(
        uid=ids.new_uid(),
        account=tx.scope.account,
        region=tx.scope.region,
        name=name,
        status=lifecycle.CREATING,
        source=kind,
        source_uid=source.subject_uid,
        cache_cluster_id=None if source.member is None else source.member.name,
        replication_group_id=group.name if group is not None and source.member is None else None,
        engine=named.engine,
        engine_version=named.engine_version,
        node_type=named.node_type,
        details=await _details(tx, source),
        node_snapshots=_shards(source),
        encrypted=bool(kms_key_id) or named.at_rest_encryption_enabled,
        kms_key_id=kms_key_id or (None if group is None else group.kms_key_id),
        created_at=tx.now,
        expires_at=expires_at,
        export={},
        bytes_done=0,
    )
    await tx.insert(snapshot)
    await tx.new_subject(Snapshot.resource, snapshot.uid)
    tx.enqueue(
        OperationKind.SNAPSHOT,
        subject_uid=source.subject_uid,
        payload={
            "snapshot": snapshot.uid,
            "final": final,
            "kind": kind,
            "of": named.name,
        },
        token=token,
    )
    return snapshot


def mark(source: Source) -> None:
    """Make the source ``snapshotting``.

    Raises:
        IllegalTransition: it is busy.
    """
    for row in _marked(source):
        lifecycle.fire(row, Event.SNAPSHOT)


def _marked(source: Source) -> list[ReplicationGroup | CacheCluster]:
    rows: list[ReplicationGroup | CacheCluster] = []
    if source.member is not None:
        rows.append(source.member)
    elif source.group is not None:
        members = {member.name: member for member in source.group.members}
        rows += [members[_chosen(s).member_name] for s in source.group.node_groups if s.nodes]
    if source.group is not None:
        rows.append(source.group)
    return rows


def _chosen(shard: NodeGroup) -> CacheNode:
    """Return the node of a shard that would be copied: a replica where there is one."""
    replicas = [node for node in shard.nodes if node.role == NodeRole.REPLICA]
    return (replicas or list(shard.nodes))[0]


def unmark(group: ReplicationGroup | None, clusters: Sequence[CacheCluster]) -> None:
    """Make a source available again, as far as it was ``snapshotting``."""
    rows: list[ReplicationGroup | CacheCluster] = list(clusters)
    if group is not None:
        rows.append(group)
    for row in rows:
        if row.status == lifecycle.SNAPSHOTTING:
            lifecycle.fire(row, Event.SNAPSHOT_ENDED)


async def _details(tx: Transaction, source: Source) -> dict[str, Any]:
    named = source.named
    subnet_group = await subnets.get(tx, named.subnet_group_name or subnets.DEFAULT_GROUP)
    told: dict[str, Any] = {
        "port": named.port,
        "vpc_id": subnet_group.vpc_id,
        "subnet_group_name": named.subnet_group_name,
        "parameter_group_name": named.parameter_group_name,
        "maintenance_window": named.maintenance_window,
        "snapshot_window": named.snapshot_window,
        "snapshot_retention_limit": named.snapshot_retention_limit,
        "auto_minor_version_upgrade": named.auto_minor_version_upgrade,
        "topic_arn": named.notification_topic_arn,
    }
    if source.group is not None:
        # Only the group knows; the node's snapshot shows it all the same.
        told["snapshot_retention_limit"] = source.group.snapshot_retention_limit
        told["automatic_failover"] = source.group.automatic_failover
        told["description"] = source.group.description
    if source.member is not None:
        zones = {node.availability_zone for node in source.member.nodes}
        created_at = source.member.created_at
        told["created_at"] = None if created_at is None else created_at.isoformat()
        told["zone"] = min(zones, default=None)
    return told


def _shards(source: Source) -> list[dict[str, Any]]:
    if source.member is not None:
        (node,) = source.member.nodes
        entry: dict[str, Any] = {"node_group_id": "", "slots": "", "replica_count": 0}
        entry["zones"] = [node.availability_zone]
        return [entry | known_of(node)]
    assert source.group is not None
    return [
        {
            "node_group_id": shard.node_group_id,
            "slots": shard.slots,
            "replica_count": max(len(shard.nodes) - 1, 0),
            "zones": [
                node.availability_zone
                for node in sorted(shard.nodes, key=lambda n: n.role != NodeRole.PRIMARY)
            ],
        }
        for shard in source.group.node_groups
    ]


def known_of(node: CacheNode) -> dict[str, Any]:
    """Return what an entry says of the node that is copied."""
    return {
        "cache_cluster_id": node.member_name,
        "cache_node_id": node.cache_node_id,
        "node_created_at": None if node.created_at is None else node.created_at.isoformat(),
    }


async def count_recent(tx: Transaction, of: str) -> int:
    """Return how many manual snapshots of a node or group were begun in the quota's period."""
    query = select(Operation.payload).where(
        Operation.account == tx.scope.account,
        Operation.region == tx.scope.region,
        Operation.kind == OperationKind.SNAPSHOT,
        Operation.created_at > tx.now - QUOTA_PERIOD,
    )
    payloads = (await tx.session.scalars(query)).all()
    return sum(told.get("of") == of and told.get("kind") == MANUAL for told in payloads)


async def retire(tx: Transaction, snapshot: Snapshot) -> None:
    """Have a snapshot removed.

    Raises:
        IllegalTransition: it is being made or used.
    """
    lifecycle.fire(snapshot, Event.DELETE)
    operation = tx.enqueue(OperationKind.SETTLE, subject_uid=snapshot.uid)
    operation.account, operation.region = snapshot.account, snapshot.region


async def retire_automated(tx: Transaction, source_uid: str) -> None:
    """Have the automatic snapshots of a source removed that goes itself."""
    query = select(Snapshot).where(Snapshot.source_uid == source_uid, Snapshot.source == AUTOMATED)
    for snapshot in (await tx.session.scalars(query)).all():
        if lifecycle.target(Snapshot.resource, snapshot.status, Event.DELETE):
            await retire(tx, snapshot)
        else:
            # In use: it goes as soon as the calendar finds it free.
            snapshot.expires_at = tx.now


async def begin_restore(
    tx: Transaction,
    subject_uid: str,
    *,
    of: Sequence[Snapshot] = (),
    arns: Sequence[str] = (),
) -> None:
    """Write down where the data of a new cache comes from: snapshots, or objects in S3."""
    for snapshot in of:
        lifecycle.fire(snapshot, Event.RESTORE)
    uids = [snapshot.uid for snapshot in of]
    tx.session.add(
        Restore(
            subject_uid=subject_uid,
            snapshot_uid=next(iter(uids), None),
            more_snapshot_uids=uids[1:],
            arns=list(arns),
            bytes_done=0,
            began_at=tx.now,
        )
    )


async def end_restore(tx: Transaction, subject_uid: str) -> None:
    """Let go of what a cache was being filled from, however that ended; may be repeated."""
    restore = await tx.session.get(Restore, subject_uid)
    if restore is None:
        return
    uids = restore.snapshot_uids
    await tx.session.delete(restore)
    await tx.session.flush()
    for uid in uids:
        snapshot = await tx.session.get(Snapshot, uid, with_for_update=True)
        if snapshot is not None and snapshot.status == lifecycle.RESTORING:
            await release(tx, snapshot)


async def release(tx: Transaction, snapshot: Snapshot) -> None:
    """Note that one use of a snapshot has ended; it stays ``restoring`` while there are others."""
    lifecycle.fire(snapshot, Event.RELEASED)
    # Few at a time, and gone as soon as their caches serve.
    under_way = (await tx.session.scalars(select(Restore))).all()
    if any(snapshot.uid in restore.snapshot_uids for restore in under_way):
        lifecycle.fire(snapshot, Event.RESTORE)
