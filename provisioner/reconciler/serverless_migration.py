"""Carry out the migration of a cluster outside into a serverless cache.

From the moment the source has been looked at, the endpoint of the cache leads its clients there, as
they are: the source knows them or refuses them. The worker that feeds groups then copies each of
the source's shards into the one here that has its slots. At the cut-over clients wait: what was
passed on is answered, the last of it arrives, and the endpoint leads to the cache's own shards.
Connections stay. Everything is in the record; a pass goes on from what it finds there.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.engine.types import NodeRole
from cachefleet.engine.valkey.cluster import format_slots
from cachefleet.engine.valkey.source import SourceShard
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.planning.serverless import Limits, node_memory_bytes
from cachefleet.provisioner.planning.serverless_migration import pair_with, plan_reshape
from cachefleet.provisioner.reconciler.addressing import SERVERLESS
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.migration import incomplete, is_following, lead
from cachefleet.provisioner.reconciler.migration_sources import SourceRefused
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject, reload_subject
from cachefleet.provisioner.reconciler.serverless_sources import find_shards, read_login
from cachefleet.provisioner.reconciler.settle import is_fed_now, settle
from cachefleet.provisioner.state import leases, lifecycle, serverless
from cachefleet.provisioner.state import serverless_migration as words
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.master_key import UnreadableSecret, UnusableMasterKey
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode, Operation, ReplicationGroup

log = structlog.get_logger(__name__)

GATEWAY_UID = "gateway"
GATEWAY_TIMEOUT_S = 2.0
LOOK_EVERY_S = 0.1
SYNC_TIMEOUT_S = 120.0  # then a copy that never arrived is given up
QUIET_TIMEOUT_S = 3.0  # what blocks for longer at the source is cut off
QUIET_POLL_S = 0.02
CUT_OVERS_MAX = 5  # of an automatic one, before it waits for somebody to ask
RESHAPES_MAX = 3


async def prepare_migration(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Look at the source, and lead the cache's clients there; or end what cannot be begun."""
    record, cache = await _load(lease, fleet)
    if record is None or cache is None or words.phase_of(cache) != words.PREPARING:
        return Done("it is not to be prepared")
    try:
        login = await _sealed_login(cache, fleet)
        access = words.access_of({**cache.migration, "login": login}, fleet.master_key, cache.uid)
        found = await find_shards(cache, record, access, fleet)
    except (SourceRefused, UnusableMasterKey, UnreadableSecret, ssl.SSLError) as refusal:
        return await _abandon(lease, fleet, str(refusal))
    await _note(lease, fleet, login=login, nodes=_nodes(found))
    try:
        await fleet.sync_endpoints(None)
    except (LaunchFailed, NodeUnreachable) as error:
        return Requeue(after_s=LOOK_EVERY_S, reason=str(error))
    async with fleet.store.begin(lease.scope) as tx:
        cache = await _fresh(tx, lease, fleet)
        cache.migration = {**cache.migration, "phase": words.READY}
        lifecycle.fire(cache, lifecycle.Event.MODIFIED)
        _tell(tx, cache, f"Migration into cache {cache.name} is prepared.")
    log.info("migration_prepared", cache=cache.name, shards=len(found))
    return Done("it is prepared")


