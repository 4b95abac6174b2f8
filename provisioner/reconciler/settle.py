"""Bring one subject into agreement with its record: the operation behind almost every call.

One pass: give addresses, observe, plan, take one batch, and look again. Once nothing is left to
do, nodes that are on their way out are ended, and the record is concluded. The pass holds nothing
between two looks, so it can stop at any instant and begin again in another process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable, NoEngineBinary
from cachefleet.engine.types import Engine
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.planning.cluster import plan_cluster
from cachefleet.provisioner.planning.memcached import plan_memcached
from cachefleet.provisioner.planning.replication import plan_replication
from cachefleet.provisioner.planning.steps import Step, Verb
from cachefleet.provisioner.reconciler.access import ensure_access
from cachefleet.provisioner.reconciler.act import take
from cachefleet.provisioner.reconciler.addressing import ensure_addresses
from cachefleet.provisioner.reconciler.conclude import (
    abandon_growth,
    conclude,
    fail_creation,
    tell_refusal,
)
from cachefleet.provisioner.reconciler.failover import ensure_primaries
from cachefleet.provisioner.reconciler.filling import (
    CannotRestore,
    StoreUnavailable,
    drop_files,
    fill,
    require_room,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.logins import end_displaced, ensure_logins
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.observe import (
    observe_cluster,
    observe_memcached,
    observe_replication,
)
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.places import NoMemoryDirectory, forget_sealed
from cachefleet.provisioner.reconciler.reconfigure import ValuesRefused, reconfigure
from cachefleet.provisioner.reconciler.records import SubjectRecord, behind_port, load_subject
from cachefleet.provisioner.reconciler.regions import lead_followers
from cachefleet.provisioner.reconciler.renew import end_rebooting, renew
from cachefleet.provisioner.reconciler.sealing import SealedData, ensure_key
from cachefleet.provisioner.reconciler.secure import (
    cut_plain,
    refresh_certificates,
    refresh_trust,
)
from cachefleet.provisioner.reconciler.transit import gateway_name
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.errors import AddressesExhausted
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

FED_RETRY_S = 0.1
RETRY_S = 2.0  # after a failure on a subject that serves: it is never given up
STEPS_PER_CLAIM_MAX = 2_000  # then the claim is given back, so that nothing holds it for ever

FILL_BYTES_PER_S_MIN = 5e6  # what is restored may take so much longer to become ready

Permanent = (
    LaunchFailed,
    NoEngineBinary,
    AddressesExhausted,
    CommandRefused,
    CannotRestore,
    SealedData,
    NoMemoryDirectory,
)
FAILED = (lifecycle.CREATE_FAILED, lifecycle.INCOMPATIBLE_NETWORK, lifecycle.RESTORE_FAILED)


async def settle(
    lease: Lease, fleet: Fleet, *, operation_id: int | None = None, may_restart: bool = False
) -> Outcome:
    """Settle the subject of *lease*; returns when it agrees with its record, or cannot.

    Only with *may_restart* are nodes restarted that run another engine than the record says.

    Raises:
        Stale: the lease has passed on; nothing more was written.
    """
    record = await _load(lease, fleet)
    if record is None:
        return Done("it is gone")
    if record.settings.status in FAILED:
        await _retire(record.nodes, fleet)
        return Done("its creation had failed")
    try:
        record = await ensure_key(record, fleet)
        filled_bytes = await fill(record, fleet) if record.is_filling else 0
        timeout_s = fleet.settings.create_timeout_s + filled_bytes / FILL_BYTES_PER_S_MIN
        async with asyncio.timeout(timeout_s):
            await end_rebooting(record, fleet)
            await _release_endpoints(record, fleet)
            record = await converge(record, fleet)
            if record.is_filling:
                await require_room(record, fleet)
                reached(Milestone.RESTORE_LOADED)
            if may_restart:
                record = await renew(record, fleet, converge)
            if record.cluster_enabled:
                # Before customers may write, whoever else does has ended; and the reverse.
                await fleet.feeds.sync()
            await _reconfigure(record, fleet)
            await ensure_access(record, fleet)
            await ensure_logins(record, fleet)
            await refresh_certificates(record, fleet)
            if record.is_fed and record.is_creating and not await is_fed_now(record, fleet):
                if await _is_in_vain(record, fleet):
                    return await _refused(record, fleet, reason="its data did not come")
                return Requeue(after_s=FED_RETRY_S, reason="its data is on its way")
    except Permanent as error:
        return await _refused(record, fleet, reason=str(error))
    except TimeoutError:
        return await _refused(record, fleet, reason="it did not become ready in time")
    except (NodeUnreachable, StoreUnavailable) as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    # Clients are led to what is new, and away from what goes, before either is true in the record.
    try:
        await fleet.sync_endpoints(lease.subject_uid)
    except (LaunchFailed, NodeUnreachable) as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    await _retire(record.retiring_nodes, fleet)
    await conclude(record, fleet, operation_id=operation_id)
    await lead_followers(record, fleet)
    drop_files(record, fleet)
    if any(node.recovering for node in record.nodes):
        reached(Milestone.CONCLUDED)
    return Done("it agrees with its record")


async def is_fed_now(record: SubjectRecord, fleet: Fleet) -> bool:
    """Tell whether each shard of a group that is fed has all data, and gets what is new."""
    assert record.group is not None, "only groups are fed"
    status = await fleet.feeds.status()
    return all(
        shard.feed is not None
        and (link := status.get(shard.feed["token"])) is not None
        and link.streaming
        for shard in record.group.node_groups
    )


async def _is_in_vain(record: SubjectRecord, fleet: Fleet) -> bool:
    """Tell whether a new group has waited long enough for data of which nothing arrives."""
    created_at = record.settings.created_at
    waited_s = 0.0 if created_at is None else (fleet.clock.now() - created_at).total_seconds()
    if waited_s < fleet.settings.create_timeout_s:
        return False
    assert record.group is not None, "only groups are fed"
    tokens = {shard.feed["token"] for shard in record.group.node_groups if shard.feed is not None}
    status = await fleet.feeds.status()
    return not any(one.is_moving for token, one in status.items() if token in tokens)


async def plan(record: SubjectRecord, fleet: Fleet) -> Sequence[Step]:
    """Observe the subject and return what has to be done next."""
    if not record.live_nodes:
        return []
    if record.engine is Engine.MEMCACHED:
        nodes = await observe_memcached(record, fleet)
        return plan_memcached(nodes, payload=record.discovery_payload())
    if record.cluster_enabled:
        return plan_cluster(await observe_cluster(record, fleet))
    return plan_replication(await observe_replication(record, fleet))


async def converge(record: SubjectRecord, fleet: Fleet) -> SubjectRecord:
    """Take steps until the live nodes are what the record says; return it as it is then.

    Raises:
        TimeoutError: it took more steps than any plan needs.
    """
    record = await ensure_addresses(record, fleet)
    if record.is_led_by_gateway:
        await fleet.sync_endpoints(None)
    await end_displaced(record, fleet)
    await cut_plain(record, fleet)
    record = await ensure_primaries(record, fleet)
    record = await ensure_addresses(record, fleet)  # of nodes that were asked for meanwhile
    for _ in range(STEPS_PER_CLAIM_MAX):
        await refresh_trust(record, fleet)
        steps = await plan(record, fleet)
        if not steps:
            return record
        await take(steps, record, fleet)
        moves = Verb.BIND if record.engine is Engine.MEMCACHED else Verb.LISTEN
        if record.fronted and any(step.verb is moves for step in steps):
            # The engines have let go of the ports that clients know: nobody listens until this.
            await fleet.sync_endpoints(None)
    raise TimeoutError


async def _reconfigure(record: SubjectRecord, fleet: Fleet) -> None:
    """Set the engines' parameters. A value that one of them refuses ends no change, and stops no
    node: it is told once, by the event of the change that brought it.
    """
    try:
        await reconfigure(record, fleet)
    except ValuesRefused as refusal:
        log.warning("values_refused", subject=record.settings.name, reason=str(refusal))
        if record.settings.status == lifecycle.MODIFYING:
            await tell_refusal(record, fleet, reason=str(refusal))


async def _release_endpoints(record: SubjectRecord, fleet: Fleet) -> None:
    """Take from nodes on their way out the endpoints they stand for: nobody else can bind them."""
    if not record.live_nodes or not fleet.binds_endpoints(record):
        return
    for node in record.retiring_nodes:
        if node.host is None or await fleet.driver.find(node.uid) is None:
            continue
        try:
            if record.engine is Engine.MEMCACHED:
                if not fleet.stock_memcached:
                    await fleet.memcached(node).set_binds((node.host,), port=behind_port(node))
            else:
                await fleet.valkey(node).set_binds((node.host,))
        except (NodeUnreachable, CommandRefused):
            await _end(node, fleet)  # its time has come anyway


async def _retire(nodes: Sequence[CacheNode], fleet: Fleet) -> None:
    await asyncio.gather(*(_end(node, fleet) for node in nodes))


async def _end(node: CacheNode, fleet: Fleet) -> None:
    fleet.watched.pop(node.uid, None)
    with fleet.ending_node(node.uid):
        await fleet.forget(node.uid)
        await fleet.driver.remove(node.uid)
    for name in (node.uid, gateway_name(node.uid)):
        fleet.certificates.forget(name)
        forget_sealed(node.uid, fleet)


async def _refused(record: SubjectRecord, fleet: Fleet, *, reason: str) -> Outcome:
    log.warning("settle_failed", subject=record.settings.name, reason=reason)
    if record.is_creating:
        await _retire(record.nodes, fleet)
        await fail_creation(record, fleet, reason=reason)
        return GiveUp(reason)
    if any(node.status == lifecycle.NODE_CREATING for node in record.nodes):
        await abandon_growth(record, fleet, reason=reason)
        return GiveUp(reason)
    return Requeue(after_s=RETRY_S, reason=reason)


async def _load(lease: Lease, fleet: Fleet) -> SubjectRecord | None:
    async with fleet.store.read(lease.scope) as tx:
        return await load_subject(tx, lease)
