"""Bring the settings of running engines into agreement with the record, and read them back.

Node type (memory, clients) and parameters that take effect at once are one thing to the engine:
directives. What differs is set, all or nothing a node, and what the engine then answers is what
counts.
"""

from __future__ import annotations

import asyncio

import structlog

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.config import parameter_plan, reads_back
from cachefleet.provisioner.reconciler.binaries import binary_for
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.launch import valkey_config
from cachefleet.provisioner.reconciler.memory import MB
from cachefleet.provisioner.reconciler.observe import is_kept_down
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

CLIENTS = "maxclients"


class ValuesRefused(CommandRefused):
    """An engine does not take some values; what else was to be set is set."""


async def reconfigure(record: SubjectRecord, fleet: Fleet) -> None:
    """Make every live node's directives those of the record.

    Raises:
        ValuesRefused: an engine did not take a value; asking again would change nothing.
        CommandRefused: an engine takes no commands now.
        NodeUnreachable: a node did not answer.
    """
    if record.engine is Engine.MEMCACHED:
        # memcached takes its settings at the start only, but for its limit.
        await _limit_memory(record, fleet)
        return
    # A node that has just been created was started with the record's own settings.
    settled = [
        node
        for node in record.live_nodes
        if node.status != lifecycle.NODE_CREATING and not await is_kept_down(node, fleet)
    ]
    outcomes = await asyncio.gather(
        *(_reconfigure(node, record, fleet) for node in settled), return_exceptions=True
    )
    # Whoever is silent decides: what the others refused is asked of them again.
    broken = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for outcome in sorted(broken, key=lambda error: isinstance(error, ValuesRefused)):
        raise outcome


async def _limit_memory(record: SubjectRecord, fleet: Fleet) -> None:
    """Have the node of a serverless cache hold as much as the cache's limit says."""
    limit = record.settings.memory_limit_bytes
    if limit is not None:
        for node in record.live_nodes:
            await fleet.memcached(node).limit_memory(max(1, limit // MB))


async def _reconfigure(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    binary = binary_for(record, fleet)
    plan = parameter_plan(valkey_config(node, record, fleet, binary))
    wanted = plan.directives
    adapter = fleet.valkey(node)
    actual = await adapter.config_get(*wanted, CLIENTS)
    await _allow_clients(plan.at_start.get(CLIENTS), actual.get(CLIENTS), adapter)
    changes = {
        name: value
        for name, value in wanted.items()
        if name in actual and not reads_back(name, value, actual[name])
    }
    if not changes:
        return
    refused = await _set(changes, adapter)
    after = await adapter.config_get(*changes)
    for name, value in changes.items():
        if not reads_back(name, value, after.get(name, "")):
            refused.setdefault(name, f"{after.get(name)!r} is not {value!r}")
    log.info("node_reconfigured", node=node.uid, member=node.member_name, directives=[*changes])
    if refused:
        told = "; ".join(f"{name}: {reason}" for name, reason in sorted(refused.items()))
        raise ValuesRefused(f"{node.member_name} did not take {told}")


async def _set(changes: dict[str, str], adapter: ValkeyAdapter) -> dict[str, str]:
    """Set all at once, or where the engine takes not all, each that it takes; why it did not."""
    try:
        await adapter.configure(changes)
    except CommandRefused as error:
        if error.code != "ERR":
            raise
    else:
        return {}
    refused = {}
    for name, value in changes.items():
        try:
            await adapter.configure({name: value})
        except CommandRefused as error:
            if error.code != "ERR":
                raise
            refused[name] = str(error)
    return refused


async def _allow_clients(wanted: str | None, actual: str | None, adapter: ValkeyAdapter) -> None:
    """Let in as many clients as the node type does, where the system has that many files.

    At its start an engine takes as many as there are; while it runs it takes all or none.
    """
    if wanted is None or wanted == actual:
        return
    try:
        await adapter.configure({CLIENTS: wanted})
    except CommandRefused as error:
        log.debug("clients_not_raised", reason=str(error))
