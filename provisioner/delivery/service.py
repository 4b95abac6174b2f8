"""Looks after every log that is to be delivered, of the nodes that this provisioner holds.

Each look reads what is new of each node's log; each log has a sender of its own, so that one
destination that is away holds up no other. A sender that fails waits longer each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import String, cast, select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.logs import SLOW_LOG, Source, parse_slow_command
from cachefleet.provisioner.delivery.feed import (
    SLOW_COMMANDS_MAX,
    Position,
    Queue,
    Tail,
    load_position,
    new_slow_commands,
    save_position,
)
from cachefleet.provisioner.destinations.base import DeliveryFailed, Item
from cachefleet.provisioner.drivers.local import LOG_FILE
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.log_delivery import check
from cachefleet.provisioner.state import leases, lifecycle, log_delivery
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, ReplicationGroup

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 1.0, 30.0
CHECK_FAILED_EVERY_S = 2.0  # whether a destination in error is there again
RECORD_OVERHEAD_BYTES = 200  # of what waits beside its text
EVERYTHING = Scope("", "")

Held = Callable[[], Mapping[str, Lease]]
Row = ReplicationGroup | CacheCluster
Key = tuple[str, str]  # node uid, log type


@dataclass(slots=True)
class _Line:
    """One node's log on its way."""

    node: CacheNode
    engine: str
    scope: Scope
    subject_uid: str
    entry: Mapping[str, Any]
    note: Path
    read: Position
    tail: Tail
    queue: Queue = field(default_factory=Queue)
    sending: asyncio.Task[None] | None = None
    failure: str | None = None
    backoff_s: float = 0.0
    retry_at_s: float = 0.0

    @property
    def source(self) -> Source:
        return Source(self.node.member_name, self.node.cache_node_id)

    @property
    def stream(self) -> str:
        """The name of the log stream, as the service's documentation has it."""
        where = f"{self.node.member_name}/{self.node.cache_node_id}"
        return f"elasticache/{self.engine}/{where}/{self.entry['LogType']}"


