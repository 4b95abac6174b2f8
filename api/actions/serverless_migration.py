"""The actions of migration into a serverless cache: a cluster outside serves on until the end.

The calls return at once. ``Migration`` of the cache says where it is, and events what came of it.
"""

from __future__ import annotations

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import serverless_migration as checks
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.api.views.serverless import serverless_cache_view
from cachefleet.provisioner.state import lifecycle, serverless
from cachefleet.provisioner.state import serverless_migration as words
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.store import Transaction


@action("PrepareMigration")
async def prepare_migration(ctx: RequestContext, params: Params) -> Result:
    """Have the source looked at, and the endpoint lead there; ``modifying`` until it does."""
    async with ctx.begin() as tx:
        cache = await tx.get(ServerlessCache, params["ServerlessCacheName"], lock=True)
        checks.check_engine(cache)
        if cache.migration:
            raise Fault(
                "ServerlessCacheAlreadyUnderMigrationFault",
                f"A migration is already in progress for serverless cache {cache.name}.",
            )
        backing = await serverless.backing_of(tx, cache, lock=True)
        serverless.require_free(cache, backing, lifecycle.Event.MODIFY)
        source = checks.check_source(params.get("CustomerNodeEndpointList"))
        secret = checks.check_secret(params.get("SourceAuthenticationConfiguration"))
        ca = checks.check_tls(params.get("SourceTlsConfiguration"))
        lifecycle.fire(cache, lifecycle.Event.MODIFY)
        cache.migration = {
            "phase": words.PREPARING,
            "source": source,
            "secret_arn": secret,
            "ca": ca,
        }
        _file(ctx, tx, cache, OperationKind.PREPARE_MIGRATION)
        return await _shown(tx, cache)


@action("StopMigration")
async def stop_migration(ctx: RequestContext, params: Params) -> Result:
    """End the data sync; the migration stays open, and the endpoint leads to the source."""
    async with ctx.begin() as tx:
        cache = await tx.get(ServerlessCache, params["ServerlessCacheName"], lock=True)
        phase = checks.require_migration(cache)
        if phase not in words.STOPPABLE:
            raise checks.not_now(cache, phase)
        cache.migration = {**cache.migration, "phase": words.STOPPING}
        _file(ctx, tx, cache, OperationKind.STOP_MIGRATION)
        return await _shown(tx, cache)


async def start_serverless_migration(ctx: RequestContext, params: Params) -> Result:
    """Begin the data sync of a migration that was prepared."""
    if params.get("CustomerNodeEndpointList"):
        raise wrong_combination(
            "CustomerNodeEndpointList is given to PrepareMigration for a serverless cache."
        )
    async with ctx.begin() as tx:
        cache = await tx.get(ServerlessCache, params["ServerlessCacheName"], lock=True)
        phase = checks.require_migration(cache)
        if phase not in words.STARTABLE:
            raise checks.not_now(cache, phase)
        clear = bool(params.get("ClearTargetCacheData"))
        if cache.migration.get("dirty") and not clear:
            raise wrong_combination(
                "ClearTargetCacheData is required to restart the data sync of a migration."
            )
        cache.migration = {
            **cache.migration,
            "phase": words.SYNCING,
            "auto": bool(params.get("AutoCutover")),
            "clear": clear,
        }
        _file(ctx, tx, cache, OperationKind.SYNC_MIGRATION)
        return await _shown(tx, cache)


async def complete_serverless_migration(ctx: RequestContext, params: Params) -> Result:
    """Have the cache serve its clients; with ``Force`` whatever it has, at any point."""
    force = bool(params.get("Force"))
    async with ctx.begin() as tx:
        cache = await tx.get(ServerlessCache, params["ServerlessCacheName"], lock=True)
        phase = checks.require_migration(cache)
        if phase not in words.ENDABLE:
            raise checks.not_now(cache, phase)
        if phase != words.IN_SYNC and not force:
            raise Fault(
                "MigrationHealthFault",
                f"The migration of serverless cache {cache.name} has status {phase}. Check its "
                "events, or set Force to true to end it as it is.",
            )
        words.begin_cut_over(tx.within(ctx.scope.shadow), cache, cache.backing_uid, force=force)
        tx.wakes_provisioner = True
        return await _shown(tx, cache)


def _file(
    ctx: RequestContext, tx: Transaction, cache: ServerlessCache, kind: OperationKind
) -> None:
    inside = tx.within(ctx.scope.shadow)
    inside.enqueue(kind, subject_uid=cache.backing_uid, token=ctx.request_id)
    tx.wakes_provisioner = True


async def _shown(tx: Transaction, cache: ServerlessCache) -> Result:
    addresses = await serverless.read_addresses(tx, [cache])
    return {"ServerlessCache": serverless_cache_view(cache, addresses.get(cache.backing_uid))}
