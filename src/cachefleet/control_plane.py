"""Puts the parts together and runs them: store, driver, engines, provisioner, front-end.

Everything is made here and passed down; nothing below knows where its neighbours come from.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from cachefleet import migrations
from cachefleet.api.app import create_app
from cachefleet.api.auth.stored import StoredCredentials
from cachefleet.api.front_end import Ports
from cachefleet.api.metrics_app import MetricsApp
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import discover
from cachefleet.engine.names.server import serve_names
from cachefleet.peers import open_peers
from cachefleet.progress import SAVING, STARTING, Reporter, no_report
from cachefleet.provisioner.clock import Clock, SystemClock
from cachefleet.provisioner.delivery.service import LogDelivery
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.drivers.local import LocalDriver
from cachefleet.provisioner.health.cloudwatch import CloudWatch
from cachefleet.provisioner.health.exposition import (
    GatewayCollector,
    NodeCollector,
    ProvisionerCollector,
)
from cachefleet.provisioner.health.faults import FaultKeeper
from cachefleet.provisioner.health.film import FilmMaker
from cachefleet.provisioner.health.monitor import Monitor
from cachefleet.provisioner.health.readers import ReaderWatch
from cachefleet.provisioner.health.reports import FleetReports
from cachefleet.provisioner.health.sampler import Measured, MetricsSampler
from cachefleet.provisioner.health.visits import NodeVisits
from cachefleet.provisioner.maintenance.certificates import CertificateWatch
from cachefleet.provisioner.maintenance.names import NameDirectory
from cachefleet.provisioner.maintenance.notifier import Notifier, publisher_of
from cachefleet.provisioner.maintenance.peers import PeerWatch
from cachefleet.provisioner.maintenance.scheduler import Maintenance
from cachefleet.provisioner.maintenance.serverless import ServerlessGrowth
from cachefleet.provisioner.maintenance.updates import UpdateWatch
from cachefleet.provisioner.peering.client import Peers
from cachefleet.provisioner.reconciler.ec2 import Ec2Rules
from cachefleet.provisioner.reconciler.endpoints import GATEWAY_UID, Endpoints
from cachefleet.provisioner.reconciler.feeds import FEED_UID, Feeds
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.loop import SYSTEM_SCOPE, Provisioner
from cachefleet.provisioner.reconciler.places import forget_unknown, kept_uids
from cachefleet.provisioner.reconciler.reset import FleetReset
from cachefleet.provisioner.reconciler.security_groups import NoRules, SecurityGroups
from cachefleet.provisioner.reconciler.stopping import stop_nodes
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.errors import NewerSchema
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.master_key import (
    MasterKey,
    UnusableMasterKey,
    ensure_master_key,
)
from cachefleet.provisioner.state.schema import current_revision
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import CacheNode
from cachefleet.provisioner.state.tables import Fleet as FleetRow
from cachefleet.serving import CannotStart, HttpServer, listening, served
from cachefleet.settings import Settings

log = structlog.get_logger(__name__)

LOCK_FILE = "cachefleet.lock"
FLEET_FILE = "fleet-id"
ADOPT_TIMEOUT_S = 60.0  # then the API is served all the same: what is stuck can be looked at

PROGRESS_EVERY_S = 0.1
LOCK_WAIT_S = 0.2  # whoever only asks whether the directory is in use lets go within this
LOCK_POLL_S = 0.01


ReadyCallback = Callable[[str, int], None]  # host and port that requests are taken on


@contextlib.contextmanager
def hold_data_dir(settings: Settings) -> Iterator[Callable[[], bool]]:
    """Make sure that nobody else runs nodes in this directory, or only those who share a database.

    Gives a function that tells, at the end, whether we are the last of them.

    Raises:
        CannotStart: another cachefleet holds it, or it cannot be written.
    """
    path = settings.data_dir
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotStart(f"cannot use the data directory {path}: {error.strerror}") from error
    # Several provisioners may share a directory when a database keeps them apart by leases.
    kind = fcntl.LOCK_SH if settings.database_url else fcntl.LOCK_EX
    try:
        if not _lock(descriptor, kind):
            raise CannotStart(f"the data directory {path} is in use by another cachefleet")
        yield lambda: kind == fcntl.LOCK_EX or _lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    deadline_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(LOCK_POLL_S)
        else:
            return True


@contextlib.asynccontextmanager
async def open_store(
    settings: Settings, clock: Clock, *, patient: bool = False
) -> AsyncIterator[Store]:
    """Open the database, brought to the newest schema; see :meth:`Store.open`.

    Raises:
        CannotStart: it is not there, or was written by a newer cachefleet.
    """
    store = Store.open(settings.url, clock=clock, patient=patient)
    try:
        try:
            await upgrade(store, settings.url)
        except NewerSchema as error:
            raise CannotStart(str(error)) from error
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise CannotStart(f"cannot use the database: {reason}") from error
        yield store
    finally:
        await store.aclose()


async def upgrade(store: Store, url: str) -> None:
    """Bring the database to the newest schema; asks before it loads the migrations.

    Raises:
        NewerSchema: its revision is not one of ours.
    """
    revision = await current_revision(store)
    known = migrations.known_revisions()
    if revision == known[0]:
        return
    if revision is not None and revision not in known:
        raise NewerSchema(
            f"the database has schema {revision}, which is newer than this cachefleet knows"
        )
    await asyncio.to_thread(migrations.upgrade, url)
    if store.is_sqlite:
        _make_private(url)


def _make_private(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if name.exists():
            name.chmod(0o600)


async def run_everything(
    settings: Settings, *, on_ready: ReadyCallback, report: Reporter = no_report
) -> None:
    """Serve the API and run the nodes until SIGTERM or SIGINT, then stop in order."""
    clock = SystemClock()
    with hold_data_dir(settings) as is_last:
        async with (
            open_store(settings, clock) as store,
            listening(settings.host, settings.port) as listener,
        ):
            stopping = _stop_on_signal()
            peers = open_peers(settings, clock)
            running = _running_provisioner(settings, store, clock, stopping, report, is_last, peers)
            async with running as ports:
                await _serve_api(settings, store, clock, listener, stopping, on_ready, peers, ports)


async def run_provisioner(
    settings: Settings, *, on_ready: ReadyCallback, report: Reporter = no_report
) -> None:
    """Run the nodes without an API, until SIGTERM or SIGINT.

    *on_ready* is told where the metrics are; port 0 where they are not served.
    """
    clock = SystemClock()
    with hold_data_dir(settings) as is_last:
        async with open_store(settings, clock) as store, _metrics_listener(settings) as listener:
            stopping = _stop_on_signal()
            peers = open_peers(settings, clock)
            running = _running_provisioner(settings, store, clock, stopping, report, is_last, peers)
            async with running as ports, contextlib.AsyncExitStack() as stack:
                port = 0
                if listener is not None:
                    told = settings.api_settings().model_copy(
                        update={"host": settings.metrics_host}
                    )
                    app = MetricsApp(told, ports.collectors)
                    await stack.enter_async_context(served(app, listener))
                    port = listener.getsockname()[1]
                on_ready(settings.metrics_host, port)
                await stopping.wait()


@contextlib.asynccontextmanager
async def _metrics_listener(settings: Settings) -> AsyncIterator[socket.socket | None]:
    if settings.metrics_port is None:
        yield None
        return
    async with listening(settings.metrics_host, settings.metrics_port) as listener:
        yield listener


async def run_api(settings: Settings, *, on_ready: ReadyCallback) -> None:
    """Serve the API without nodes, until SIGTERM or SIGINT."""
    clock = SystemClock()
    async with (
        open_store(settings, clock) as store,
        listening(settings.host, settings.port) as listener,
    ):
        peers = open_peers(settings, clock)
        await _serve_api(settings, store, clock, listener, _stop_on_signal(), on_ready, peers)


@contextlib.asynccontextmanager
async def _running_provisioner(
    settings: Settings,
    store: Store,
    clock: Clock,
    stopping: asyncio.Event,
    report: Reporter,
    is_last: Callable[[], bool],
    peers: Peers,
) -> AsyncIterator[Ports]:
    fleet, endpoints = await _make_fleet(settings, store, clock)
    fleet.feeds = feeds = Feeds(fleet)
    fleet.peers = peer_watch = PeerWatch(fleet, peers)
    if peers.regions:
        await peer_watch.first_look()

    async def after_work() -> None:
        await endpoints.sync()
        await feeds.sync()
        maintenance.look()
        update_watch.note_work()

    provisioner = Provisioner(fleet, after_work=after_work)
    maintenance = Maintenance(store, clock, holder=fleet.holder, held=lambda: provisioner.leases)
    update_watch = UpdateWatch(
        fleet, held=lambda: provisioner.leases, days=settings.service_update_days
    )
    monitor = Monitor(fleet, provisioner, endpoints, feeds)
    gateway_counts = GatewayCollector()
    cloudwatch = CloudWatch(
        settings.cloudwatch_endpoint_url, namespace=settings.cloudwatch_namespace
    )

    async def on_round(found: Sequence[Measured], at_s: int) -> None:
        gateway_counts.status = await endpoints.status()
        cloudwatch.take(found, at_s)

    sampler = MetricsSampler(fleet, lambda: provisioner.leases, on_round=on_round)
    keeper = FaultKeeper(fleet, held=lambda: provisioner.leases)
    await keeper.adopt()
    names = await _make_names(settings, store)
    tasks = [
        *names.tasks,
        asyncio.create_task(provisioner.run()),
        asyncio.create_task(monitor.run()),
        asyncio.create_task(endpoints.iam_keys.watch(endpoints.sync)),
        *(
            [asyncio.create_task(fleet.security_groups.watch(endpoints.sync))]
            if isinstance(fleet.security_groups, SecurityGroups)
            else []
        ),
        asyncio.create_task(keeper.run()),
        asyncio.create_task(peer_watch.run()),
        asyncio.create_task(sampler.run()),
        asyncio.create_task(cloudwatch.run()),
        asyncio.create_task(ReaderWatch(fleet, provisioner, endpoints).run()),
        asyncio.create_task(LogDelivery(fleet, held=lambda: provisioner.leases).run()),
        asyncio.create_task(maintenance.run()),
        asyncio.create_task(ServerlessGrowth(fleet, held=lambda: provisioner.leases).run()),
        asyncio.create_task(update_watch.run()),
        asyncio.create_task(CertificateWatch(fleet, held=lambda: provisioner.leases).run()),
        asyncio.create_task(Notifier(store, clock, publisher_of(settings.sns_endpoint_url)).run()),
    ]
    for task in tasks:
        # Neither ends by itself: without them the API would promise what nobody does.
        task.add_done_callback(lambda _: stopping.set())
    try:
        adopted = asyncio.create_task(provisioner.adopted.wait())
        stop = asyncio.create_task(stopping.wait())
        telling = asyncio.create_task(_report_start(fleet, report))
        await asyncio.wait(
            {adopted, stop}, timeout=ADOPT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        adopted.cancel()
        stop.cancel()
        telling.cancel()
        yield Ports(
            node_reports=FleetReports(fleet),
            resetter=FleetReset(fleet, provisioner, endpoints),
            node_visits=NodeVisits(fleet),
            camera=FilmMaker(fleet, clock),
            inventory=lambda: fleet.inventory,
            collectors=(
                NodeCollector(sampler),
                ProvisionerCollector(provisioner, fleet),
                gateway_counts,
            ),
        )
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("task_broke", error=repr(outcome), exc_info=outcome)
        await keeper.let_go()
        peers.close()
        # Whoever shares the fleet with us goes on with it: nodes end with the last of us.
        if is_last():
            await keeper.lift_all()
            await feeds.stop()
            await stop_nodes(
                fleet, save=not settings.ephemeral, on_node=functools.partial(report, SAVING)
            )
            await endpoints.stop()
        await fleet.aclose()
        await fleet.driver.aclose()


async def _report_start(fleet: Fleet, report: Reporter) -> None:
    """Tell how many of the recorded nodes are up, until all are or we are cancelled."""
    async with fleet.store.read(SYSTEM_SCOPE) as tx:
        total = int(await tx.session.scalar(select(func.count()).select_from(CacheNode)) or 0)
    done = 0
    try:
        while done < total:
            done = min(len(fleet.watched), total)
            report(STARTING, done, total)
            await asyncio.sleep(PROGRESS_EVERY_S)
    finally:
        report(STARTING, total, total)


@dataclass(slots=True)
class _Names:
    """What makes endpoint names known while the nodes run."""

    tasks: list[asyncio.Task[None]]


async def _make_names(settings: Settings, store: Store) -> _Names:
    """Begin to make endpoint names known, where they are wanted.

    Raises:
        CannotStart: the hosts file cannot be written, or the DNS port cannot be listened on.
    """
    if settings.endpoint_names == "addresses":
        return _Names([])
    hosts_file = settings.hosts_file if settings.endpoint_names == "hosts" else None
    directory = NameDirectory(store, settings.endpoint_domain, hosts_file=hosts_file)
    if hosts_file is not None and not os.access(hosts_file, os.R_OK | os.W_OK):
        raise CannotStart(f"cannot write endpoint names to {hosts_file}: choose --hosts-file")
    await directory.refresh()
    tasks = [asyncio.create_task(directory.run())]
    if hosts_file is None:
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(_serve_names(settings, directory, ready))
        waiting: set[asyncio.Future[Any]] = {serving, ready}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            tasks[0].cancel()
            reason = getattr(serving.exception(), "strerror", "")
            raise CannotStart(f"cannot answer names on 127.0.0.1:{settings.dns_port}: {reason}")
        log.info("names_served", port=ready.result())
        tasks.append(serving)
    return _Names(tasks)


async def _serve_names(
    settings: Settings, directory: NameDirectory, ready: asyncio.Future[int]
) -> None:
    async with serve_names(
        "127.0.0.1", settings.dns_port, domain=settings.endpoint_domain, lookup=directory.lookup
    ) as port:
        ready.set_result(port)
        await asyncio.Event().wait()


async def _make_fleet(settings: Settings, store: Store, clock: Clock) -> tuple[Fleet, Endpoints]:
    told = settings.provisioner_settings()
    await _require_own_directory(store, settings.data_dir)
    try:
        driver = LocalDriver(settings.data_dir, ephemeral=settings.ephemeral)
    except (LaunchFailed, OSError) as error:
        raise CannotStart(f"cannot use the data directory: {error}") from error
    fleet = Fleet(
        store=store,
        driver=driver,
        inventory=await asyncio.to_thread(discover, told.engines),
        catalog=Catalog.load(),
        clock=clock,
        settings=told,
        holder=f"{socket.gethostname()}-{os.getpid()}-{new_uid()}"[:64],
    )
    endpoints = Endpoints(fleet)
    fleet.sync_endpoints = endpoints.sync
    if settings.enforce_security_groups:
        source = Ec2Rules(settings.ec2_endpoint_url) if settings.ec2_endpoint_url else NoRules()
        fleet.security_groups = SecurityGroups(fleet, source)
    if store.is_sqlite:
        async with store.begin(SYSTEM_SCOPE) as tx:
            # The directory's lock proves that whoever held these is gone.
            await leases.release_everything(tx)
    await _sweep(fleet, driver)
    return fleet, endpoints


async def _require_own_directory(store: Store, data_dir: Path) -> None:
    """Refuse a directory of another database, whose nodes would look like orphans, and an empty
    one for a database whose nodes run elsewhere, which would look lost.
    """
    async with store.begin(SYSTEM_SCOPE) as tx:
        row = (await tx.session.scalars(select(FleetRow))).one_or_none()
        if row is None:
            row = FleetRow(fleet_id=new_uid(), created_at=tx.now)
            tx.session.add(row)
        fleet_id = row.fleet_id
        has_nodes = (await tx.session.scalars(select(CacheNode.uid).limit(1))).first() is not None
    note = data_dir / FLEET_FILE
    if note.exists():
        if note.read_text().strip() != fleet_id:
            raise CannotStart(f"the nodes in {data_dir} belong to another database")
    elif has_nodes and not store.is_sqlite:
        raise CannotStart(f"the nodes of this database do not live in {data_dir}")
    else:
        note.write_text(fleet_id + "\n")


async def _sweep(fleet: Fleet, driver: LocalDriver) -> None:
    """End processes and remove directories whose rows are gone."""
    # In this order: a row comes before its directory, and others may be making both right now.
    known, kept = await driver.known(), kept_uids(fleet)
    async with fleet.store.read(SYSTEM_SCOPE) as tx:
        recorded = set((await tx.session.scalars(select(CacheNode.uid))).all())
    for uid in known - recorded - {GATEWAY_UID, FEED_UID}:
        log.warning("orphan_removed", node=uid)
        await driver.remove(uid)
    forget_unknown(kept, recorded, fleet)
    if fleet.settings.snapshot_store is None:  # elsewhere others may keep theirs beside ours
        found = await asyncio.to_thread(fleet.snapshots.known)  # first: rows come before files
        async with fleet.store.read(SYSTEM_SCOPE) as tx:
            snapshots = set((await tx.session.scalars(select(Snapshot.uid))).all())
        for uid in found - snapshots:
            log.warning("orphan_removed", snapshot=uid)
            await asyncio.to_thread(fleet.snapshots.remove, uid)


def _master_key(settings: Settings) -> MasterKey:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return ensure_master_key(settings.master_key_path)
    except (UnusableMasterKey, OSError) as error:
        raise CannotStart(str(error)) from error


async def _serve_api(
    settings: Settings,
    store: Store,
    clock: Clock,
    listener: socket.socket,
    stopping: asyncio.Event,
    on_ready: ReadyCallback,
    peers: Peers,
    ports: Ports | None = None,
) -> None:
    app = create_app(
        store=store,
        settings=settings.api_settings(),
        catalog=Catalog.load(),
        clock=clock,
        ports=ports,
        peers=peers,
        credentials=StoredCredentials(store, _master_key(settings), clock=clock)
        if settings.auth == "enforce"
        else None,
    )
    server = HttpServer(app)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    # What is there by now stays: half a million objects that no collection need look at again. One
    # that did would hold up every request for a tenth of a second.
    gc.freeze()
    on_ready(settings.host, listener.getsockname()[1])
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
    app.state.front_end.closing.set()
    server.should_exit = True
    stop.cancel()
    await serving


def _stop_on_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping
