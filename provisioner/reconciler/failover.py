"""Give a shard that has lost its primary another one, and write down what happened.

Promotion comes before the record: clients are served some milliseconds sooner, and the events are
true when they are read. A crash between the two is found by the next pass, which sees that the
record's primary is gone and that one of its replicas is primary.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.planning.failover import (
    Candidate,
    FailoverDecision,
    Verdict,
    decide_failover,
    offsets_of_readers,
)
from cachefleet.provisioner.reconciler.binaries import SAVED_DUMP_FILE
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.following import lead
from cachefleet.provisioner.reconciler.memcached import SAVED_ITEMS_FILE
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.observe import wanted_binds
from cachefleet.provisioner.reconciler.places import sealed_dump
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    engine_endpoint,
    load_subject,
    own_endpoint,
)
from cachefleet.provisioner.reconciler.slot_moves import peer_of, readdress_imports
from cachefleet.provisioner.reconciler.takeover import let_writes_go_on, take_over
from cachefleet.provisioner.state import events, leases, lifecycle
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

# A write that reaches a replica ends its connection; the engine has no such setting, so the
# connections that could bring one are ended when a node becomes a replica.
CLOSE_ON_WRITE = ("close-on-replica-write", "close-on-slave-write")

# A replica hears that its primary's process has ended once it has read all that this one sent. Cut
# off by a partition it never hears that; then its offset stands still.
READ_TIMEOUT_S = 5.0
STANDSTILL_S = 0.2
READ_POLL_S = 0.001


async def ensure_primaries(record: SubjectRecord, fleet: Fleet) -> SubjectRecord:
    """Fail over every shard that needs it; return the record as it is afterwards.

    Raises:
        NodeUnreachable, CommandRefused: the chosen replica did not take over; look again.
        Stale: the lease has passed on.
    """
    lost = await _lost_nodes(record, fleet)
    changed = await _fail_over_shards(record, fleet, lost)
    if changed or any(not node.recovering for node in lost):
        await _write_losses(record, fleet, lost)
        if changed and record.cluster_enabled:
            primaries = [node for node in record.live_nodes if node.role == NodeRole.PRIMARY]
            await readdress_imports([peer_of(node, fleet) for node in primaries])
        changed = True
    if not changed:
        return record
    async with fleet.store.read(record.lease.scope) as tx:
        fresh = await load_subject(tx, record.lease)
    assert fresh is not None, "the lease is held, so the subject is there"
    return fresh


async def _lost_nodes(record: SubjectRecord, fleet: Fleet) -> list[CacheNode]:
    """Return nodes that served and whose process ended without an order of ours."""
    lost = []
    for node in record.live_nodes:
        if node.status != lifecycle.NODE_AVAILABLE:
            continue
        if await fleet.driver.find(node.uid) is not None:
            # From the first look on: it may hang, and then nobody else finds it out.
            fleet.watch(node, record)
        elif _saved_at_s(node, fleet) is None:
            lost.append(node)
    return lost


def _saved_at_s(node: CacheNode, fleet: Fleet) -> float | None:
    """Return when the node wrote what it is to start with, or None where there is nothing."""
    directory = fleet.driver.directory(node.uid)
    kept = sealed_dump(node.uid, fleet)
    for path in (directory / SAVED_DUMP_FILE, directory / SAVED_ITEMS_FILE, kept):
        with contextlib.suppress(FileNotFoundError):
            if path is not None:
                return path.stat().st_mtime
    return None


async def _fail_over_shards(record: SubjectRecord, fleet: Fleet, lost: Sequence[CacheNode]) -> bool:
    group = record.group
    if group is None or record.is_creating:
        return False
    changed = False
    for shard in group.node_groups:
        members = [node for node in record.live_nodes if node.node_group_uid == shard.uid]
        primary = next((node for node in members if node.role == NodeRole.PRIMARY), None)
        if primary is None or len(members) < 2:
            continue
        if primary not in lost and (shard.upstream or await _is_primary(primary, fleet)):
            continue  # who follows another shard says that it is a replica, and leads this one
        decision = await _decide(members, record, fleet)
        if decision.verdict is Verdict.KEEP:
            continue
        successor = next(node for node in members if node.uid == decision.uid)
        log.warning(
            "failover_started",
            group=group.name,
            shard=shard.node_group_id,
            verdict=decision.verdict.value,
            reason=decision.reason,
        )
        fleet.require_trusted(record.lease)
        reached(Milestone.LOSS_DECIDED)
        await _fail_over(decision, primary, successor, record, fleet)
        changed = True
    return changed


async def _decide(
    members: Sequence[CacheNode], record: SubjectRecord, fleet: Fleet
) -> FailoverDecision:
    """Decide on a shard, after its replicas have read what the lost primary had sent them."""
    assert record.group is not None, "only groups have shards"
    automatic = record.group.automatic_failover in ("enabled", "enabling")
    now_s = fleet.clock.monotonic_s()
    ends_at_s, stands_still_at_s, last = now_s + READ_TIMEOUT_S, now_s + STANDSTILL_S, None
    while True:
        candidates = await asyncio.gather(*(_candidate(node, record, fleet) for node in members))
        decision = decide_failover(
            candidates, automatic=automatic, cluster_mode=record.cluster_enabled
        )
        offsets = offsets_of_readers(candidates)
        if decision.verdict is not Verdict.PROMOTE or not offsets:
            return decision
        now_s = fleet.clock.monotonic_s()
        if offsets != last:
            last, stands_still_at_s = offsets, now_s + STANDSTILL_S
        if now_s > min(ends_at_s, stands_still_at_s):
            log.warning("stream_not_read_to_its_end", group=record.group.name, offsets=offsets)
            return decision
        await asyncio.sleep(READ_POLL_S)


async def _is_primary(node: CacheNode, fleet: Fleet) -> bool:
    """Tell whether the node says so itself, or does not answer: then nothing is decided."""
    try:
        return (await fleet.valkey(node).replication()).role is NodeRole.PRIMARY
    except (NodeUnreachable, CommandRefused):
        return True


async def _candidate(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> Candidate:
    running = await fleet.driver.find(node.uid) is not None
    role, offset, owns_slots, linked = None, 0, False, False
    if running and node.uid not in fleet.unreachable:
        adapter = fleet.valkey(node)
        try:
            view = await adapter.replication()
            role, offset, linked = view.role, view.offset, view.link_up
            if record.cluster_enabled:
                peers = await adapter.cluster_nodes()
                owns_slots = any(peer.myself and peer.slots for peer in peers)
        except (NodeUnreachable, CommandRefused):
            role = None
    return Candidate(
        uid=node.uid,
        name=node.member_name,
        availability_zone=node.availability_zone,
        is_recorded_primary=node.role == NodeRole.PRIMARY,
        is_new=node.status == lifecycle.NODE_CREATING,
        running=running,
        saved_at_s=None if running else _saved_at_s(node, fleet),
        role=role,
        owns_slots=owns_slots,
        offset=offset,
        linked=linked,
    )


async def _fail_over(
    decision: FailoverDecision,
    primary: CacheNode,
    successor: CacheNode,
    record: SubjectRecord,
    fleet: Fleet,
) -> None:
    if decision.verdict is Verdict.INHERIT:
        await write_roles(primary, successor, record, fleet)
        return
    if decision.verdict is Verdict.PROMOTE:
        if record.cluster_enabled:
            await _take_over(primary, successor, record, fleet)
        else:
            await lead(successor, record, fleet)
        reached(Milestone.PROMOTED)
    await learn_primary(primary, successor, record, fleet)


async def _take_over(
    primary: CacheNode, successor: CacheNode, record: SubjectRecord, fleet: Fleet
) -> None:
    adapter = fleet.valkey(successor)
    assert record.group is not None, "only groups have shards"
    if "Resharding" not in record.group.pending:
        await adapter.cluster_takeover()
        return
    others = [
        fleet.valkey(node)
        for node in record.live_nodes
        if node.role == NodeRole.PRIMARY and node.node_group_uid != primary.node_group_uid
    ]
    await take_over(adapter, primary.engine_node_id, others, clock=fleet.clock)
    await asyncio.gather(
        *(let_writes_go_on(it, primary.engine_node_id, clock=fleet.clock) for it in others)
    )


async def learn_primary(
    primary: CacheNode, successor: CacheNode, record: SubjectRecord, fleet: Fleet
) -> None:
    """Write down that *successor* is primary now, and lead clients to it; may be repeated.

    The primary endpoint moves first: clients wait for it, and nobody for the record.

    Raises:
        NodeUnreachable, CommandRefused: a node did not do its part; the next pass sees to it.
    """
    adapter = fleet.valkey(successor)
    primary.role, successor.role = NodeRole.REPLICA.value, NodeRole.PRIMARY.value
    endpoint = record.endpoint("primary")
    if not record.cluster_enabled:
        runs = await fleet.driver.find(primary.uid) is not None
        if runs:
            await release_endpoint(primary, record, fleet)
        await adapter.set_binds(wanted_binds(successor, record, fleet, configuration_holder=None))
        if runs:
            await _cut_writers(primary, record, fleet)
        reached(Milestone.ENDPOINT_MOVED)
    elif endpoint is not None and fleet.binds_endpoints(record):
        # Cluster mode "compatible": clients that know nothing of clusters have to be led, too.
        if await fleet.driver.find(primary.uid) is not None:
            await release_endpoint(primary, record, fleet)
        await adapter.set_binds(tuple(dict.fromkeys([*await adapter.binds(), endpoint.host])))
    await write_roles(primary, successor, record, fleet)
    if record.endpoint("primary") is not None and not fleet.binds_endpoints(record):
        await fleet.sync_endpoints(record.lease.subject_uid)


async def write_roles(
    primary: CacheNode, successor: CacheNode, record: SubjectRecord, fleet: Fleet
) -> None:
    """Record that *successor* has the role of *primary*, and the events of it, once.

    Raises:
        Stale: the lease has passed on.
    """
    nodes = {"old": primary.member_name, "new": successor.member_name}
    fleet.replicas.discard(successor.uid)  # it is asked as often as a primary from now on
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        former = await tx.session.get(CacheNode, primary.uid)
        risen = await tx.session.get(CacheNode, successor.uid)
        assert former is not None, "the lease is held, so the node is there"
        assert risen is not None, "the lease is held, so the node is there"
        if risen.role == NodeRole.PRIMARY:
            # A pass that was cancelled while it committed: the database may have gone on, and the
            # record was read before. It happened once, and there is one event of it.
            return
        former.role, risen.role = NodeRole.REPLICA.value, NodeRole.PRIMARY.value
        assert record.group is not None
        catalog = fleet.catalog
        events.record(tx, catalog, "member_failed_over", primary.member_name, **nodes)
        events.record(tx, catalog, "failed_over", record.group.name, **nodes)
    reached(Milestone.ROLES_WRITTEN)


async def release_endpoint(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """Take the primary endpoint from a node that is to be primary no more, and cut its clients.

    Connections outlive the listener: their clients would go on writing to a replica.
    """
    endpoint = record.endpoint("primary")
    if endpoint is None or not fleet.binds_endpoints(record):
        return
    adapter = fleet.valkey(node)
    if record.cluster_enabled:  # it may stand for the configuration endpoint as well
        binds = await adapter.binds()
        await adapter.set_binds(tuple(host for host in binds if host != endpoint.host))
    else:
        await adapter.set_binds((own_endpoint(node).host,))
    await adapter.kill_clients(endpoint)


async def _cut_writers(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """End the connections that were made to a node while it was primary."""
    parameters = fleet.effective_parameters(record)
    closes = any(parameters.get(name) == "yes" for name in CLOSE_ON_WRITE)
    if closes or not fleet.binds_endpoints(record):
        # Those who came to the node itself. Replicas and subscribers are of another type, and we
        # come by its socket. With endpoints in the gateway, all of its clients are among them.
        own = engine_endpoint(node)
        await fleet.valkey(node).command("CLIENT", "KILL", "TYPE", "normal", "LADDR", str(own))


async def _write_losses(record: SubjectRecord, fleet: Fleet, lost: Sequence[CacheNode]) -> None:
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        for node in lost:
            row = await tx.session.get(CacheNode, node.uid)
            if row is not None and not row.recovering:
                row.recovering = True
                events.record(
                    tx,
                    fleet.catalog,
                    "cache_nodes_recovering",
                    row.member_name,
                    nodes=row.cache_node_id,
                )
    reached(Milestone.LOSSES_WRITTEN)
