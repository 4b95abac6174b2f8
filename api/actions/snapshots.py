"""Actions that create, show, copy, export and delete snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.api import objects
from cachefleet.api.actions.cache_clusters import group_of
from cachefleet.api.context import RequestContext
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import snapshots as checks
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.api.views.snapshots import snapshot_view
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import ids, lifecycle, snapshots, tags
from cachefleet.provisioner.state.errors import AlreadyExists, NotFound
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.snapshots import Source
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup


@action("CreateSnapshot")
async def create_snapshot(ctx: RequestContext, params: Params) -> Result:
    """Record a snapshot of a node, or of all shards of a group; its source is ``snapshotting``."""
    name = checks.check_snapshot_name(params["SnapshotName"])
    cluster_id, group_id = params.get("CacheClusterId"), params.get("ReplicationGroupId")
    if bool(cluster_id) == bool(group_id):
        raise wrong_combination(
            "Exactly one of CacheClusterId and ReplicationGroupId must be provided."
        )
    wanted = tags.parse(params.get("Tags"))
    key_id = params.get("KmsKeyId")
    key_arn = await objects.check_key(ctx, key_id) if key_id else None
    async with ctx.begin() as tx:
        source = await find_source(ctx, tx, cluster_id, group_id)
        await _require_free(tx, name)
        lifecycle.require(source.named, lifecycle.Event.SNAPSHOT)
        checks.check_quota(await snapshots.count_recent(tx, source.named.name))
        snapshot = await snapshots.begin(
            tx, source, name=name, kms_key_id=key_arn, token=ctx.request_id
        )
        await _put_tags(tx, snapshot, wanted or await _tags_of(tx, source))
        await tx.session.flush()
        return {"Snapshot": snapshot_view(snapshot)}


@action("DescribeSnapshots")
async def describe_snapshots(ctx: RequestContext, params: Params) -> Result:
    """Return a page of snapshots in order of name, those of sources that are gone among them."""
    asked = window(params, ctx.paging)
    name = params.get("SnapshotName")
    kind = checks.check_source_filter(params.get("SnapshotSource"))
    criteria: list[Any] = []
    if name:
        criteria.append(Snapshot.name == name.lower())
    if params.get("ReplicationGroupId"):
        criteria.append(Snapshot.replication_group_id == params["ReplicationGroupId"].lower())
    if params.get("CacheClusterId"):
        criteria.append(Snapshot.cache_cluster_id == params["CacheClusterId"].lower())
    if kind:
        criteria.append(Snapshot.source == kind)
    async with ctx.read() as tx:
        rows = await tx.page(Snapshot, *criteria, after=asked.after, limit=asked.fetch)
        if name and not rows:
            raise NotFound(Snapshot.resource, name)
        shown, marker = asked.close(rows, lambda snapshot: snapshot.name)
        with_shards = bool(params.get("ShowNodeGroupConfig"))
        views = [snapshot_view(snapshot, with_shards=with_shards) for snapshot in shown]
        return {"Snapshots": views, "Marker": marker}


@action("DeleteSnapshot")
async def delete_snapshot(ctx: RequestContext, params: Params) -> Result:
    """Mark a snapshot as ``deleting``; its files go."""
    async with ctx.begin() as tx:
        snapshot = await tx.get(Snapshot, params["SnapshotName"], lock=True)
        await snapshots.retire(tx, snapshot)
        return {"Snapshot": snapshot_view(snapshot)}


@action("CopySnapshot")
async def copy_snapshot(ctx: RequestContext, params: Params) -> Result:
    """Record a copy under another name, or with ``TargetBucket`` an export to S3."""
    bucket = params.get("TargetBucket")
    if bucket:
        return await _export(ctx, params, bucket)
    name = checks.check_snapshot_name(params["TargetSnapshotName"])
    wanted = tags.parse(params.get("Tags"))
    key_id = params.get("KmsKeyId")
    key_arn = await objects.check_key(ctx, key_id) if key_id else None
    async with ctx.begin() as tx:
        original = await tx.get(Snapshot, params["SourceSnapshotName"], lock=True)
        await _require_free(tx, name)
        lifecycle.fire(original, lifecycle.Event.COPY)
        copy = copy_of(original, name, key_arn, tx)
        await tx.insert(copy)
        await tx.new_subject(copy.resource, copy.uid)
        inherited = wanted or await tags.listed(tx, Snapshot.arn_kind, original.name)
        await _put_tags(tx, copy, inherited)
        tx.enqueue(OperationKind.SETTLE, subject_uid=copy.uid, token=ctx.request_id)
        await tx.session.flush()
        return {"Snapshot": snapshot_view(copy)}


async def find_source(
    ctx: RequestContext, tx: Transaction, cluster_id: str | None, group_id: str | None
) -> Source:
    """Return what a request asks a snapshot of, locked.

    Raises:
        NotFound: there is no such source.
        Fault: it has no snapshots, or is to be named otherwise.
    """
    if cluster_id:
        cluster = await tx.get(CacheCluster, cluster_id, lock=True)
        group = await group_of(tx, cluster)
        if group is not None and group.cluster_enabled:
            raise wrong_combination(
                f"Cache cluster {cluster.name} is a member of a replication group with cluster "
                "mode enabled. Specify ReplicationGroupId instead."
            )
        source = Source(group=group, member=cluster)
    else:
        group = await tx.get(ReplicationGroup, group_id or "", lock=True)
        lifecycle.require(group, lifecycle.Event.SNAPSHOT)
        member = None if group.cluster_enabled else checks.choose_member(group)
        source = Source(group=group, member=member)
    named = source.named
    node_type = ctx.catalog.node_type(named.node_type)
    if named.engine == Engine.MEMCACHED:
        raise checks.no_snapshots(named.engine)
    if node_type is not None and not node_type.snapshots:
        raise checks.no_snapshots(named.node_type)
    return source


async def _require_free(tx: Transaction, name: str) -> None:
    if await tx.find(Snapshot, name) is not None:
        raise AlreadyExists(Snapshot.resource, name)


async def _export(ctx: RequestContext, params: Params, bucket: str) -> Result:
    name = checks.check_export_name(params["TargetSnapshotName"])
    if params.get("KmsKeyId"):
        raise wrong_combination("KmsKeyId cannot be used with TargetBucket.")
    async with ctx.read() as tx:
        snapshot = await tx.get(Snapshot, params["SourceSnapshotName"])
        lifecycle.require(snapshot, lifecycle.Event.EXPORT)
        count = len(snapshot.node_snapshots)
    keys = [f"{name}-{number:04}.rdb" for number in range(1, count + 1)]
    await objects.check_bucket(ctx, bucket, keys)
    async with ctx.begin() as tx:
        snapshot = await tx.get(Snapshot, params["SourceSnapshotName"], lock=True)
        lifecycle.fire(snapshot, lifecycle.Event.EXPORT)
        snapshot.export = {"bucket": bucket, "name": name}
        tx.enqueue(OperationKind.SETTLE, subject_uid=snapshot.uid, token=ctx.request_id)
        return {"Snapshot": snapshot_view(snapshot)}


def copy_of(original: Snapshot, name: str, key_arn: str | None, tx: Transaction) -> Snapshot:
    """Return the row of a copy, which has yet to be made."""
    same = {
        column: getattr(original, column)
        for column in (
            "account", "region", "source_uid", "cache_cluster_id", "replication_group_id",
            "engine", "engine_version", "node_type",
        )
    }  # fmt: skip
    return Snapshot(
        uid=ids.new_uid(),
        name=name,
        status=lifecycle.CREATING,
        source=snapshots.MANUAL,
        details=dict(original.details),
        node_snapshots=[dict(entry) for entry in original.node_snapshots],
        encrypted=original.encrypted or key_arn is not None,
        kms_key_id=key_arn or original.kms_key_id,
        created_at=tx.now,
        expires_at=None,
        copy_of=original.uid,
        export={},
        bytes_done=0,
        **same,
    )


async def _tags_of(tx: Transaction, source: Source) -> Mapping[str, str]:
    named = source.named
    return await tags.listed(tx, named.arn_kind, named.name)


async def _put_tags(tx: Transaction, snapshot: Snapshot, wanted: Mapping[str, str]) -> None:
    await tags.put(tx, Snapshot.arn_kind, snapshot.name, wanted)
