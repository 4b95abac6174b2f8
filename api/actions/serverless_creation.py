"""The action that creates serverless caches, with all that is to stand behind one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachefleet.api import objects, references
from cachefleet.api.arns import parse_arn
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.restoring import version_taken
from cachefleet.api.validation import serverless as checks
from cachefleet.api.validation import settings
from cachefleet.api.validation.group_access import user_groups_of_new
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.snapshots import check_into, require_restorable
from cachefleet.api.validation.windows import choose_windows
from cachefleet.api.views.serverless import SNAPSHOT_ARN_KIND, serverless_cache_view
from cachefleet.engine.catalog import EngineVersion
from cachefleet.engine.types import Engine
from cachefleet.provisioner.planning.serverless import (
    Limits,
    node_memory_bytes,
    shards_at_least,
    shards_for_data,
)
from cachefleet.provisioner.state import ids, lifecycle, serverless, snapshots, subnets, tags
from cachefleet.provisioner.state.errors import AlreadyExists
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

QUOTA = "Serverless caches per Region"
DEFAULT_SUBNETS = 3
FEWER_SUBNETS: Mapping[str, int] = {"us-west-1": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A request as far as it can be checked without the records."""

    name: str
    version: EngineVersion
    limits: Mapping[str, Any]
    columns: Mapping[str, Any]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seed:
    """Where a new cache's data comes from."""

    snapshots: tuple[Snapshot, ...] = ()
    arns: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        entries = [entry for one in self.snapshots for entry in one.node_snapshots]
        return sum(entry.get("size_bytes") or 0 for entry in entries)


@action("CreateServerlessCache")
async def create_serverless_cache(ctx: RequestContext, params: Params) -> Result:
    """Record a serverless cache; it is ``creating`` until its endpoint serves."""
    request = _check_request(ctx, params)
    arns = params.get("SnapshotArnsToRestore") or ()
    objects_arns = [arn for arn in arns if arn.startswith(checks.S3_ARN)]
    if objects_arns:
        await objects.check_objects(ctx, objects_arns)
    key_arn = None
    if params.get("KmsKeyId"):
        key_arn = await objects.check_key(ctx, params["KmsKeyId"])
    async with ctx.begin() as tx:
        if await tx.find(ServerlessCache, request.name) is not None:
            raise AlreadyExists(ServerlessCache.resource, request.name)
        await _check_quota(ctx, tx)
        placed = await _place(tx, params.get("SubnetIds") or ())
        user_group_id = await _user_group(tx, params, request.version)
        seed = await _seed(ctx, tx, arns, request.version)
        cache = ServerlessCache(
            uid=ids.new_uid(),
            account=ctx.account,
            region=ctx.region,
            name=request.name,
            status=lifecycle.CREATING,
            engine=request.version.engine.value,
            engine_version=request.version.version,
            limits=dict(request.limits),
            subnet_ids=[subnet["id"] for subnet in placed],
            user_group_id=user_group_id,
            kms_key_id=key_arn,
            node_ids=[_node_id(), _node_id()],
            backing_uid=ids.new_uid(),
            created_at=tx.now,
            **request.columns,
        )
        await tx.insert(cache)
        await tx.new_subject(cache.resource, cache.uid)
        await tags.put(tx, cache.arn_kind, cache.name, request.tags)
        await _add_backing(ctx, tx, cache, request, placed, seed)
        tx.enqueue(OperationKind.SETTLE, subject_uid=cache.uid, token=ctx.request_id)
        await tx.session.flush()
        return {"ServerlessCache": serverless_cache_view(cache)}


def _check_request(ctx: RequestContext, params: Params) -> _Request:
    name = checks.check_name(params["ServerlessCacheName"])
    engine = checks.check_engine(params["Engine"])
    version = checks.resolve_major(ctx.catalog, engine, params.get("MajorEngineVersion"))
    checks.refuse_users_of_memcached(engine, params)
    checks.refuse_valkey_9_features(params)
    checks.check_seeds(engine, params.get("SnapshotArnsToRestore") or ())
    limits = checks.check_limits(params.get("CacheUsageLimits"))
    groups = settings.check_security_groups(params.get("SecurityGroupIds"))
    network, _ = settings.check_network(params)
    return _Request(
        name=name,
        version=version,
        limits=limits,
        columns={
            "description": checks.check_description(params.get("Description")),
            "major_version": checks.major_of(engine, version.version),
            "security_group_ids": groups or [subnets.default_security_group(ctx.scope)],
            "snapshot_retention_limit": checks.check_retention(
                params.get("SnapshotRetentionLimit")
            ),
            "daily_snapshot_time": checks.check_daily_time(params.get("DailySnapshotTime")),
            "network_type": network,
        },
        tags=tags.parse(params.get("Tags")),
    )


async def _check_quota(ctx: RequestContext, tx: Transaction) -> None:
    caches_max = ctx.catalog.quota(QUOTA)
    if await tx.count(ServerlessCache) >= caches_max:
        raise Fault(
            "ServerlessCacheQuotaForCustomerExceededFault",
            f"The quota of {caches_max} serverless caches in this region is reached.",
        )


async def _place(tx: Transaction, wanted: Sequence[str]) -> list[dict[str, Any]]:
    if not wanted:
        count = FEWER_SUBNETS.get(tx.scope.region, DEFAULT_SUBNETS)
        return subnets.default_group(tx.scope).subnets[:count]
    placed = await subnets.place_in_scope(tx, wanted)
    checks.check_subnets(placed, wanted)
    return placed


