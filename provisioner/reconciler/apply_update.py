"""Carry out a service update on one cache: node by node, the cache serving all the time.

A newer engine: replicas are restarted first, each back in sync before the next; then the primary
hands its role over, without losing a write, and is restarted as a replica. A new authority: nodes
are given their certificates one after the other, and nobody's connection ends.

What is left to do is looked up before every step: nothing is remembered but what the record shows
to customers, so a pass that was cut off is gone on with. A customer's stop is heeded between nodes.
"""

from __future__ import annotations

from typing import Final

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable, NoEngineBinary
from cachefleet.engine.pki import UnusableKeys
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.planning.updates import AUTHORITY, Offer
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.observe import is_kept_down
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject, reload_subject
from cachefleet.provisioner.reconciler.renew import next_restart, take_restart
from cachefleet.provisioner.reconciler.secure import refresh_trust, show_newest
from cachefleet.provisioner.reconciler.settle import converge, settle
from cachefleet.provisioner.reconciler.transit import node_certificate, transit_of
from cachefleet.provisioner.reconciler.updates import endpoint_names, find_offer, node_names
from cachefleet.provisioner.state import leases, updates
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode, Operation
from cachefleet.provisioner.state.update_tables import UpdateAction
from cachefleet.provisioner.state.updates import Event, Status

log = structlog.get_logger(__name__)

RETRY_S: Final = 1.0
SOURCES: Final = {"replication_group": "replication-group", "cache_cluster": "cache-cluster"}


