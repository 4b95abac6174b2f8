"""``cachefleet status``: what is recorded, and what each node says of itself right now.

Reads the database in transactions that cannot write, and asks nodes over their control sockets, so
it works while a server runs and when none does. A node that does not answer is shown as such.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import selectinload

from cachefleet.doctor import DATABASE_TIMEOUT_S, is_data_dir_in_use
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Engine
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.drivers.local import LocalDriver
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state import data_moves
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ReplicationGroup,
)
from cachefleet.settings import Settings

REFRESH_S = 1.0
ASKED_AT_ONCE_MAX = 64  # one socket each
EVERYTHING = Scope("", "")
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
PUBLIC_ENDPOINTS = ("configuration", "primary", "reader")
ROLES = {"master": "primary", "slave": "replica"}


class NothingToShow(Exception):
    """There is no fleet where we were told to look; the message is one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeStatus:
    """One node: what the record says, and, where it answers, what it says itself."""

    cluster: str
    node: str
    shard: str | None
    role: str | None
    status: str
    zone: str
    address: str | None
    answers: bool
    memory_used_bytes: int | None = None
    memory_max_bytes: int | None = None
    clients: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheStatus:
    """A replication group, or a cluster that stands alone."""

    kind: str
    name: str
    account: str
    region: str
    engine: str
    engine_version: str
    node_type: str
    status: str
    endpoints: dict[str, str]
    nodes: tuple[NodeStatus, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataMove:
    """A snapshot or a restore under way."""

    kind: str
    name: str
    bytes_done: int
    bytes_total: int | None
    bytes_per_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetStatus:
    """Everything that one database records."""

    running: bool
    data_dir: str
    caches: tuple[CacheStatus, ...]
    moves: tuple[DataMove, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return asdict(self)


class Watcher:
    """Looks at a fleet as often as it is asked. Make it with :func:`open_watcher`."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._slots = asyncio.Semaphore(ASKED_AT_ONCE_MAX)
        told = settings.provisioner_settings()
        self._fleet: Fleet | None = None
        # Elsewhere than on the nodes' own machine the record is all there is to see.
        if (settings.data_dir / "nodes").is_dir():
            self._fleet = Fleet(
                store=store,
                driver=LocalDriver(settings.data_dir),
                inventory=Inventory(binaries=()),
                catalog=Catalog.load(),
                clock=SystemClock(),
                settings=told,
                holder="status",
            )

    async def look(self) -> FleetStatus:
        """Return what is recorded and what the nodes say now.

        Raises:
            NothingToShow: the database cannot be read.
        """
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S):
                groups, clusters, addresses = await self._records()
                moves = await self._moves()
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise NothingToShow(f"cannot read the database: {reason}") from error
        except TimeoutError as error:
            what = f"the database did not answer within {DATABASE_TIMEOUT_S:g} s"
            raise NothingToShow(what) from error
        endpoints: dict[str, dict[str, str]] = {}
        for row in addresses:
            if row.kind in PUBLIC_ENDPOINTS:
                endpoints.setdefault(row.subject_uid, {})[row.kind] = f"{row.host}:{row.port}"
        alone = [cluster for cluster in clusters if cluster.replication_group_uid is None]
        caches = await asyncio.gather(
            *(self._group(group, endpoints.get(group.uid, {})) for group in groups),
            *(self._cluster(cluster, endpoints.get(cluster.uid, {})) for cluster in alone),
        )
        return FleetStatus(
            running=is_data_dir_in_use(self._settings),
            data_dir=str(self._settings.data_dir),
            caches=tuple(sorted(caches, key=lambda c: (c.account, c.region, c.name, c.kind))),
            moves=tuple(moves),
        )

    async def aclose(self) -> None:
        """Close the connections to the nodes."""
        if self._fleet is not None:
            await self._fleet.aclose()
            await self._fleet.driver.aclose()

    async def _moves(self) -> list[DataMove]:
        async with self._store.read(EVERYTHING) as tx:
            found = await data_moves.under_way(tx)
        now = SystemClock().now()
        return [
            DataMove(
                kind=move.kind,
                name=move.name,
                bytes_done=move.bytes_done,
                bytes_total=move.bytes_total,
                bytes_per_s=round(move.bytes_per_s(now)),
            )
            for move in found
        ]

    async def _records(
        self,
    ) -> tuple[Sequence[ReplicationGroup], Sequence[CacheCluster], Sequence[EndpointAddress]]:
        async with self._store.read(EVERYTHING) as tx:
            clusters = (
                await tx.session.scalars(
                    select(CacheCluster).options(selectinload(CacheCluster.nodes))
                )
            ).all()
            groups = (
                await tx.session.scalars(
                    select(ReplicationGroup).options(selectinload(ReplicationGroup.members))
                )
            ).all()
            addresses = (
                await tx.session.scalars(select(EndpointAddress).order_by(EndpointAddress.id))
            ).all()
        return groups, clusters, addresses

    async def _group(self, group: ReplicationGroup, endpoints: dict[str, str]) -> CacheStatus:
        shards = {shard.uid: shard.node_group_id for shard in group.node_groups}
        nodes = [(member, node) for member in group.members for node in member.nodes]
        return CacheStatus(
            kind="replication group",
            endpoints=endpoints,
            nodes=await self._nodes(nodes, shards),
            **_common(group),
        )

    async def _cluster(self, cluster: CacheCluster, endpoints: dict[str, str]) -> CacheStatus:
        return CacheStatus(
            kind="cache cluster",
            endpoints=endpoints,
            nodes=await self._nodes([(cluster, node) for node in cluster.nodes], {}),
            **_common(cluster),
        )

    async def _nodes(
        self, nodes: Sequence[tuple[CacheCluster, CacheNode]], shards: dict[str, str]
    ) -> tuple[NodeStatus, ...]:
        return tuple(
            await asyncio.gather(
                *(
                    self._node(cluster, node, shards.get(node.node_group_uid or ""))
                    for cluster, node in nodes
                )
            )
        )

    async def _node(self, cluster: CacheCluster, node: CacheNode, shard: str | None) -> NodeStatus:
        async with self._slots:
            said = await self._ask(cluster, node)
        return NodeStatus(
            cluster=cluster.name,
            node=node.cache_node_id,
            shard=shard,
            role=said.pop("role", node.role),
            status=node.status,
            zone=node.availability_zone,
            address=None if node.host is None else f"{node.host}:{node.port}",
            answers=bool(said),
            **said,
        )

    async def _ask(self, cluster: CacheCluster, node: CacheNode) -> dict[str, Any]:
        """Return memory, clients and role by the node's own account; nothing where it is silent."""
        if self._fleet is None or not self._fleet.driver.socket_path(node.uid).exists():
            return {}
        try:
            if cluster.engine == Engine.MEMCACHED:
                return _memcached(await self._fleet.memcached(node).stats())
            return _valkey(await self._fleet.valkey(node).info())
        except (NodeUnreachable, CommandRefused):
            return {}


def _common(row: ReplicationGroup | CacheCluster) -> dict[str, Any]:
    return {
        "name": row.name,
        "account": row.account,
        "region": row.region,
        "engine": row.engine,
        "engine_version": row.engine_version,
        "node_type": row.node_type,
        "status": row.status,
    }


def _valkey(info: dict[str, str]) -> dict[str, Any]:
    return {
        "memory_used_bytes": int(info["used_memory"]),
        "memory_max_bytes": int(info["maxmemory"]),
        "clients": int(info["connected_clients"]),
        "role": ROLES.get(info["role"], info["role"]),
    }


def _memcached(stats: dict[str, str]) -> dict[str, Any]:
    return {
        "memory_used_bytes": int(stats["bytes"]),
        "memory_max_bytes": int(stats["limit_maxbytes"]),
        "clients": int(stats["curr_connections"]),
    }


@contextlib.asynccontextmanager
async def open_watcher(settings: Settings) -> AsyncIterator[Watcher]:
    """Give a watcher on the fleet that the settings name.

    Raises:
        NothingToShow: no cachefleet has ever run there.
    """
    if settings.database_url is None:
        path = Path(settings.url.removeprefix("sqlite:///"))
        if not path.exists():
            raise NothingToShow(f"no cachefleet has run in {settings.data_dir}: give --data-dir")
    store = Store.open(settings.readonly_url, clock=SystemClock())
    watcher = Watcher(settings, store)
    try:
        yield watcher
    finally:
        await watcher.aclose()
        await store.aclose()


# -- for people -----------------------------------------------------------------------------------


async def show_live(watcher: Watcher, console: Console) -> None:
    """Show the table and keep it up to date; returns once interrupted (SIGINT)."""
    # A look that is cancelled halfway may leave a thread of the database behind, or take the
    # interruption for a node that does not answer: so it is let finish, which is soon.
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    with Live(render(await watcher.look()), console=console, auto_refresh=False) as live:
        while not await _is_set_within(interrupted, REFRESH_S):
            live.update(render(await watcher.look()), refresh=True)


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
    return event.is_set()


def render(fleet: FleetStatus) -> Group:
    """Return what people see."""
    state = ("running", "green") if fleet.running else ("not running", "yellow")
    head = Text.assemble("cachefleet is ", state, f" in {fleet.data_dir}")
    if not fleet.caches:
        return Group(head, Text("Nothing has been created yet."))
    table = Table()
    for column in ("Cache", "Engine", "Status", "Node", "Role", "Address", "Zone"):
        table.add_column(column, overflow="fold")
    for column in ("Memory", "Clients"):
        table.add_column(column, justify="right", no_wrap=True)
    for cache in fleet.caches:
        _add_cache(table, cache)
        for node in cache.nodes:
            _add_node(table, node)
        table.add_section()
    return Group(head, table, *(Text(_moving(move), style="yellow") for move in fleet.moves))


def _moving(move: DataMove) -> str:
    total = "" if move.bytes_total is None else f" of about {amount(move.bytes_total)}"
    rate = f"{amount(move.bytes_per_s)}/s"
    return f"{move.kind} {move.name}: {amount(move.bytes_done)}{total}, {rate}"


def _add_cache(table: Table, cache: CacheStatus) -> None:
    endpoints = "\n".join(f"{kind} {address}" for kind, address in sorted(cache.endpoints.items()))
    table.add_row(
        f"[bold]{cache.name}[/bold]",
        f"{cache.engine} {cache.engine_version}\n{cache.node_type}",
        _coloured(cache.status),
        f"{len(cache.nodes)} node{'' if len(cache.nodes) == 1 else 's'}",
        "",
        endpoints,
        f"{cache.account}\n{cache.region}",
    )


def _add_node(table: Table, node: NodeStatus) -> None:
    status = node.status if node.answers else f"{node.status}, silent"
    where = f"{node.cluster}/{node.node}"
    memory = ""
    if node.memory_used_bytes is not None and node.memory_max_bytes is not None:
        memory = f"{amount(node.memory_used_bytes)} of {amount(node.memory_max_bytes)}"
    table.add_row(
        "",
        "" if node.shard is None else f"shard {node.shard}",
        _coloured(status),
        where,
        node.role or "",
        node.address or "",
        node.zone,
        memory,
        "" if node.clients is None else str(node.clients),
    )


def _coloured(status: str) -> Text:
    if status == "available":
        return Text(status, style="green")
    bad = status.endswith("silent") or "failed" in status or status.startswith("incompatible")
    return Text(status, style="red" if bad else "yellow")


def amount(size_bytes: int) -> str:
    """Return a size as people read it: ``1.5 MiB``."""
    size, unit = float(size_bytes), UNITS[0]
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
