"""Asks a Redis or Valkey server that is not ours what it is, as far as it lets a stranger ask.

It is told nothing and changed in nothing. What it refuses to say is left open: a server may keep
its configuration to itself and still be one to replicate from.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.outside import OutsideAccess
from cachefleet.engine.types import Endpoint, Engine, NodeRole, ReplicationView, SlotRange
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.replication import parse_replication

ANYBODY = OutsideAccess()

# What a replica has to be able to say to it, and what it will be sent: none of these may be renamed
# on the one side only. A sample of the commands that change data.
NEEDED_COMMANDS = (
    "PSYNC",
    "REPLCONF",
    "SET",
    "DEL",
    "EXPIRE",
    "PEXPIREAT",
    "INCR",
    "LPUSH",
    "SADD",
    "ZADD",
    "HSET",
    "RENAME",
    "FLUSHALL",
    "FLUSHDB",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceReport:
    """What the server says. ``databases`` is None where it does not say."""

    engine: Engine
    version: tuple[int, ...]
    cluster_enabled: bool
    loading: bool
    used_memory_bytes: int
    offset: int
    databases: int | None
    missing_commands: tuple[str, ...]


async def read_source(
    endpoint: Endpoint, *, timeout_s: float, access: OutsideAccess = ANYBODY
) -> SourceReport:
    """Ask the server at *endpoint*.

    Raises:
        NodeUnreachable: nothing answers there, or what answers is no such server.
        CommandRefused: it wants to know who asks, or takes no strangers.
    """
    adapter = _adapter(endpoint, timeout_s, access)
    try:
        await adapter.ping()
        info = await adapter.info("everything")
        known = await adapter.command("COMMAND", "INFO", *NEEDED_COMMANDS)
        try:
            told = (await adapter.config_get("databases")).get("databases", "")
        except CommandRefused:
            told = ""  # its administrator may have hidden CONFIG, as we do ourselves
    finally:
        await adapter.aclose()
    is_valkey = info.get("server_name") == "valkey"
    version = info.get("valkey_version" if is_valkey else "redis_version", "")
    view = parse_replication("\n".join(f"{name}:{value}" for name, value in info.items()))
    return SourceReport(
        engine=Engine.VALKEY if is_valkey else Engine.REDIS,
        version=tuple(int(part) for part in version.split(".") if part.isdecimal()),
        cluster_enabled=info.get("cluster_enabled") == "1",
        loading=view.loading,
        used_memory_bytes=_integer(info.get("used_memory_dataset") or info.get("used_memory")),
        offset=view.offset,
        databases=int(told) if told.isdecimal() else None,
        missing_commands=tuple(
            name for name, row in zip(NEEDED_COMMANDS, known, strict=True) if not row
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceShard:
    """A primary of a cluster outside, and the slots that it has."""

    endpoint: Endpoint
    slots: tuple[SlotRange, ...]


async def read_shards(
    endpoint: Endpoint, *, timeout_s: float, access: OutsideAccess = ANYBODY
) -> list[SourceShard]:
    """Return the shards of the cluster that the server at *endpoint* is in, as it knows them.

    Raises:
        NodeUnreachable, CommandRefused: as :func:`read_source`.
    """
    adapter = _adapter(endpoint, timeout_s, access)
    try:
        peers = await adapter.cluster_nodes()
    finally:
        await adapter.aclose()
    return [
        SourceShard(
            # It may not know how others reach it.
            endpoint=endpoint if peer.myself else peer.endpoint,
            slots=peer.slots,
        )
        for peer in peers
        if peer.role is NodeRole.PRIMARY and peer.slots
    ]


async def read_offset(
    endpoint: Endpoint, *, timeout_s: float, access: OutsideAccess = ANYBODY
) -> tuple[NodeRole, int]:
    """Return the server's role and how far its stream has got; raises as :func:`read_source`."""
    view = await read_stream(endpoint, timeout_s=timeout_s, access=access)
    return view.role, view.offset


async def read_stream(
    endpoint: Endpoint, *, timeout_s: float, access: OutsideAccess = ANYBODY
) -> ReplicationView:
    """Return what the server says of its replication; raises as :func:`read_source`."""
    adapter = _adapter(endpoint, timeout_s, access)
    try:
        return await adapter.replication()
    finally:
        await adapter.aclose()


def _adapter(endpoint: Endpoint, timeout_s: float, access: OutsideAccess) -> ValkeyAdapter:
    return ValkeyAdapter(
        endpoint=endpoint,
        username=access.username or None,
        password=access.password or None,
        ca=access.ca,
        timeout_s=timeout_s,
    )


def _integer(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
