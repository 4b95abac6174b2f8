"""Restart nodes that run something else than the record says, one at a time, keeping the data.

What a node runs is read from its process: there is no note of it that could be wrong.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import structlog

from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.planning.restarts import (
    Restart,
    RestartStep,
    RestartView,
    plan_restart,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.launch import memcached_spec
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.reconciler.stopping import end_node
from cachefleet.provisioner.reconciler.switchover import switch_over
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

# memcached's options that come with the node type or the engine version; those of parameters wait
# for a reboot.
MEMCACHED_OPTIONS = ("-m", "-t", "--report-version")

Converge = Callable[[SubjectRecord, Fleet], Awaitable[SubjectRecord]]


async def renew(record: SubjectRecord, fleet: Fleet, converge: Converge) -> SubjectRecord:
    """Restart what is stale, shard by shard; *converge* makes the subject whole in between."""
    while True:
        step = next(
            (
                step
                for shard in shards(record)
                if (step := plan_restart([_view(node, record, fleet) for node in shard]))
            ),
            None,
        )
        if step is None:
            return record
        log.info("node_renewed", subject=record.settings.name, kind=step.kind, reason=step.reason)
        record = await converge(await _take(step, record, fleet), fleet)


def shards(record: SubjectRecord) -> list[list[CacheNode]]:
    """Return the live nodes by shard; each memcached node is a shard of its own."""
    if record.engine is Engine.MEMCACHED:
        return [[node] for node in record.live_nodes]
    by_shard: dict[str | None, list[CacheNode]] = {}
    for node in record.live_nodes:
        by_shard.setdefault(node.node_group_uid, []).append(node)
    return list(by_shard.values())


async def _take(step: RestartStep, record: SubjectRecord, fleet: Fleet) -> SubjectRecord:
    node = next(node for node in record.live_nodes if node.uid == step.uid)
    match step.kind:
        case Restart.HAND_OVER:
            return await switch_over(record, node, fleet)
        case Restart.EMPTY:
            await end_node(node, record.engine, fleet, save=False)
        case Restart.SAVED:
            await end_node(node, record.engine, fleet, save=True)
    return record


def _view(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> RestartView:
    return RestartView(
        uid=node.uid,
        name=node.member_name,
        role=None if node.role is None else NodeRole(node.role),
        stale=_is_stale(node, record, fleet),
    )


def _is_stale(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> bool:
    running = fleet.driver.command_line(node.uid)
    binary = fleet.inventory.choose(record.engine, record.settings.engine_version)
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