async def _user_group(tx: Transaction, params: Params, version: EngineVersion) -> str | None:
    wanted = params.get("UserGroupId")
    if not wanted:
        return None
    found = await user_groups_of_new(
        tx,
        {"UserGroupIds": [wanted]},
        engine=version.engine.value,
        engine_version=version.cluster_version,
    )
    return found[0]


async def _seed(
    ctx: RequestContext, tx: Transaction, arns: Sequence[str], version: EngineVersion
) -> _Seed | None:
    """Return what the cache begins with; None with nothing.

    Raises:
        Fault: there is no such snapshot, or it cannot be restored here.
    """
    if not arns:
        return None
    in_s3 = [arn for arn in arns if arn.startswith(checks.S3_ARN)]
    if len(in_s3) == len(arns):
        return _Seed(arns=tuple(arns))
    if in_s3:
        raise wrong_combination("SnapshotArnsToRestore must not mix snapshots with S3 objects.")
    return _Seed(snapshots=tuple([await _snapshot(ctx, tx, arn, version) for arn in arns]))


async def _snapshot(
    ctx: RequestContext, tx: Transaction, text: str, version: EngineVersion
) -> Snapshot:
    """Return a snapshot that the cache can be restored from."""
    arn = parse_arn(text, ctx.scope)
    if arn.kind not in (SNAPSHOT_ARN_KIND, Snapshot.arn_kind):
        raise wrong_value(f"SnapshotArnsToRestore does not name a snapshot: {text}")
    inside = tx.within(ctx.scope.shadow) if arn.kind == SNAPSHOT_ARN_KIND else tx
    found = await inside.find(Snapshot, arn.name, lock=True)
    snapshot = require_restorable(found, arn.name)
    taken = version_taken(ctx, snapshot)
    check_into(snapshot, version, taken, cluster_mode=version.engine is not Engine.MEMCACHED)
    engine = Engine(snapshot.engine)
    oldest = checks.RDB_VERSION_MIN.get(engine, ())
    if taken is not None and taken.numbers < oldest:
        raise wrong_value(f"Snapshot {snapshot.name} of {engine.value} {taken.version} is too old.")
    return snapshot


def _node_id() -> str:
    """Return an id as the service gives them: the last eight digits are zeros."""
    return ids.new_engine_id()[:32] + "0" * 8


async def _add_backing(
    ctx: RequestContext,
    tx: Transaction,
    cache: ServerlessCache,
    request: _Request,
    placed: Sequence[Mapping[str, str]],
    seed: _Seed | None,
) -> None:
    """Write what stands behind the cache, in the scope's shadow."""
    inside = tx.within(ctx.scope.shadow)
    limits = Limits.of(request.limits, gb_bytes=ctx.settings.serverless_gb_bytes)
    zones = [subnet["az"] for subnet in placed]
    common = _common_columns(ctx, cache, request, inside.scope)
    if request.version.engine is Engine.MEMCACHED:
        cluster = CacheCluster(
            num_cache_nodes=1, memory_limit_bytes=node_memory_bytes(limits, 1), **common
        )
        if seed is not None:
            await snapshots.begin_restore(inside, cluster.uid, of=seed.snapshots)
        await serverless.add_cluster(inside, cluster, zone=zones[0], token=ctx.request_id)
        return
    count = shards_at_least(limits) if seed is None else shards_for_data(limits, seed.size_bytes)
    group = ReplicationGroup(
        description=cache.description,
        cluster_mode="enabled",
        automatic_failover="enabled",
        multi_az="enabled",
        kms_key_id=cache.kms_key_id,
        user_group_ids=[cache.user_group_id] if cache.user_group_id else [],
        memory_limit_bytes=node_memory_bytes(limits, count),
        **common,
    )
    plans = serverless.plan_shards(cache.name, count, zones=zones)
    if seed is not None:
        await snapshots.begin_restore(inside, group.uid, of=seed.snapshots, arns=seed.arns)
    await serverless.add_group(inside, group, plans, token=ctx.request_id)


def _common_columns(
    ctx: RequestContext, cache: ServerlessCache, request: _Request, scope: Scope
) -> dict[str, Any]:
    memcached = request.version.engine is Engine.MEMCACHED
    default = references.default_parameter_group(
        ctx.catalog, request.version, cluster_mode=not memcached
    )
    windows = choose_windows(
        region=ctx.region, name=cache.name, maintenance=None, snapshot=None, has_snapshots=False
    )
    return {
        "uid": cache.backing_uid,
        "account": scope.account,
        "region": scope.region,
        "name": cache.name,
        "status": lifecycle.CREATING,
        "engine": cache.engine,
        "engine_version": request.version.cluster_version,
        "node_type": serverless.NODE_TYPE,
        "port": serverless.MEMCACHED_PORT if memcached else serverless.VALKEY_PORT,
        "parameter_group_name": default.name,
        "security_group_ids": explicit_groups(cache),
        "maintenance_window": windows.maintenance,
        "snapshot_window": checks.window_of(cache.daily_snapshot_time),
        "snapshot_retention_limit": cache.snapshot_retention_limit,
        "snapshots_since": ctx.now,
        "at_rest_encryption_enabled": cache.kms_key_id is not None,
        "serverless_uid": cache.uid,
        "created_at": ctx.now,
    }


def explicit_groups(cache: ServerlessCache) -> list[str]:
    """Return a cache's security groups as they are enforced; none where it has the default one."""
    default = subnets.default_security_group(cache.scope)
    return [one for one in cache.security_group_ids if one != default]