async def sync_migration(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Feed the cache from the source until it has everything; the migration stays open then."""
    record, cache = await _load(lease, fleet)
    if record is None or cache is None or words.phase_of(cache) != words.SYNCING:
        return Done("it is not to be fed")
    if not is_following(record):
        try:
            reshaping = await _begin(cache, record, fleet)
        except (SourceRefused, UnusableMasterKey, UnreadableSecret, ssl.SSLError) as refusal:
            return await _stop(operation, lease, fleet, failure=str(refusal))
        except (NodeUnreachable, CommandRefused) as error:
            return Requeue(after_s=LOOK_EVERY_S, reason=str(error))
        if reshaping:
            return Done("its shards are changed first")
    outcome = await settle(lease, fleet, operation_id=operation.id)
    if isinstance(outcome, Requeue):
        return outcome
    record = await reload_subject(record, fleet.store)
    if record.is_fed and await is_fed_now(record, fleet):
        return await _note_in_sync(lease, fleet)
    waited_s = (fleet.clock.now() - operation.created_at).total_seconds()
    if waited_s > SYNC_TIMEOUT_S:
        reason = f"no full copy of the source arrived within {SYNC_TIMEOUT_S:g} s"
        return await _stop(operation, lease, fleet, failure=reason)
    return Requeue(after_s=LOOK_EVERY_S, reason="the copy is on its way")


async def stop_migration(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Feed the cache no more; the migration stays open, and clients stay with the source."""
    _, cache = await _load(lease, fleet)
    if cache is None or words.phase_of(cache) != words.STOPPING:
        return Done("it is not to be stopped")
    return await _stop(operation, lease, fleet, failure=None)


async def cut_over(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Have the cache serve its clients itself, once it has everything; by force as it is."""
    record, cache = await _load(lease, fleet)
    if record is None or cache is None:
        return Done("it is gone")
    ending = not cache.migration and cache.status == lifecycle.MODIFYING
    if words.phase_of(cache) != words.COMPLETING and not ending:
        return Done("it is not to be completed")
    try:
        if not ending:
            force = bool(operation.payload.get("force"))
            reason = None
            if is_following(record) and not force:
                reason = await _caught_up(cache, record, fleet)
            if reason is not None:
                return await _go_on(operation, lease, fleet, reason)
            outcome = await _release(operation, lease, fleet)
            if isinstance(outcome, Requeue):
                return outcome
            await _note(lease, fleet, ended=True)
        await fleet.sync_endpoints(None)
    except (LaunchFailed, NodeUnreachable) as error:
        return Requeue(after_s=LOOK_EVERY_S, reason=str(error))
    async with fleet.store.begin(lease.scope) as tx:
        cache = await _fresh(tx, lease, fleet)
        lifecycle.fire(cache, lifecycle.Event.MODIFIED)
        _tell(tx, cache, f"Migration into cache {cache.name} is complete.")
    log.info("migration_cut_over", cache=cache.name)
    return Done("the cache serves")


# -- beginning -------------------------------------------------------------------------------------


async def _sealed_login(cache: ServerlessCache, fleet: Fleet) -> str | None:
    arn = cache.migration.get("secret_arn")
    if not arn:
        return None
    username, password = await read_login(arn, fleet)
    return words.seal_login(fleet.master_key, cache.uid, username, password)


def _nodes(found: Sequence[SourceShard]) -> list[dict[str, Any]]:
    return [
        {
            "host": shard.endpoint.host,
            "port": shard.endpoint.port,
            "slots": format_slots(shard.slots),
        }
        for shard in found
    ]


async def _begin(cache: ServerlessCache, record: SubjectRecord, fleet: Fleet) -> bool:
    """Empty the cache where that was asked for, give it the source's shards, and feed it.

    Tells whether its shards have to be changed before: that is filed then, and this again after it.
    """
    assert record.group is not None, "only groups are fed"
    access = words.access_of(cache.migration, fleet.master_key, cache.uid)
    found = await find_shards(cache, record, access, fleet)
    await _require_empty(cache, record, fleet)
    shards = {one.node_group_id: one.slots for one in record.group.node_groups}
    if plan_reshape(found, shards) is not None:
        await _file_reshape(found, record.lease, fleet)
        return True
    pairs = pair_with(found, shards)
    async with fleet.store.begin(record.lease.scope) as tx:
        fresh = await _fresh(tx, record.lease, fleet)
        group = await _group(tx, record.lease)
        for shard in group.node_groups:
            at = pairs[shard.node_group_id]
            shard.feed = {
                "outside": {
                    "host": at.host,
                    "port": at.port,
                    "login": fresh.migration.get("login"),
                    "ca": fresh.migration.get("ca") or "",
                },
                "token": new_uid(),
            }
        group.migration = {"phase": "starting", "fed": True}
        serverless.mark_modifying(group)
        fresh.migration = {**fresh.migration, "nodes": _nodes(found), "dirty": True}
        _tell(tx, fresh, f"Data sync of cache {fresh.name} with the source of its migration began.")
    log.info("migration_started", cache=cache.name)
    return False


async def _require_empty(cache: ServerlessCache, record: SubjectRecord, fleet: Fleet) -> None:
    for node in _primaries(record):
        adapter = fleet.valkey(node)
        if not await adapter.info("keyspace"):
            continue
        if not cache.migration.get("clear"):
            raise SourceRefused("the cache has data, and ClearTargetCacheData was not given")
        await adapter.command("FLUSHALL", timeout_s=SYNC_TIMEOUT_S)


async def _file_reshape(found: Sequence[SourceShard], lease: Lease, fleet: Fleet) -> None:
    """Have the cache given the shards of the source, slot for slot, and be looked at again then.

    Raises:
        SourceRefused: that was tried before.
    """
    async with fleet.store.begin(lease.scope) as tx:
        fresh = await _fresh(tx, lease, fleet)
        group = await _group(tx, lease)
        tries = int(fresh.migration.get("reshapes", 0))
        plan = plan_reshape(found, {one.node_group_id: one.slots for one in group.node_groups})
        if plan is None:
            return
        if tries >= RESHAPES_MAX:
            raise SourceRefused("the cache could not be given the shards of the source")
        limits = Limits.of(fresh.limits, gb_bytes=fleet.settings.serverless_gb_bytes)
        serverless.set_memory(group, node_memory_bytes(limits, len(plan.layout)))
        serverless.reshape(
            tx, group, plan.layout, removed=plan.removed, zones=serverless.zones_of(group)
        )
        tx.enqueue(OperationKind.SYNC_MIGRATION, subject_uid=lease.subject_uid)
        fresh.migration = {**fresh.migration, "reshapes": tries + 1}


async def _note_in_sync(lease: Lease, fleet: Fleet) -> Outcome:
    async with fleet.store.begin(lease.scope) as tx:
        cache = await _fresh(tx, lease, fleet)
        if words.phase_of(cache) != words.SYNCING:
            return Done("it was asked for something else")
        cache.migration = {**cache.migration, "phase": words.IN_SYNC, "reshapes": 0}
        _tell(tx, cache, f"Cache {cache.name} is in sync with the source of its migration.")
        if cache.migration.get("auto"):
            words.begin_cut_over(tx, cache, lease.subject_uid)
    return Done("it is in sync")


# -- ending ----------------------------------------------------------------------------------------


async def _caught_up(cache: ServerlessCache, record: SubjectRecord, fleet: Fleet) -> str | None:
    """Hold the clients back until the cache has all that they wrote; return why it has not."""
    lease = record.lease
    await _note(lease, fleet, held=True)
    await fleet.sync_endpoints(None)
    if not await _is_quiet(record, fleet):
        log.info("migration_not_quiet", cache=cache.name)
    try:
        access = words.access_of(cache.migration, fleet.master_key, cache.uid)
    except (UnusableMasterKey, UnreadableSecret) as error:
        return str(error)
    return await incomplete(record, fleet, access=access)


async def _is_quiet(record: SubjectRecord, fleet: Fleet) -> bool:
    """Wait until all that clients sent is answered; what blocks at the source may not be.

    Raises:
        NodeUnreachable: the gateway does not say.
    """
    control = GatewayControl(fleet.driver.socket_path(GATEWAY_UID), GATEWAY_TIMEOUT_S)
    ends_at_s = fleet.clock.monotonic_s() + QUIET_TIMEOUT_S
    while True:
        status = await control.status()
        name = f"{record.lease.subject_uid}-{SERVERLESS}"
        if sum(route.outstanding for route in status.routes if route.name == name) == 0:
            return True
        if fleet.clock.monotonic_s() > ends_at_s:
            return False
        await asyncio.sleep(QUIET_POLL_S)


async def _go_on(operation: Operation, lease: Lease, fleet: Fleet, reason: str) -> Outcome:
    """Serve from the source on: the cut-over came too soon. An automatic one is tried again."""
    tries = int(operation.payload.get("tries", 0)) + 1
    async with fleet.store.begin(lease.scope) as tx:
        cache = await _fresh(tx, lease, fleet)
        cache.migration = {**cache.migration, "phase": words.IN_SYNC, "held": False}
        if cache.migration.get("auto") and tries < CUT_OVERS_MAX:
            words.begin_cut_over(tx, cache, lease.subject_uid, tries=tries)
        else:
            lifecycle.fire(cache, lifecycle.Event.MODIFIED)
            _tell(tx, cache, f"Failed to complete the migration into cache {cache.name}: {reason}")
    await fleet.sync_endpoints(None)
    return GiveUp(reason)


async def _release(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Have the shards fed no more; they take writes once this is done."""
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        group = await _group(tx, lease)
        if group.migration:
            lead(group)
    return await settle(lease, fleet, operation_id=operation.id)


async def _stop(
    operation: Operation, lease: Lease, fleet: Fleet, *, failure: str | None
) -> Outcome:
    outcome = await _release(operation, lease, fleet)
    if isinstance(outcome, Requeue):
        return outcome
    async with fleet.store.begin(lease.scope) as tx:
        cache = await _fresh(tx, lease, fleet)
        if words.phase_of(cache) in (words.SYNCING, words.STOPPING):
            cache.migration = {**cache.migration, "phase": words.STOPPED, "reshapes": 0}
            text = f"Data sync of cache {cache.name} was stopped."
            if failure is not None:
                text = f"Data sync of cache {cache.name} failed: {failure}"
            _tell(tx, cache, text)
    return Done("it is stopped") if failure is None else GiveUp(failure)


async def _abandon(lease: Lease, fleet: Fleet, reason: str) -> Outcome:
    """End a migration that could not be prepared; nothing had been changed."""
    async with fleet.store.begin(lease.scope) as tx:
        cache = await _fresh(tx, lease, fleet)
        cache.migration = {}
        lifecycle.fire(cache, lifecycle.Event.MODIFIED)
        _tell(tx, cache, f"Failed to prepare the migration into cache {cache.name}: {reason}")
    log.info("migration_not_prepared", cache=cache.name, reason=reason)
    return GiveUp(reason)


# -- the record ------------------------------------------------------------------------------------


def _primaries(record: SubjectRecord) -> list[CacheNode]:
    return [node for node in record.live_nodes if node.role == NodeRole.PRIMARY]


async def _load(lease: Lease, fleet: Fleet) -> tuple[SubjectRecord | None, ServerlessCache | None]:
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
        uid = None if record is None else record.settings.serverless_uid
        cache = None if uid is None else await tx.session.get(ServerlessCache, uid)
    return record, cache


async def _group(tx: Transaction, lease: Lease) -> ReplicationGroup:
    group = await tx.session.get(ReplicationGroup, lease.subject_uid, with_for_update=True)
    assert group is not None, "the lease is held, so the group is there"
    return group


async def _fresh(tx: Transaction, lease: Lease, fleet: Fleet) -> ServerlessCache:
    await leases.require(tx, lease, holder=fleet.holder)
    group = await _group(tx, lease)
    cache = await tx.session.get(ServerlessCache, group.serverless_uid, with_for_update=True)
    assert cache is not None, "a cache goes after what stands behind it"
    return cache


async def _note(lease: Lease, fleet: Fleet, *, ended: bool = False, **changes: Any) -> None:
    async with fleet.store.begin(lease.scope) as tx:
        cache = await _fresh(tx, lease, fleet)
        cache.migration = {} if ended else {**cache.migration, **changes}


def _tell(tx: Transaction, cache: ServerlessCache, text: str) -> None:
    tx.within(tx.scope.home).emit(serverless.SOURCE, cache.name, text)
