"""Keep the gateway in agreement with the record: which endpoints it serves, from which nodes.

The gateway is one process under the same driver as the nodes. It is started when the first
endpoint needs it, found again after a crash of the control plane, and started again when it dies.
The routes file is written aside and renamed before the gateway is told, so whatever instant either
process dies at, the file is whole.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from sqlalchemy import select

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.engine.gateway.reports import ReloadReport
from cachefleet.engine.gateway.routes import Route, RouteTable, render_routes
from cachefleet.engine.types import Endpoint, Engine, NodeRole
from cachefleet.provisioner.drivers.base import LaunchFailed, ProcessSpec
from cachefleet.provisioner.planning.routes import RoutedSubject, plan_routes
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import load_subject
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, EndpointAddress

log = structlog.get_logger(__name__)

GATEWAY_UID = "gateway"
ROUTES_FILE = "routes.json"
READY_POLL_S = 0.01
CONTROL_TIMEOUT_S = 5.0


class Endpoints:
    """Serves the endpoints that no node can serve by itself."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._control = GatewayControl(fleet.driver.socket_path(GATEWAY_UID), CONTROL_TIMEOUT_S)
        self._served: list[Route] | None = None
        self._version = 0
        self._turn = asyncio.Lock()

    async def sync(self, settled: str | None = None) -> None:
        """Make the gateway serve what the record says; a no-op where nothing changed.

        *settled* is a subject whose new nodes serve already, though the record is yet to say so:
        an endpoint has to be there before its group is called available.

        Raises:
            LaunchFailed: the gateway could not be started.
            NodeUnreachable: it did not answer.
        """
        async with self._turn:
            routes = await self._wanted(settled)
            if routes == self._served:
                return
            if not routes and self._served is None and not self._directory().exists():
                self._served = []
                return
            self._version += 1
            self._write(render_routes(RouteTable(version=self._version, routes=tuple(routes))))
            report = await self._apply()
            self._served = routes
            for failure in report.failures:
                log.warning("endpoint_not_bound", route=failure.route, reason=failure.reason)

    @property
    def serves(self) -> bool:
        """Tell whether the gateway has anything to do."""
        return bool(self._served)

    async def gateway_ended(self) -> None:
        """Start the gateway again after its process ended."""
        self._served = None
        await self.sync()

    async def stop(self) -> None:
        """End the gateway, for an orderly stop of the fleet."""
        self._fleet.ending.add(GATEWAY_UID)
        await self._fleet.driver.kill(GATEWAY_UID)

    async def _apply(self) -> ReloadReport:
        driver = self._fleet.driver
        fresh = await driver.find(GATEWAY_UID) is None
        await driver.ensure(
            ProcessSpec(
                uid=GATEWAY_UID,
                argv=(
                    sys.executable,
                    "-m",
                    "cachefleet.engine.gateway",
                    "--routes",
                    str(self._directory() / ROUTES_FILE),
                    "--control",
                    str(driver.socket_path(GATEWAY_UID)),
                ),
            )
        )
        if fresh:
            await self._ready()
        return await self._control.reload()

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(self._fleet.settings.start_timeout_s):
                while True:
                    try:
                        await self._control.ping()
                    except NodeUnreachable:
                        if await self._fleet.driver.find(GATEWAY_UID) is None:
                            reason = self._fleet.driver.explain(GATEWAY_UID)
                            raise LaunchFailed(f"the gateway ended: {reason}") from None
                        await asyncio.sleep(READY_POLL_S)
                    else:
                        return
        except TimeoutError:
            raise LaunchFailed("the gateway did not answer in time") from None

    def _directory(self) -> Path:
        return self._fleet.driver.directory(GATEWAY_UID)

    def _write(self, text: str) -> None:
        directory = self._directory()
        directory.mkdir(mode=0o700, exist_ok=True)
        aside = directory / (ROUTES_FILE + ".aside")
        aside.touch(mode=0o600)
        aside.write_text(text)
        aside.replace(directory / ROUTES_FILE)

    async def _wanted(self, settled: str | None) -> list[Route]:
        async with self._fleet.store.read(Scope("", "")) as tx:
            addresses = (
                await tx.session.scalars(select(EndpointAddress).order_by(EndpointAddress.id))
            ).all()
            nodes = (
                await tx.session.scalars(
                    select(CacheNode).where(
                        (CacheNode.status == lifecycle.NODE_AVAILABLE)
                        | (
                            (CacheNode.subject_uid == settled)
                            & (CacheNode.status == lifecycle.NODE_CREATING)
                        )
                    )
                )
            ).all()
            discovery = await self._discovery(tx, addresses, settled)
        subjects = [
            replace(subject, discovery=discovery.get(subject.uid))
            for subject in _subjects(addresses, nodes, unfit=self._fleet.unfit_readers)
        ]
        return plan_routes(
            subjects,
            endpoints_are_bound=self._fleet.settings.endpoints_are_bound,
        )

    async def _discovery(
        self, tx: Transaction, addresses: Sequence[EndpointAddress], settled: str | None
    ) -> dict[str, str]:
        """Return what clients of stock memcached clusters are told, by subject."""
        if not self._fleet.stock_memcached:
            return {}
        uids = {row.subject_uid for row in addresses if row.kind == "configuration"}
        query = select(CacheCluster).where(
            CacheCluster.uid.in_(uids), CacheCluster.engine == Engine.MEMCACHED
        )
        told = {}
        for cluster in (await tx.session.scalars(query)).all():
            record = await load_subject(
                tx, Lease(cluster.uid, cluster.resource, cluster.scope, epoch=0)
            )
            if record is None or not any(node.host for node in record.live_nodes):
                continue  # nobody is left to tell of, or nobody ever was
            if not record.is_creating or cluster.uid == settled:
                told[cluster.uid] = record.discovery_payload().decode()
        return told


def _subjects(
    addresses: Sequence[EndpointAddress], nodes: Sequence[CacheNode], *, unfit: Collection[str]
) -> list[RoutedSubject]:
    by_subject: dict[str, dict[str, Endpoint]] = {}
    for row in addresses:
        if row.kind not in ("node", "bus"):
            endpoint = Endpoint(row.host, row.port)
            by_subject.setdefault(row.subject_uid, {})[row.kind] = endpoint
    members: dict[str, list[CacheNode]] = {}
    for node in nodes:
        members.setdefault(node.subject_uid, []).append(node)
    return [
        _subject(uid, kinds, members.get(uid, []), unfit)
        for uid, kinds in sorted(by_subject.items())
    ]


def _subject(
    uid: str, kinds: dict[str, Endpoint], nodes: Sequence[CacheNode], unfit: Collection[str]
) -> RoutedSubject:
    at = {node.uid: Endpoint(node.host or "", node.port or 0) for node in nodes}
    primaries = [at[node.uid] for node in nodes if node.role == NodeRole.PRIMARY]
    return RoutedSubject(
        uid=uid,
        primary=primaries[0] if primaries else None,
        replicas=tuple(
            at[node.uid]
            for node in nodes
            if node.role == NodeRole.REPLICA and node.uid not in unfit
        ),
        nodes=tuple(at.values()),
        primary_endpoint=kinds.get("primary"),
        reader_endpoint=kinds.get("reader"),
        configuration_endpoint=kinds.get("configuration"),
        # Only groups on their way into cluster mode have both.
        compatible="reader" in kinds and "configuration" in kinds,
    )
