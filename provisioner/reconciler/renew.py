"""Restart nodes that run something else than the record says, one at a time, keeping the data.

What a node runs is read from its process: there is no note of it that could be wrong.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Container

import structlog

from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.planning.restarts import (
    Restart,
    RestartStep,
    RestartView,
    plan_restart,
)
from cachefleet.provisioner.reconciler.binaries import binary_for
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.memcached import memcached_spec
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.records import SubjectRecord, reload_subject
from cachefleet.provisioner.reconciler.stopping import end_node
from cachefleet.provisioner.reconciler.switchover import switch_over
from cachefleet.provisioner.state import leases, lifecycle
from cachefleet.provisioner.state.parameters import IN_SYNC
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

# memcached's options that come with the node type or the engine version; those of parameters wait
# for a reboot.
MEMCACHED_OPTIONS = ("-m", "-t", "--report-version")

Converge = Callable[[SubjectRecord, Fleet], Awaitable[SubjectRecord]]


async def renew(
    record: SubjectRecord, fleet: Fleet, converge: Converge, *, steps_max: int | None = None
) -> SubjectRecord:
    """Restart what is stale, shard by shard; *converge* makes the subject whole in between.

    With *steps_max* it returns after so many restarts, stale nodes or none.
    """
    taken = 0
    while steps_max is None or taken < steps_max:
        step = next_restart(record, fleet)
        if step is None:
            break
        log.info(
            "node_renewed",
            subject=record.settings.name,
            kind=step.kind.value,
            node=step.uid,
            reason=step.reason,
        )
        await converge(await take_restart(step, record, fleet), fleet)
        record = await reload_subject(record, fleet.store)
        taken += 1
    return record


def next_restart(
    record: SubjectRecord, fleet: Fleet, *, stale: Container[str] | None = None
) -> RestartStep | None:
    """Return the next restart that the subject needs; *stale* are the nodes, where it is known."""
    steps = (
        plan_restart([_view(node, record, fleet, stale) for node in shard])
        for shard in shards(record)
    )
    return next((step for step in steps if step is not None), None)


def shards(record: SubjectRecord) -> list[list[CacheNode]]:
    """Return the live nodes by shard; each memcached node is a shard of its own."""
    if record.engine is Engine.MEMCACHED:
        return [[node] for node in record.live_nodes]
    by_shard: dict[str | None, list[CacheNode]] = {}
    for node in record.live_nodes:
        by_shard.setdefault(node.node_group_uid, []).append(node)
    return list(by_shard.values())


async def take_restart(step: RestartStep, record: SubjectRecord, fleet: Fleet) -> SubjectRecord:
    """End a node so that it begins anew; a primary hands its role over before that.

    Raises:
        NodeUnreachable, CommandRefused: the role was not handed over.
    """
    node = next(node for node in record.live_nodes if node.uid == step.uid)
    if step.kind is Restart.HAND_OVER:
        primary = record.shard_primary(node)
        assert primary is not None, "a primary is what hands over"
        record = await switch_over(record, node, fleet)
        reached(Milestone.UPDATE_PRIMARY_MOVED)
        # At once: what it runs may be too old to follow the new primary for long.
        node = next(node for node in record.live_nodes if node.uid == primary.uid)
    await end_node(node, record.engine, fleet, save=step.kind is Restart.SAVED)
    if step.kind is not Restart.SAVED:
        # In this pass's own picture only: its end is no loss, and not to be told as one.
        node.status = lifecycle.NODE_REBOOTING
    await _note_start(node, record, fleet)
    return record


async def _note_start(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """Record that the node's next start, whoever makes it, brings all parameters into force."""
    if node.parameter_group_status == IN_SYNC:
        return
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        row = await tx.session.get(CacheNode, node.uid)
        assert row is not None, "the lease is held, so the node is there"
        row.parameter_group_status = IN_SYNC


def _view(
    node: CacheNode, record: SubjectRecord, fleet: Fleet, stale: Container[str] | None
) -> RestartView:
    return RestartView(
        uid=node.uid,
        name=node.member_name,
        role=None if node.role is None else NodeRole(node.role),
        stale=_is_stale(node, record, fleet) if stale is None else node.uid in stale,
    )


def _is_stale(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> bool:
    running = fleet.driver.command_line(node.uid)
    binary = binary_for(record, fleet)
    if running[: len(binary.argv)] != binary.argv:
        return True
    if record.engine is not Engine.MEMCACHED:
        return False
    wanted = memcached_spec(node, record, fleet, binary).argv
    return _options(running) != _options(wanted)


def _options(argv: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in itertools.pairwise(argv) if name in MEMCACHED_OPTIONS}


async def end_rebooting(record: SubjectRecord, fleet: Fleet) -> None:
    """End the nodes that a customer asked to reboot; their memory is lost, as on the service."""
    nodes = [node for node in record.live_nodes if node.status == "rebooting"]
    await asyncio.gather(*(end_node(node, record.engine, fleet, save=False) for node in nodes))