class LogDelivery:
    """Runs until cancelled. *held* tells which subjects are ours at the moment."""

    def __init__(self, fleet: Fleet, *, held: Held) -> None:
        self._fleet = fleet
        self._held = held
        self._lines: dict[Key, _Line] = {}
        self._next_check_s: dict[str, float] = {}

    async def run(self) -> None:
        """Look again and again. A database that is away is asked at the next look."""
        try:
            while True:
                try:
                    await self.look()
                except DBAPIError as error:
                    log.warning("log_delivery_postponed", reason=str(error.orig))
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            tasks = [line.sending for line in self._lines.values() if line.sending is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Read what is new of every log, have it sent, and note how that goes."""
        rows = await self._rows()
        self._follow(rows)
        await asyncio.gather(*(self._read(line) for line in self._lines.values()))
        now_s = self._fleet.clock.monotonic_s()
        for line in self._lines.values():
            if line.sending is None and len(line.queue) and now_s >= line.retry_at_s:
                line.sending = asyncio.create_task(self._send(line))
        for row in rows:
            await self._note(row, now_s)

    # -- which logs ---------------------------------------------------------------------------

    async def _rows(self) -> list[Row]:
        held = self._held()
        found: list[Row] = []
        if not held:
            return found
        async with self._fleet.store.read(EVERYTHING) as tx:
            for table in (ReplicationGroup, CacheCluster):
                query = select(table).where(cast(table.log_delivery, String) != "[]")
                for row in (await tx.session.scalars(query)).unique().all():
                    assert isinstance(row, ReplicationGroup | CacheCluster)
                    if row.uid in held:
                        found.append(row)
        return found

    def _follow(self, rows: Sequence[Row]) -> None:
        wanted: dict[Key, tuple[CacheNode, Row, Mapping[str, Any]]] = {}
        for row in rows:
            members = row.members if isinstance(row, ReplicationGroup) else [row]
            entries: Sequence[Mapping[str, Any]] = row.log_delivery
            for entry in entries:
                if entry["Status"] not in log_delivery.DELIVERED:
                    continue
                for node in (node for member in members for node in member.nodes):
                    if node.status == lifecycle.NODE_AVAILABLE:
                        wanted[node.uid, entry["LogType"]] = (node, row, entry)
        for key in self._lines.keys() - wanted.keys():
            line = self._lines.pop(key)
            if line.sending is not None:
                line.sending.cancel()
        for key, (node, row, entry) in wanted.items():
            line = self._lines.get(key) or self._begin(node, row, entry)
            self._lines[key] = line
            if log_delivery.key_of(line.entry) != log_delivery.key_of(entry):
                line.failure, line.retry_at_s, line.backoff_s = None, 0.0, 0.0
            line.node, line.entry = node, entry

    def _begin(self, node: CacheNode, row: Row, entry: Mapping[str, Any]) -> _Line:
        directory = self._fleet.driver.directory(node.uid)
        note = directory / f"delivered-{entry['LogType']}"
        return _Line(
            node=node,
            engine=row.engine,
            scope=row.scope,
            subject_uid=row.uid,
            entry=entry,
            note=note,
            read=load_position(note),
            tail=Tail(directory / LOG_FILE),
        )

    # -- reading ------------------------------------------------------------------------------

    async def _read(self, line: _Line) -> None:
        if line.engine == Engine.MEMCACHED:
            return
        try:
            if line.entry["LogType"] == SLOW_LOG:
                await self._read_slow_log(line)
            else:
                self._read_file(line)
        except (NodeUnreachable, CommandRefused) as error:
            log.debug("log_not_read", node=line.node.uid, reason=str(error))

    async def _read_slow_log(self, line: _Line) -> None:
        adapter = self._fleet.valkey(line.node)
        handle = await self._fleet.driver.find(line.node.uid)
        if handle is None:
            return
        origin = f"{handle.pid}-{handle.started_at_s}"
        rows = await adapter.command("SLOWLOG", "GET", SLOW_COMMANDS_MAX)
        commands = [parse_slow_command(row) for row in rows]
        for command in new_slow_commands(commands, origin=origin, since=line.read):
            line.read = Position(origin, command.id)
            size = RECORD_OVERHEAD_BYTES + len(command.client_name) + len(command.name)
            line.queue.put(command, line.read, size_bytes=size)

    def _read_file(self, line: _Line) -> None:
        found, line.read = line.tail.read(line.read, now=self._fleet.clock.now())
        for record, position in found:
            size = RECORD_OVERHEAD_BYTES + len(record.message)
            line.queue.put(record, position, size_bytes=size)

    # -- sending ------------------------------------------------------------------------------

    async def _send(self, line: _Line) -> None:
        try:
            while batch := line.queue.head():
                entry = line.entry
                destination = self._fleet.destinations.find(line.scope, entry)
                render = "json" if entry["LogFormat"] == "json" else "text"
                items = [
                    Item(one.record.at, getattr(one.record, render)(line.source)) for one in batch
                ]
                await self._fleet.destinations.run(lambda: destination.send(line.stream, items))  # noqa: B023
                line.queue.taken(batch)
                save_position(line.note, batch[-1].position)
                line.failure, line.backoff_s = None, 0.0
        except DeliveryFailed as error:
            line.failure = str(error)
            line.backoff_s = min(max(line.backoff_s * 2, BACKOFF_S_MIN), BACKOFF_S_MAX)
            line.retry_at_s = self._fleet.clock.monotonic_s() + line.backoff_s
            log.warning(
                "logs_not_delivered",
                node=line.node.uid,
                stream=line.stream,
                waiting=len(line.queue),
                dropped=line.queue.dropped,
                reason=line.failure,
            )
        finally:
            line.sending = None

    # -- what customers see -------------------------------------------------------------------

    async def _note(self, row: Row, now_s: float) -> None:
        """Write down where delivery has failed, or goes again."""
        outcomes: dict[str, str | None] = {}
        for entry in row.log_delivery:
            lines = [
                line
                for line in self._lines.values()
                if line.subject_uid == row.uid
                and log_delivery.key_of(line.entry) == log_delivery.key_of(entry)
            ]
            failures = [line.failure for line in lines if line.failure is not None]
            if failures:
                if (entry["Status"], entry.get("Message")) != (log_delivery.ERROR, failures[0]):
                    outcomes[log_delivery.key_of(entry)] = failures[0]
            elif entry["Status"] == log_delivery.ERROR and await self._is_back(row, entry, now_s):
                outcomes[log_delivery.key_of(entry)] = None
        if outcomes:
            await self._write(row, outcomes)

    async def _is_back(self, row: Row, entry: Mapping[str, Any], now_s: float) -> bool:
        """Tell whether a destination in error takes records again; asks from time to time."""
        key = f"{row.uid}:{entry['LogType']}"
        if now_s < self._next_check_s.get(key, 0.0):
            return False
        self._next_check_s[key] = now_s + CHECK_FAILED_EVERY_S
        return await check(row.scope, entry, self._fleet) is None

    async def _write(self, row: Row, outcomes: Mapping[str, str | None]) -> None:
        lease = self._held().get(row.uid)
        if lease is None:
            return
        try:
            async with self._fleet.store.begin(lease.scope) as tx:
                await leases.require(tx, lease, holder=self._fleet.holder)
                fresh = await tx.session.get(type(row), row.uid)
                if not isinstance(fresh, ReplicationGroup | CacheCluster):
                    return
                fresh.log_delivery = [
                    log_delivery.with_outcome(entry, outcomes[log_delivery.key_of(entry)])
                    if log_delivery.key_of(entry) in outcomes
                    and entry["Status"] in (log_delivery.ACTIVE, log_delivery.ERROR)
                    else entry
                    for entry in fresh.log_delivery
                ]
        except Stale:
            return
        log.info("log_delivery_changed", subject=row.name, outcomes=dict(outcomes))