async def apply_update(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Update what is left to update, unless it was stopped; then conclude."""
    record = await _load(lease, fleet)
    if record is None:
        return Done("it is gone")
    uid = operation.payload["action"]
    try:
        record = await converge(record, fleet)
        action = await _begin(uid, lease, fleet)
        while action is not None:
            action = await _step(action, record, fleet)
            record = await reload_subject(record, fleet.store)
    except (NodeUnreachable, CommandRefused) as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    except (LaunchFailed, NoEngineBinary) as error:
        await _end(uid, lease, fleet, Event.STOPPED, failure=str(error))
    return await settle(lease, fleet, operation_id=operation.id)


async def _step(action: UpdateAction, record: SubjectRecord, fleet: Fleet) -> UpdateAction | None:
    """Update one node; return the action as it is then, None once there is nothing more to do."""
    offer = await find_offer(action.update.kind, record, fleet)
    ended = _how_it_ended(action, offer)
    if ended is not None or offer is None:
        nodes = record.live_nodes if ended is Event.FINISH else None
        await _end(action.uid, record.lease, fleet, ended or Event.SUPERSEDE, nodes=nodes)
        return None
    if action.update.kind == AUTHORITY:
        await _certify_next(action, offer, record, fleet)
    else:
        await _restart_next(action, offer, record, fleet)
    return await _note(action, record, fleet)


def _how_it_ended(action: UpdateAction, offer: Offer | None) -> Event | None:
    """Return what ends the work on an action, by what is there now; None while there is more."""
    if offer is None or offer.fingerprint != action.update.fingerprint:
        return Event.SUPERSEDE
    if not offer.behind:
        return Event.FINISH
    return Event.STOPPED if action.status == Status.STOPPING else None


async def _restart_next(
    action: UpdateAction, offer: Offer, record: SubjectRecord, fleet: Fleet
) -> None:
    step = next_restart(record, fleet, stale=offer.behind)
    assert step is not None, "a node that is behind is a node to restart"
    worked_on = next(node for node in record.live_nodes if node.uid == step.uid)
    if step.uid not in offer.behind:  # it takes over; the primary is what is updated
        worked_on = record.shard_primary(worked_on) or worked_on
    await _mark(action, worked_on, record, fleet)
    log.info("node_updated", update=action.update.name, node=worked_on.uid, kind=step.kind.value)
    await converge(await take_restart(step, record, fleet), fleet)


async def _certify_next(
    action: UpdateAction, offer: Offer, record: SubjectRecord, fleet: Fleet
) -> None:
    await refresh_trust(record, fleet)
    for name in endpoint_names(record):
        if fleet.certificates.is_behind(name):
            fleet.certificates.bring_forward(name)
    waiting = [node for node in record.live_nodes if node.uid in offer.behind]
    node = min(waiting, key=lambda one: (one.role == NodeRole.PRIMARY, one.member_name, one.uid))
    await _mark(action, node, record, fleet)
    for name in node_names(node):
        fleet.certificates.bring_forward(name)
    if transit_of(record, fleet).engine_tls:
        node_certificate(node, record, fleet)
        if not await is_kept_down(node, fleet):
            await show_newest(node, record, fleet)
    await fleet.sync_endpoints(None)


# -- the record ------------------------------------------------------------------------------------


async def _begin(uid: str, lease: Lease, fleet: Fleet) -> UpdateAction | None:
    """Say that it starts, unless it has; None where it is not to be applied (any more)."""
    async with fleet.store.begin(lease.scope) as tx:
        action = await _action(tx, uid, lease, fleet)
        if action is None or action.status not in updates.UNDER_WAY:
            return None
        if action.status == Status.WAITING_TO_START:
            updates.fire(action, Event.START, now=tx.now)
            _tell(tx, action, f"Applying service update {action.update.name} started")
        return action


async def _mark(action: UpdateAction, node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """Say of a node that it is being worked on, before it is."""
    async with fleet.store.begin(record.lease.scope) as tx:
        fresh = await _action(tx, action.uid, record.lease, fleet)
        if fresh is not None:
            updates.note_start(fresh, node.uid, now=tx.now)
    reached(Milestone.UPDATE_NODE_MARKED)


async def _note(action: UpdateAction, record: SubjectRecord, fleet: Fleet) -> UpdateAction | None:
    """Say of each node whether it is updated by now."""
    reached(Milestone.UPDATE_NODE_DONE)
    record = await reload_subject(record, fleet.store)
    offer = await find_offer(action.update.kind, record, fleet)
    async with fleet.store.begin(record.lease.scope) as tx:
        fresh = await _action(tx, action.uid, record.lease, fleet)
        if fresh is not None and offer is not None:
            updates.note_nodes(
                fresh,
                record.live_nodes,
                shards=record.shard_ids,
                behind=offer.behind,
                unknown=offer.unknown,
                now=tx.now,
            )
        return fresh


async def _end(
    uid: str,
    lease: Lease,
    fleet: Fleet,
    event: Event,
    *,
    nodes: list[CacheNode] | None = None,
    failure: str | None = None,
) -> None:
    """Say how it ended."""
    record = await _load(lease, fleet)
    async with fleet.store.begin(lease.scope) as tx:
        action = await _action(tx, uid, lease, fleet)
        if action is None or action.status not in updates.UNDER_WAY or record is None:
            return
        if nodes is not None:
            shards = record.shard_ids
            updates.note_nodes(action, nodes, shards=shards, behind=frozenset(), now=tx.now)
        updates.fire(action, event, now=tx.now)
        name = action.update.name
        words = {
            Event.FINISH: f"Service update {name} was applied",
            Event.STOPPED: f"Applying service update {name} was stopped",
            Event.SUPERSEDE: f"Service update {name} is not applicable any more",
        }[event]
        if failure is not None:
            words = f"Applying service update {name} failed: {failure}"
        _tell(tx, action, words)
    if event is Event.FINISH and action.update.kind == AUTHORITY:
        try:
            fleet.certificates.forget_former()
        except UnusableKeys as error:
            log.warning("authorities_kept", reason=str(error))
    log.info("update_ended", update=name, subject=lease.subject_uid, how=event.value)


def _tell(tx: Transaction, action: UpdateAction, words: str) -> None:
    tx.emit(SOURCES[action.subject_kind], action.name, f"{words}.")


async def _action(tx: Transaction, uid: str, lease: Lease, fleet: Fleet) -> UpdateAction | None:
    await leases.require(tx, lease, holder=fleet.holder)
    return await tx.session.get(UpdateAction, uid)


async def _load(lease: Lease, fleet: Fleet) -> SubjectRecord | None:
    async with fleet.store.read(lease.scope) as tx:
        return await load_subject(tx, lease)
