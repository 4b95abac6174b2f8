"""What nodes say of themselves when somebody asks: role, offset, memory, which server it is.

Asked over the control sockets, side by side, with a short deadline: a node that does not answer is
left out, because not knowing is an answer too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import select

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Engine
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode

ASKED_AT_ONCE_MAX = 32
ANSWER_TIMEOUT_S = 1.0
_ROLES: Final = {"master": "primary", "slave": "replica"}


class FleetReports:
    """Asks the nodes of one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._slots = asyncio.Semaphore(ASKED_AT_ONCE_MAX)

    async def report(self, node_uids: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
        """Return by uid what each node says now; those that do not answer are left out."""
        async with self._fleet.store.read(Scope("", "")) as tx:
            query = select(CacheNode).where(CacheNode.uid.in_(node_uids))
            nodes = (await tx.session.scalars(query)).all()
        said = await asyncio.gather(*(self._ask(node, node_uids[node.uid]) for node in nodes))
        return {node.uid: one for node, one in zip(nodes, said, strict=True) if one is not None}

    async def _ask(self, node: CacheNode, engine: str) -> dict[str, Any] | None:
        async with self._slots:
            if await self._fleet.driver.find(node.uid) is None or node.host is None:
                return None
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    if engine == Engine.MEMCACHED:
                        return memcached_report(await self._fleet.memcached(node).stats())
                    return valkey_report(await self._fleet.valkey(node).info())
            except (NodeUnreachable, CommandRefused, TimeoutError):
                return None


def valkey_report(info: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``INFO`` says, in the words of the topology."""
    role = _ROLES.get(info.get("role", ""), info.get("role"))
    offset = info.get("slave_repl_offset" if role == "replica" else "master_repl_offset")
    report: dict[str, Any] = {
        "ServerName": info.get("server_name", "redis"),
        "ServerVersion": info.get("valkey_version") or info.get("redis_version", ""),
        "ProcessId": _number(info, "process_id"),
        "UptimeSeconds": _number(info, "uptime_in_seconds"),
        "MemoryUsedBytes": _number(info, "used_memory"),
        "MemoryMaxBytes": _number(info, "maxmemory"),
        "Clients": _number(info, "connected_clients"),
        "Role": role,
        "ReplicationOffset": None if offset is None else int(offset),
        "Loading": info.get("loading") == "1",
    }
    if role == "replica":
        report["PrimaryAddress"] = info.get("master_host")
        report["PrimaryPort"] = _number(info, "master_port")
        report["LinkUp"] = info.get("master_link_status") == "up"
        report["SyncInProgress"] = info.get("master_sync_in_progress") == "1"
    return report


def memcached_report(stats: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``stats`` says, in the words of the topology."""
    return {
        "ServerName": "memcached",
        "ServerVersion": stats.get("version", ""),
        "ProcessId": _number(stats, "pid"),
        "UptimeSeconds": _number(stats, "uptime"),
        "MemoryUsedBytes": _number(stats, "bytes"),
        "MemoryMaxBytes": _number(stats, "limit_maxbytes"),
        "Clients": _number(stats, "curr_connections"),
    }


def _number(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name, "")
    return int(text) if text.isdigit() else None
