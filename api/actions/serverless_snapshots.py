"""Actions that create, show, copy, export and delete snapshots of serverless caches.

They are snapshots like others, of what stands behind the caches, in the scope's shadow.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_

from cachefleet.api import objects
from cachefleet.api.actions.snapshots import copy_of
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import serverless as checks
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.views.serverless import TYPES, cache_of, serverless_snapshot_view
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import lifecycle, serverless, snapshots, tags
from cachefleet.provisioner.state.errors import AlreadyExists, IllegalTransition, NotFound
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Transaction

RESOURCE = "serverless_cache_snapshot"
ONLY_RDB = "Exporting snapshots is available for Valkey and Redis OSS only."
QUOTA = "Serverless snapshots per day per cache"


@action("CreateServerlessCacheSnapshot")
async def create_serverless_cache_snapshot(ctx: RequestContext, params: Params) -> Result:
    """Record a snapshot of a serverless cache; nothing else can be asked of the cache meanwhile."""
    name = checks.check_snapshot_name(
        "ServerlessCacheSnapshotName", params["ServerlessCacheSnapshotName"]
    )
    wanted = tags.parse(params.get("Tags"))
    key_id = params.get("KmsKeyId")
    key_arn = await objects.check_key(ctx, key_id) if key_id else None
    async with ctx.begin() as tx:
        inside = tx.within(ctx.scope.shadow)
        cache = await tx.get(ServerlessCache, params["ServerlessCacheName"], lock=True)
        backing = await serverless.backing_of(tx, cache, lock=True)
        serverless.require_free(cache, backing, lifecycle.Event.MODIFY)
        assert backing is not None, "an available cache has something behind it"
        await _require_new(inside, name)
        await _check_quota(ctx, inside, cache.name)
        snapshot = await snapshots.begin(
            inside,
            serverless.source_of(backing),
            name=name,
            kms_key_id=key_arn or cache.kms_key_id,
            token=ctx.request_id,
        )
        await tags.put(inside, Snapshot.arn_kind, name, wanted)
        tx.wakes_provisioner = True
        await tx.session.flush()
        return {"ServerlessCacheSnapshot": serverless_snapshot_view(snapshot)}


@action("DescribeServerlessCacheSnapshots")
async def describe_serverless_cache_snapshots(ctx: RequestContext, params: Params) -> Result:
    """Return a page of snapshots in order of name, those of caches that are gone among them."""
    asked = window(params, ctx.paging)
    name, cache = params.get("ServerlessCacheSnapshotName"), params.get("ServerlessCacheName")
    criteria: list[Any] = []
    if name:
        criteria.append(Snapshot.name == name.lower())
    if cache:
        # memcached is a cluster, the others are groups; of one name there is one cache.
        named = (Snapshot.replication_group_id, Snapshot.cache_cluster_id)
        criteria.append(or_(*(column == cache.lower() for column in named)))
    if params.get("SnapshotType"):
        criteria.append(Snapshot.source == _source_of(params["SnapshotType"]))
    async with ctx.read() as tx:
        inside = tx.within(ctx.scope.shadow)
        rows = await inside.page(Snapshot, *criteria, after=asked.after, limit=asked.fetch)
        if name and not rows:
            raise NotFound(RESOURCE, name)
        if cache and not rows and await tx.find(ServerlessCache, cache) is None:
            raise NotFound(ServerlessCache.resource, cache)
        shown, marker = asked.close(rows, lambda snapshot: snapshot.name)
        views = [serverless_snapshot_view(snapshot) for snapshot in shown]
    return {"ServerlessCacheSnapshots": views, "NextToken": marker}


@action("DeleteServerlessCacheSnapshot")
async def delete_serverless_cache_snapshot(ctx: RequestContext, params: Params) -> Result:
    """Mark a snapshot as ``deleting``; its files go."""
    async with ctx.begin() as tx:
        inside = tx.within(ctx.scope.shadow)
        snapshot = await find(inside, params["ServerlessCacheSnapshotName"])
        require(snapshot, lifecycle.Event.DELETE)
        await snapshots.retire(inside, snapshot)
        tx.wakes_provisioner = True
        return {"ServerlessCacheSnapshot": serverless_snapshot_view(snapshot)}


@action("CopyServerlessCacheSnapshot")
async def copy_serverless_cache_snapshot(ctx: RequestContext, params: Params) -> Result:
    """Record a copy under another name."""
    name = checks.check_snapshot_name(
        "TargetServerlessCacheSnapshotName", params["TargetServerlessCacheSnapshotName"]
    )
    wanted = tags.parse(params.get("Tags"))
    key_id = params.get("KmsKeyId")
    key_arn = await objects.check_key(ctx, key_id) if key_id else None
    async with ctx.begin() as tx:
        inside = tx.within(ctx.scope.shadow)
        original = await find(inside, params["SourceServerlessCacheSnapshotName"])
        await _require_new(inside, name)
        require(original, lifecycle.Event.COPY)
        await _check_quota(ctx, inside, cache_of(original))
        lifecycle.fire(original, lifecycle.Event.COPY)
        copy = copy_of(original, name, key_arn, inside)
        await inside.insert(copy)
        await inside.new_subject(copy.resource, copy.uid)
        await tags.put(inside, Snapshot.arn_kind, name, wanted)
        inside.enqueue(OperationKind.SETTLE, subject_uid=copy.uid, token=ctx.request_id)
        tx.wakes_provisioner = True
        await tx.session.flush()
        return {"ServerlessCacheSnapshot": serverless_snapshot_view(copy)}


@action("ExportServerlessCacheSnapshot")
async def export_serverless_cache_snapshot(ctx: RequestContext, params: Params) -> Result:
    """Have a snapshot's RDBs uploaded to a bucket, one a shard."""
    bucket = params["S3BucketName"]
    async with ctx.read() as tx:
        snapshot = await find(
            tx.within(ctx.scope.shadow), params["ServerlessCacheSnapshotName"], lock=False
        )
        if snapshot.engine == Engine.MEMCACHED:
            raise wrong_value(ONLY_RDB)
        require(snapshot, lifecycle.Event.EXPORT)
        count = len(snapshot.node_snapshots)
    keys = [f"{snapshot.name}-{number:04}.rdb" for number in range(1, count + 1)]
    await objects.check_bucket(ctx, bucket, keys)
    async with ctx.begin() as tx:
        inside = tx.within(ctx.scope.shadow)
        snapshot = await find(inside, params["ServerlessCacheSnapshotName"])
        require(snapshot, lifecycle.Event.EXPORT)
        lifecycle.fire(snapshot, lifecycle.Event.EXPORT)
        snapshot.export = {"bucket": bucket, "name": snapshot.name}
        inside.enqueue(OperationKind.SETTLE, subject_uid=snapshot.uid, token=ctx.request_id)
        tx.wakes_provisioner = True
        return {"ServerlessCacheSnapshot": serverless_snapshot_view(snapshot)}


