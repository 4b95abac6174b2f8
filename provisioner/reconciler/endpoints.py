"""Keep the gateway in agreement with the record: which endpoints it serves, from which nodes.

The gateway is started when the first endpoint needs it, and again when it dies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from sqlalchemy import or_, select
from sqlalchemy.orm import raiseload

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.engine.gateway.reports import GatewayStatus, ReloadReport
from cachefleet.engine.gateway.routes import (
    AuthOptions,
    IamOptions,
    LoginSocket,
    Route,
    RouteTable,
    TlsMode,
    TlsOptions,
)
from cachefleet.engine.gateway.routes_file import render_routes
from cachefleet.engine.pki import Identity
from cachefleet.engine.types import Endpoint, Engine, NodeRole
from cachefleet.provisioner.planning.routes import (
    OpenRoute,
    RoutedNode,
    RoutedSubject,
    plan_remains,
    plan_routes,
)
from cachefleet.provisioner.planning.transit import endpoint_identity
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.iam import KEYS_FILE, IamKeys, iam_options
from cachefleet.provisioner.reconciler.memcached import login_sockets
from cachefleet.provisioner.reconciler.naming import certified_endpoint_names
from cachefleet.provisioner.reconciler.records import UPSTREAM, is_fed, load_subject
from cachefleet.provisioner.reconciler.serverless_routes import read_behind, serverless_routes
from cachefleet.provisioner.reconciler.together import Together
from cachefleet.provisioner.reconciler.transit import gateway_name
from cachefleet.provisioner.reconciler.upstream_routes import upstream_routes
from cachefleet.provisioner.reconciler.worker import CONTROL_TIMEOUT_S, Worker
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.global_groups import SECONDARY
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ReplicationGroup,
)

Settings = ReplicationGroup | CacheCluster

log = structlog.get_logger(__name__)

GATEWAY_UID = "gateway"
ROUTES_FILE = "routes.json"


class Endpoints:
    """Serves the endpoints that no node can serve by itself."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.iam_keys = IamKeys(fleet)
        self._worker = Worker(
            fleet, GATEWAY_UID, module="cachefleet.engine.gateway", name="gateway"
        )
        self._control = GatewayControl(self._worker.control_path, CONTROL_TIMEOUT_S)
        # Routes, their certificates, and the keys that tokens are checked with.
        self._served: tuple[list[Route], tuple[LoginSocket, ...], list[int], str | None] | None = (
            None
        )
        self._version = 0
        self._together = Together(self._tell)

    async def sync(self, settled: str | None = None) -> None:
        """Make the gateway serve what the record says; a no-op where nothing changed.

        *settled* is a subject whose new nodes serve already, though the record is yet to say so:
        an endpoint has to be there before its group is called available.

        Raises:
            LaunchFailed: the gateway could not be started.
            NodeUnreachable: it did not answer.
        """
        await self._together.ask(settled)

    async def _tell(self, settled: Collection[str]) -> None:
        try:
            await self._sync(settled)
        except BaseException:
            # Nobody knows what has arrived: whoever watches for changes begins anew.
            self.iam_keys.forget()
            if self._fleet.security_groups is not None:
                self._fleet.security_groups.forget()
            raise

    async def _sync(self, settled: Collection[str]) -> None:
        routes, sockets = await self._wanted(settled)
        keys = await self.iam_keys.text(routes)
        wanted = routes, sockets, self._serials(routes), keys
        if wanted == self._served:
            return
        if not routes and self._served is None and not self._worker.directory.exists():
            self._served = wanted
            return
        self._version += 1
        if keys is not None:
            self._worker.write(KEYS_FILE, keys)
        table = RouteTable(version=self._version, routes=tuple(routes), login_sockets=sockets)
        self._worker.write(ROUTES_FILE, render_routes(table))
        report = await self._apply()
        # What could not be bound is tried again at the next call: an engine may have had it.
        self._served = None if report.failures else wanted
        for failure in report.failures:
            log.warning("endpoint_not_bound", route=failure.route, reason=failure.reason)

    @property
    def serves(self) -> bool:
        """Tell whether the gateway was told what to do, and owes an answer when it is asked."""
        return self._served is not None and not self._worker.is_starting

    async def status(self) -> GatewayStatus | None:
        """Return what the gateway says of itself; None where it does not run or answer."""
        if not await self._worker.is_running():
            return None
        try:
            return await self._control.status()
        except (NodeUnreachable, CommandRefused):
            return None

    async def gateway_ended(self) -> None:
        """Start the gateway again after its process ended."""
        self._served = None
        await self.sync()

    async def stop(self) -> None:
        """End the gateway, for an orderly stop of the fleet."""
        self._fleet.ending.add(GATEWAY_UID)
        await self._fleet.driver.kill(GATEWAY_UID)

    async def _apply(self) -> ReloadReport:
        await self._worker.ensure({"--routes": ROUTES_FILE}, self._control.ping)
        return await self._control.reload()

    async def _wanted(
        self, settled: Collection[str]
    ) -> tuple[list[Route], tuple[LoginSocket, ...]]:
        async with self._fleet.store.read(Scope("", "")) as tx:
            addresses = (
                await tx.session.scalars(select(EndpointAddress).order_by(EndpointAddress.id))
            ).all()
            nodes = (
                await tx.session.scalars(
                    select(CacheNode).where(
                        (CacheNode.status == lifecycle.NODE_AVAILABLE)
                        | (
                            CacheNode.subject_uid.in_(settled)
                            & (CacheNode.status == lifecycle.NODE_CREATING)
                        )
                    )
                )
            ).all()
            discovery = await self._discovery(tx, addresses, settled)
            settings = await _settings(tx)
            groups = [row for row in settings.values() if isinstance(row, ReplicationGroup)]
            behind = await read_behind(tx, addresses, nodes)
            groups += [one.backing for one in behind if isinstance(one.backing, ReplicationGroup)]
            iam = await iam_options(tx, groups, self._worker.directory / KEYS_FILE)
            refused = await self._refused_writes(tx)
            guard = self._fleet.security_groups
            admitted = None if guard is None else await guard.admitted(tx)
            sockets = await login_sockets(tx, self._fleet)
        subjects = [
            self._with_transit(
                replace(
                    subject,
                    discovery=discovery.get(subject.uid),
                    admitted=None if admitted is None else admitted.get(subject.uid, ()),
                    refused_writes=refused.get(subject.uid, ()),
                ),
                settings.get(subject.uid),
                iam.get(subject.uid),
            )
            for subject in _subjects(
                addresses, nodes, unfit=self._fleet.unfit_readers, encrypted=settings.keys()
            )
        ]
        routes = [
            *plan_routes(subjects, endpoints_are_bound=self._fleet.settings.endpoints_are_bound),
            *serverless_routes(behind, self._fleet, iam=iam, admitted=admitted),
            *await upstream_routes(addresses, self._fleet),
        ]
        served = {route.name for route in routes}
        remains = plan_remains(await self._open_routes(served), subjects, served=served)
        return [*routes, *remains], sockets

    async def _open_routes(self, served: Collection[str]) -> list[OpenRoute]:
        """Return the routes that the gateway has, beside those to be *served*.

        It is only asked where there may be such: it had them when it was last told, or we do not
        know what it was told. One that listens counts without clients, who may be about to come.
        """
        known = self._served
        if known is not None and all(route.name in served for route in known[0]):
            return []
        status = await self.status()
        return [
            OpenRoute(
                name=route.name,
                kind=route.kind,
                backends=tuple(one.address for one in route.backends),
            )
            for route in (status.routes if status is not None else ())
            if route.connections or route.listening
        ]

    def _serials(self, routes: Sequence[Route]) -> list[int]:
        """Return which certificates the gateway has to have read."""
        paths = [Path(route.options.tls.certificate_path) for route in routes if route.options.tls]
        return [self._fleet.certificates.serial(path.stem) for path in paths]

    def _with_transit(
        self, subject: RoutedSubject, settings: Settings | None, iam: IamOptions | None
    ) -> RoutedSubject:
        """Return the subject with the certificates of what the gateway stands for."""
        if settings is None or settings.transit_encryption_mode is None:
            return subject
        mode = TlsMode(settings.transit_encryption_mode)
        fronted = bool(subject.fronted) or subject.discovery is not None
        passed_on = settings.engine == Engine.MEMCACHED and subject.discovery is None
        if not fronted or passed_on:
            # The engines speak TLS themselves.
            return replace(subject, tls_only=mode is TlsMode.REQUIRED)
        tls = {}
        for kind, endpoint in (
            ("primary", subject.primary_endpoint),
            ("reader", subject.reader_endpoint),
            ("configuration", subject.configuration_endpoint),
        ):
            if endpoint is not None:
                identity = endpoint_identity(
                    subject=settings.name,
                    kind=kind,
                    host=endpoint.host,
                    names=certified_endpoint_names(
                        kind, settings, self._fleet.settings.endpoint_domain
                    ),
                )
                tls[endpoint] = self._tls(f"{subject.uid}-{kind}", identity, mode)
        for node in subject.fronted:
            identity = endpoint_identity(
                subject=settings.name, kind=node.uid, host=node.listen.host
            )
            tls[node.listen] = self._tls(gateway_name(node.uid), identity, mode)
        return replace(subject, tls=tls, auth=auth_options(settings, iam))

    def _tls(self, name: str, identity: Identity, mode: TlsMode) -> TlsOptions:
        files = self._fleet.certificates.ensure(name, identity)
        return TlsOptions(mode=mode, certificate_path=files.cert_file, key_path=files.key_file)

    async def _refused_writes(self, tx: Transaction) -> dict[str, tuple[str, ...]]:
        """Return, by uid, what groups refuse whose data a feed brings (ADR 0036)."""
        query = select(ReplicationGroup).where(
            # One that migrates is ``modifying`` all the time.
            or_(
                ReplicationGroup.global_role == SECONDARY,
                ReplicationGroup.status == lifecycle.MODIFYING,
            ),
            ReplicationGroup.cluster_mode != "disabled",
        )
        groups = (await tx.session.scalars(query.options(raiseload("*")))).all()
        names = {name for one in self._fleet.inventory.binaries for name in one.write_commands}
        return {group.uid: tuple(sorted(names)) for group in groups if is_fed(group)}

    async def _discovery(
        self, tx: Transaction, addresses: Sequence[EndpointAddress], settled: Collection[str]
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
            if not record.is_creating or cluster.uid in settled:
                told[cluster.uid] = record.discovery_payload().decode()
        return told


async def _settings(tx: Transaction) -> dict[str, Settings]:
    """Return the settings of the subjects that have encryption in transit, by uid."""
    groups = select(ReplicationGroup).where(ReplicationGroup.transit_encryption_enabled)
    alone = select(CacheCluster).where(
        CacheCluster.transit_encryption_enabled, CacheCluster.replication_group_uid.is_(None)
    )
    rows: list[Settings] = [
        *(await tx.session.scalars(groups.options(raiseload("*")))).all(),
        *(await tx.session.scalars(alone.options(raiseload("*")))).all(),
    ]
    return {row.uid: row for row in rows}


def auth_options(settings: Settings, iam: IamOptions | None) -> AuthOptions | None:
    """Return what the gateway has to do about the AUTH commands of a subject's clients."""
    if iam is not None:
        return AuthOptions(iam=iam)
    if isinstance(settings, CacheCluster) or settings.auth_token_required:
        return None
    hashes = tuple(settings.auth_token_sha256s)
    return AuthOptions(optional_token_sha256s=hashes) if hashes else None


def _subjects(
    addresses: Sequence[EndpointAddress],
    nodes: Sequence[CacheNode],
    *,
    unfit: Collection[str],
    encrypted: Collection[str],
) -> list[RoutedSubject]:
    # A cluster that stands alone has no endpoint but its node's; the gateway may be in front of it.
    by_subject: dict[str, dict[str, Endpoint]] = {
        node.subject_uid: {} for node in nodes if _is_fronted(node)
    }
    for row in addresses:
        if row.kind not in ("node", "bus", "engine", "replication", UPSTREAM):
            endpoint = Endpoint(row.host, row.port)
            by_subject.setdefault(row.subject_uid, {})[row.kind] = endpoint
    members: dict[str, list[CacheNode]] = {}
    for node in nodes:
        members.setdefault(node.subject_uid, []).append(node)
    return [
        _subject(uid, kinds, members.get(uid, []), unfit, encrypted=uid in encrypted)
        for uid, kinds in sorted(by_subject.items())
    ]


def _subject(
    uid: str,
    kinds: dict[str, Endpoint],
    nodes: Sequence[CacheNode],
    unfit: Collection[str],
    *,
    encrypted: bool,
) -> RoutedSubject:
    at = {node.uid: _behind(node, encrypted=encrypted) for node in nodes}
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
        fronted=tuple(_routed(node, at) for node in nodes if _is_fronted(node)),
        unfronted=tuple(_routed(node, at) for node in nodes if not _is_fronted(node)),
        # Only groups on their way into cluster mode have both.
        compatible="reader" in kinds and "configuration" in kinds,
    )


def _routed(node: CacheNode, at: Mapping[str, Endpoint]) -> RoutedNode:
    listen = Endpoint(node.host or "", node.port or 0)
    return RoutedNode(uid=node.uid, listen=listen, engine=at[node.uid])


def _is_fronted(node: CacheNode) -> bool:
    if node.role is not None:
        return node.engine_port is not None
    # A memcached node with a port for us alone takes its clients itself.
    return node.replication_port is not None


def _behind(node: CacheNode, *, encrypted: bool) -> Endpoint:
    """Return where the gateway reaches the engine of a node."""
    port = node.engine_port
    if node.role is None:
        # memcached: where it takes clients, unless that is in TLS, which the gateway ended.
        fronted = _is_fronted(node)
        port = node.replication_port if fronted else (port if encrypted else None)
    return Endpoint(node.host or "", port or node.port or 0)
