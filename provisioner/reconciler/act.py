"""Take the steps of a plan on real processes and engines. Each may be taken twice.

Steps of one batch are independent and run side by side. A step that finds its node silent leaves it
to the next observation; a refusal is passed up, because repeating it would change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.planning.steps import Step, Verb
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.following import follow
from cachefleet.provisioner.reconciler.launch import first_seats, launch
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.records import SubjectRecord, behind_port
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

WAIT_S = 0.02  # between two looks at something that is about to happen by itself


async def take(steps: Sequence[Step], record: SubjectRecord, fleet: Fleet) -> None:
    """Take one batch.

    Raises:
        LaunchFailed, NoEngineBinary: a node cannot be started.
        NodeUnreachable, CommandRefused: an engine did not do what it was asked.
        Stale: the lease is too old to act under.
    """
    fleet.require_trusted(record.lease)
    nodes = {node.uid: node for node in record.nodes}
    acts = [step for step in steps if step.verb is not Verb.WAIT]
    if not acts:
        await asyncio.sleep(WAIT_S)
        return
    outcomes = await asyncio.gather(
        *(_take(step, nodes[step.node_uid], record, fleet) for step in acts),
        return_exceptions=True,
    )
    for step in acts:
        log.info(
            "step_taken",
            subject=record.settings.name,
            node=f"{nodes[step.node_uid].member_name}/{nodes[step.node_uid].cache_node_id}",
            verb=step.verb.value,
            reason=step.reason,
        )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _take(step: Step, node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    if step.verb is Verb.LAUNCH:
        if node.uid in fleet.held_down:
            await asyncio.sleep(WAIT_S)
            return
        await launch(node, record, fleet)
        if node.recovering:
            reached(Milestone.LOST_NODE_LAUNCHED)
        elif record.is_creating and record.cluster_enabled and node.role == NodeRole.PRIMARY:
            reached(Milestone.BEGINNER_LAUNCHED)
        return
    if record.engine is Engine.MEMCACHED:
        await _take_memcached(step, node, record, fleet)
        return
    adapter = fleet.valkey(node)
    match step.verb:
        case Verb.PROMOTE:
            await adapter.promote()
        case Verb.FOLLOW:
            assert step.target is not None
            await follow(node, step.target, record, fleet, outside=step.outside)
        case Verb.BIND:
            await adapter.set_binds(step.addresses)
        case Verb.LISTEN:
            await adapter.configure(dict(step.directives))
        case Verb.BEGIN:
            seat = next(s for s in first_seats(record) if s.id == node.engine_node_id)
            await adapter.cluster_begin(seat)
        case Verb.TAKE_OVER:
            await adapter.cluster_takeover()
        case Verb.MEET:
            assert step.target is not None
            await adapter.cluster_meet(step.target, bus_port=step.target_bus_port)
        case Verb.REPLICATE:
            assert step.target_id is not None
            await adapter.cluster_replicate(step.target_id)
        case Verb.STIR:
            await adapter.stir()
        case Verb.BUMP_EPOCH:
            await adapter.cluster_bump_epoch()
        case Verb.RESUME:
            await adapter.resume()
        case Verb.PACE:
            await adapter.configure({"cluster-node-timeout": str(step.timeout_ms)})
        case Verb.FORGET:
            assert step.target_id is not None
            await adapter.cluster_forget(step.target_id)
        case _:
            raise AssertionError(f"{step.verb} is no step of {record.engine}")


async def _take_memcached(step: Step, node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    adapter = fleet.memcached(node)
    match step.verb:
        case Verb.BIND:
            await adapter.set_binds(step.addresses, port=behind_port(node))
        case Verb.ANNOUNCE:
            await adapter.config_set_cluster(record.discovery_payload())
        case _:
            raise AssertionError(f"{step.verb} is no step of {record.engine}")
