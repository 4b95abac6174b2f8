"""Online migration: a group takes over the data of a Redis or Valkey server outside.

The calls return at once. The group is ``modifying`` until the migration is completed or has failed,
and nothing else can be done to it; meanwhile it answers reads. What came of each call is told by
events.
"""

from __future__ import annotations

from cachefleet.api import references
from cachefleet.api.actions.serverless_migration import (
    complete_serverless_migration,
    start_serverless_migration,
)
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.migration import check_sources, check_target
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.api.views.replication_groups import replication_group_view
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup

TESTING, STARTING, COMPLETING = "testing", "starting", "completing"


@action("TestMigration")
async def test_migration(ctx: RequestContext, params: Params) -> Result:
    """Have the source looked at; an event says whether it could be migrated."""
    return await _begin(ctx, params, TESTING, OperationKind.TEST_MIGRATION)


@action("StartMigration")
async def start_migration(ctx: RequestContext, params: Params) -> Result:
    """Have the group or cache follow the source; it takes no writes until that is completed."""
    if _is_of_cache(params):
        return await start_serverless_migration(ctx, params)
    return await _begin(ctx, params, STARTING, OperationKind.START_MIGRATION)


@action("CompleteMigration")
async def complete_migration(ctx: RequestContext, params: Params) -> Result:
    """Have the group or cache lead, once it has everything; with ``Force`` whatever it has."""
    if _is_of_cache(params):
        return await complete_serverless_migration(ctx, params)
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        phase = group.migration.get("phase")
        if phase in (None, TESTING):
            raise NotFound("migration", group.name)
        if phase != COMPLETING:
            group.migration = {**group.migration, "phase": COMPLETING, "phase_before": phase}
        tx.enqueue(
            OperationKind.COMPLETE_MIGRATION,
            subject_uid=group.uid,
            payload={"force": bool(params.get("Force"))},
            token=ctx.request_id,
        )
        return await _shown(tx, group)


async def _begin(ctx: RequestContext, params: Params, phase: str, kind: OperationKind) -> Result:
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        check_target(ctx.catalog, group)
        source = check_sources(group, params.get("CustomerNodeEndpointList"))
        lifecycle.fire(group, lifecycle.Event.MODIFY)
        for member in group.members:
            lifecycle.fire(member, lifecycle.Event.MODIFY)
        group.migration = {"phase": phase, "source": source}
        tx.enqueue(kind, subject_uid=group.uid, payload={"source": source}, token=ctx.request_id)
        return await _shown(tx, group)


async def _shown(tx: Transaction, group: ReplicationGroup) -> Result:
    endpoints = await references.read_endpoints(tx, [group.uid])
    return {"ReplicationGroup": replication_group_view(group, endpoints=endpoints)}


def _is_of_cache(params: Params) -> bool:
    """Tell whether a request is about a serverless cache; it names either one or a group."""
    if params.get("ReplicationGroupId") and params.get("ServerlessCacheName"):
        raise wrong_combination(
            "ReplicationGroupId and ServerlessCacheName cannot be used together."
        )
    if params.get("ServerlessCacheName"):
        return True
    if not params.get("ReplicationGroupId"):
        raise wrong_combination("ReplicationGroupId or ServerlessCacheName must be given.")
    for name in ("AutoCutover", "ClearTargetCacheData"):
        if params.get(name):
            raise wrong_combination(f"{name} goes with ServerlessCacheName only.")
    return False