async def find(inside: Transaction, name: str, *, lock: bool = True) -> Snapshot:
    """Return the serverless snapshot of this name; *inside* is of the shadow.

    Raises:
        NotFound: there is none.
    """
    snapshot = await inside.find(Snapshot, name, lock=lock)
    if snapshot is None:
        raise NotFound(RESOURCE, name)
    return snapshot


def require(snapshot: Snapshot, event: lifecycle.Event) -> None:
    """Raise :class:`IllegalTransition`, of serverless snapshots, where *event* is illegal now."""
    if lifecycle.target(snapshot.resource, snapshot.status, event) is None:
        raise IllegalTransition(RESOURCE, snapshot.name, snapshot.status, event.value)


async def _require_new(inside: Transaction, name: str) -> None:
    if await inside.find(Snapshot, name) is not None:
        raise AlreadyExists(RESOURCE, name)


async def _check_quota(ctx: RequestContext, inside: Transaction, name: str) -> None:
    manual_max = ctx.catalog.quota(QUOTA)
    if await snapshots.count_recent(inside, name) >= manual_max:
        raise Fault(
            "ServerlessCacheSnapshotQuotaExceededFault",
            f"At most {manual_max} snapshots of a serverless cache can be created in 24 hours.",
        )


def _source_of(kind: str) -> str:
    for source, shown in TYPES.items():
        if kind.lower() in (shown, source):
            return source
    raise wrong_value("SnapshotType must be one of: automatic, manual")
