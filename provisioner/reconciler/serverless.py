"""Bring a serverless cache into agreement with what stands behind it.

The API writes what is wanted to the group or cluster in the shadow, which is worked on like any
other; here is only what customers see of that. It goes on from what it finds, so that it may be cut
off anywhere.
"""

from __future__ import annotations

import structlog

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.state import leases, lifecycle, serverless, tags
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.lifecycle import Event
from cachefleet.provisioner.state.operations import (
    OperationKind,
    forget_subject,
    open_operations,
)
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.store import Transaction

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
FAILED = frozenset(
    {lifecycle.CREATE_FAILED, lifecycle.INCOMPATIBLE_NETWORK, lifecycle.RESTORE_FAILED}
)


async def settle_serverless(lease: Lease, fleet: Fleet) -> Outcome:
    """Write the status that what stands behind the cache makes."""
    async with fleet.store.read(lease.scope) as tx:
        cache = await tx.session.get(ServerlessCache, lease.subject_uid)
        if cache is None:
            return Done("it is gone")
        waiting = await _waits_for(tx, cache)
    if waiting is not None:
        return Requeue(after_s=LOOK_EVERY_S, reason=waiting)
    try:
        # Limits and security groups are the gateway's to keep.
        await fleet.sync_endpoints(None)
    except (LaunchFailed, NodeUnreachable) as error:
        return Requeue(after_s=LOOK_EVERY_S, reason=str(error))
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        cache = await tx.session.get(ServerlessCache, lease.subject_uid, with_for_update=True)
        assert cache is not None, "the lease is held, so the cache is there"
        await _conclude(tx, cache, lease)
    return Done("it agrees with its record")


async def _waits_for(tx: Transaction, cache: ServerlessCache) -> str | None:
    """Return what has to happen first; None where the cache can be concluded."""
    backing = await serverless.backing_of(tx, cache)
    if backing is None:
        return None
    if cache.status == lifecycle.CREATING:
        ready = backing.status == lifecycle.AVAILABLE or backing.status in FAILED
        return None if ready else "its nodes have yet to serve"
    if cache.status not in (lifecycle.MODIFYING, lifecycle.SNAPSHOTTING, lifecycle.DELETING):
        return None
    if cache.status == lifecycle.DELETING:
        return "its nodes are being ended"
    work = await open_operations(tx, backing.uid)
    if any(operation.kind != OperationKind.SNAPSHOT for operation in work) or (
        backing.status != lifecycle.AVAILABLE
    ):
        return "its nodes are being changed"
    return "its last snapshot is being taken" if work else None


async def _conclude(tx: Transaction, cache: ServerlessCache, lease: Lease) -> None:
    backing = await serverless.backing_of(tx, cache)
    match cache.status:
        case lifecycle.CREATING:
            if backing is not None and backing.status == lifecycle.AVAILABLE:
                lifecycle.fire(cache, Event.PROVISIONED)
                cache.created_at = tx.now
                tx.emit(serverless.SOURCE, cache.name, f"Cache {cache.name} is created.")
            else:
                lifecycle.fire(cache, Event.PROVISION_FAILED)
                text = f"Failed to create cache {cache.name}. {await _reason(tx, cache)}"
                tx.emit(serverless.SOURCE, cache.name, text)
        case lifecycle.MODIFYING:
            lifecycle.fire(cache, Event.MODIFIED)
            tx.emit(serverless.SOURCE, cache.name, f"Settings updated for the cache {cache.name}.")
        case lifecycle.DELETING:
            await _forget(tx, cache, lease)
        case lifecycle.SNAPSHOTTING:
            if backing is None:
                lifecycle.fire(cache, Event.DELETE)
                await _forget(tx, cache, lease)
            else:
                lifecycle.fire(cache, Event.SNAPSHOT_ENDED)
                text = f"Failed to delete cache {cache.name}. Its snapshot could not be taken."
                tx.emit(serverless.SOURCE, cache.name, text)
    log.info("serverless_cache_settled", name=cache.name, status=cache.status)


async def _reason(tx: Transaction, cache: ServerlessCache) -> str:
    """Return why its nodes could not be started, as it is written for them."""
    told = await serverless.newest_event(tx.within(cache.scope.shadow), cache.name)
    return "Its nodes could not be started." if told is None else told.partition(": ")[2]


async def _forget(tx: Transaction, cache: ServerlessCache, lease: Lease) -> None:
    tx.emit(serverless.SOURCE, cache.name, f"Cache {cache.name} was deleted.")
    await tags.forget(tx, cache.arn_kind, cache.name)
    await tx.session.delete(cache)
    await tx.session.flush()
    await forget_subject(tx, lease.subject_uid)
