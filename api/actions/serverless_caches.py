"""Actions that show, change and delete serverless caches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cachefleet.api.actions.serverless_creation import explicit_groups
from cachefleet.api.context import RequestContext
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import serverless as checks
from cachefleet.api.validation import settings
from cachefleet.api.validation.group_access import severed_names_of, user_groups_of_new
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.views.serverless import serverless_cache_view
from cachefleet.engine.types import Engine
from cachefleet.provisioner.planning.serverless import (
    Limits,
    node_memory_bytes,
    shards_at_least,
)
from cachefleet.provisioner.state import lifecycle, parameter_groups, serverless, snapshots, users
from cachefleet.provisioner.state.errors import AlreadyExists, NotFound
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup
from cachefleet.provisioner.state.users import Change

NOTHING = "No modifications were requested"
ONE_ONLY = "Serverless Cache modifications only support modifying one field per request."
ONLY_TO_VALKEY = "This API supports only cross-engine upgrades to Valkey engine currently"

Backing = serverless.Backing


@action("DescribeServerlessCaches")
async def describe_serverless_caches(ctx: RequestContext, params: Params) -> Result:
    """Return one serverless cache, or a page of them in order of name."""
    asked = window(params, ctx.paging)
    name = params.get("ServerlessCacheName")
    criteria = [ServerlessCache.name == name.lower()] if name else []
    async with ctx.read() as tx:
        rows = await tx.page(ServerlessCache, *criteria, after=asked.after, limit=asked.fetch)
        if name and not rows:
            raise NotFound(ServerlessCache.resource, name)
        shown, marker = asked.close(rows, lambda cache: cache.name)
        addresses = await serverless.read_addresses(tx, shown)
    return {
        "ServerlessCaches": [
            serverless_cache_view(cache, addresses.get(cache.backing_uid)) for cache in shown
        ],
        "NextToken": marker,
    }


@action("DeleteServerlessCache")
async def delete_serverless_cache(ctx: RequestContext, params: Params) -> Result:
    """Mark a serverless cache as ``deleting``, after a last snapshot where one is asked for."""
    wanted = params.get("FinalSnapshotName")
    name = checks.check_snapshot_name("FinalSnapshotName", wanted) if wanted else None
    async with ctx.begin() as tx:
        inside = tx.within(ctx.scope.shadow)
        cache = await tx.get(ServerlessCache, params["ServerlessCacheName"], lock=True)
        backing = await serverless.backing_of(tx, cache, lock=True)
        serverless.require_free(cache, backing, lifecycle.Event.DELETE)
        if name is not None and await inside.find(Snapshot, name) is not None:
            raise AlreadyExists("serverless_cache_snapshot", name)
        failed = cache.status == lifecycle.CREATE_FAILED
        saved = name is not None and not failed
        lifecycle.fire(cache, lifecycle.Event.SNAPSHOT if saved else lifecycle.Event.DELETE)
        if name is not None and saved and backing is not None:
            source = serverless.source_of(backing)
            await snapshots.begin(inside, source, name=name, final=True, token=ctx.request_id)
        elif backing is not None:
            serverless.mark_deleting(backing)
            inside.enqueue(OperationKind.SETTLE, subject_uid=backing.uid, token=ctx.request_id)
        tx.enqueue(OperationKind.SETTLE, subject_uid=cache.uid, token=ctx.request_id)
        addresses = await serverless.read_addresses(tx, [cache])
        view = serverless_cache_view(cache, addresses.get(cache.backing_uid))
        return {"ServerlessCache": view}


@action("ModifyServerlessCache")
async def modify_serverless_cache(ctx: RequestContext, params: Params) -> Result:
    """Change one thing of a serverless cache; it is ``modifying`` until that is in force."""
    field = _field_of(params)
    async with ctx.begin() as tx:
        cache = await tx.get(ServerlessCache, params["ServerlessCacheName"], lock=True)
        backing = await serverless.backing_of(tx, cache, lock=True)
        lifecycle.require(cache, lifecycle.Event.MODIFY)
        change = _Change(ctx, tx, cache, backing)
        apply = await change.prepared(field, params)
        serverless.require_free(cache, backing, lifecycle.Event.MODIFY)
        addresses = await serverless.read_addresses(tx, [cache])
        before = serverless_cache_view(
            cache, addresses.get(cache.backing_uid), status=lifecycle.MODIFYING
        )
        lifecycle.fire(cache, lifecycle.Event.MODIFY)
        apply()
        for operation in change.later:
            await operation()
        tx.enqueue(OperationKind.SETTLE, subject_uid=cache.uid, token=ctx.request_id)
        return {"ServerlessCache": before}


def _field_of(params: Params) -> str:
    """Return the one thing that a request changes.

    Raises:
        Fault: ``InvalidParameterCombination``: it is none, or more than one.
    """
    if params.get("RemoveUserGroup") and params.get("UserGroupId"):
        raise wrong_combination("RemoveUserGroup and UserGroupId cannot be used together.")
    given = {
        "Description": params.get("Description") is not None,
        "CacheUsageLimits": not checks.says_nothing(params.get("CacheUsageLimits")),
        "SecurityGroupIds": bool(params.get("SecurityGroupIds")),
        "UserGroupId": bool(params.get("UserGroupId") or params.get("RemoveUserGroup")),
        "SnapshotRetentionLimit": params.get("SnapshotRetentionLimit") is not None,
        "DailySnapshotTime": bool(params.get("DailySnapshotTime")),
        "Engine": bool(params.get("Engine") or params.get("MajorEngineVersion")),
    }
    asked = [name for name, is_given in given.items() if is_given]
    if not asked:
        raise wrong_combination(NOTHING)
    if len(asked) > 1:
        raise wrong_combination(ONE_ONLY)
    return asked[0]


Apply = Callable[[], None]


class _Change:
    """One change: checked by :meth:`prepared`, which returns what makes it."""

    def __init__(
        self,
        ctx: RequestContext,
        tx: Transaction,
        cache: ServerlessCache,
        backing: Backing | None,
    ) -> None:
        assert backing is not None, "an available cache has something behind it"
        self._ctx, self._tx, self._cache, self._backing = ctx, tx, cache, backing
        self._inside = tx.within(ctx.scope.shadow)
        self.later: list[Callable[[], Any]] = []

    async def prepared(self, field: str, params: Params) -> Apply:
        """Check the change of *field*; return what writes it."""
        match field:
            case "Description":
                return self._set("description", checks.check_description(params["Description"]))
            case "CacheUsageLimits":
                return self._limits(params["CacheUsageLimits"])
            case "SecurityGroupIds":
                return self._security_groups(params)
            case "UserGroupId":
                return await self._user_group(params)
            case "SnapshotRetentionLimit":
                return self._retention(params["SnapshotRetentionLimit"])
            case "DailySnapshotTime":
                return self._daily_time(params["DailySnapshotTime"])
        return await self._engine(params)

    def _set(self, column: str, value: Any) -> Apply:
        return lambda: setattr(self._cache, column, value)

    def _retention(self, wanted: int) -> Apply:
        days = checks.check_retention(wanted)

        def apply() -> None:
            if days and not self._cache.snapshot_retention_limit:
                self._backing.snapshots_since = self._ctx.now  # windows before are over
            self._cache.snapshot_retention_limit = days
            self._backing.snapshot_retention_limit = days

        return apply

    def _daily_time(self, wanted: str) -> Apply:
        time = checks.check_daily_time(wanted)

        def apply() -> None:
            self._cache.daily_snapshot_time = time
            for row in serverless.rows_of(self._backing):
                row.snapshot_window = checks.window_of(time)
            self._backing.snapshots_since = self._ctx.now

        return apply

    def _security_groups(self, params: Params) -> Apply:
        ids = settings.check_security_groups(params["SecurityGroupIds"])

        def apply() -> None:
            self._cache.security_group_ids = ids
            for row in serverless.rows_of(self._backing):
                row.security_group_ids = explicit_groups(self._cache)

        return apply

    def _limits(self, given: Mapping[str, Any]) -> Apply:
        merged = checks.merge_limits(self._cache.limits, given)
        limits = Limits.of(merged, gb_bytes=self._ctx.settings.serverless_gb_bytes)
        group = self._backing if isinstance(self._backing, ReplicationGroup) else None
        present = 1 if group is None else len(group.node_groups)
        wanted = 1 if group is None else max(present, shards_at_least(limits))

        def apply() -> None:
            self._cache.limits = merged
            serverless.set_memory(self._backing, node_memory_bytes(limits, wanted))
            if group is not None and wanted > present:
                self.later.append(lambda: self._add_shards(group, wanted - present))
            else:
                serverless.mark_modifying(self._backing)
                self._file(OperationKind.SETTLE)

        return apply

    async def _add_shards(self, group: ReplicationGroup, count: int) -> None:
        zones = serverless.zones_of(group)
        await serverless.add_shards(
            self._inside, group, count, zones=zones, token=self._ctx.request_id
        )

    async def _user_group(self, params: Params) -> Apply:
        group = self._backing
        if not isinstance(group, ReplicationGroup):
            raise wrong_combination("User groups are not supported for engine memcached.")
        if params.get("RemoveUserGroup"):
            if not self._cache.user_group_id:
                raise wrong_value("The serverless cache has no user group.")
            after: list[str] = []
        else:
            after = await user_groups_of_new(
                self._tx,
                {"UserGroupIds": [params["UserGroupId"]]},
                engine=group.engine,
                engine_version=group.engine_version,
            )
        severed = await severed_names_of(self._tx, group.user_group_ids, after)

        def apply() -> None:
            self._cache.user_group_id = after[0] if after else None
            group.user_group_ids = after
            serverless.mark_modifying(group)
            users.file_attachment(
                self._inside, group, Change(severed=severed), token=self._ctx.request_id
            )

        return apply

    async def _engine(self, params: Params) -> Apply:
        group, before = self._backing, Engine(self._cache.engine)
        engine = checks.check_engine(params.get("Engine") or before.value)
        version = checks.resolve_major(self._ctx.catalog, engine, params.get("MajorEngineVersion"))
        if not isinstance(group, ReplicationGroup) or engine is Engine.MEMCACHED:
            raise wrong_value(ONLY_TO_VALKEY)
        if params.get("Engine") and engine is before:
            raise wrong_value(ONLY_TO_VALKEY)
        if engine is Engine.REDIS and self._cache.major_version != "7":
            raise wrong_value("Only Valkey 7 can be changed to Redis OSS.")
        if engine is before and version.numbers[:1] <= _numbers(self._cache.major_version):
            raise wrong_value("The engine version cannot be changed to the same or an older one.")
        default = f"default.{version.family}.cluster.on"
        assert parameter_groups.default_group(self._ctx.catalog, default) is not None, default

        def apply() -> None:
            self._cache.engine = engine.value
            self._cache.engine_version = version.version
            self._cache.major_version = checks.major_of(engine, version.version)
            group.pending = {
                **group.pending,
                "Engine": engine.value,
                "EngineVersion": version.cluster_version,
                "CacheParameterGroupName": default,
            }
            serverless.mark_modifying(group)
            self._file(OperationKind.MODIFY)

        return apply

    def _file(self, kind: OperationKind) -> None:
        self._inside.enqueue(kind, subject_uid=self._backing.uid, token=self._ctx.request_id)


def _numbers(major: str) -> tuple[int, ...]:
    return tuple(int(part) for part in major.split("."))[:1]
