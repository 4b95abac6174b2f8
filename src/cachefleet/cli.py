"""The ``cachefleet`` command: the composition root. May import all; nothing imports it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import typer
from pydantic import ValidationError
from rich.console import Console

from cachefleet import __version__
from cachefleet.engine.loops import new_event_loop
from cachefleet.logs import configure_logging
from cachefleet.options import (
    AccessKeyId,
    Account,
    AllowFaults,
    AllowReset,
    AsJson,
    Auth,
    DatabaseUrl,
    DataDir,
    Ec2Url,
    EnforceGroups,
    Ephemeral,
    Export,
    FailoverTimeout,
    Host,
    Inspected,
    KeyScopeName,
    LogFormat,
    LogLevel,
    MetricsHost,
    MetricsPort,
    Mode,
    Names,
    Network,
    Once,
    OverlapS,
    PeerRegions,
    PeerSecret,
    Port,
    PortRange,
    Renew,
    Rotate,
)
from cachefleet.progress import READING, ProgressLine

if TYPE_CHECKING:
    from cachefleet.settings import Settings

T = TypeVar("T")

PRIVATE_UMASK = 0o077
EXIT_PROBLEM = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130
PLAIN_WIDTH_CHARS = 180  # of tables that go to a file or a pipe
# The root of what a wrong command line raises; typer names only its leaves.
UsageFault = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="cachefleet",
    help="A managed-cache control plane with the Amazon ElastiCache API, on real engines.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
database = typer.Typer(help="Look after the database.")
app.add_typer(database, name="db")
snapshot = typer.Typer(help="Look into snapshots.")
app.add_typer(snapshot, name="snapshot")
credentials = typer.Typer(help="Manage the access keys that requests are signed with.")
app.add_typer(credentials, name="credentials")


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    ephemeral: Ephemeral = None,
    endpoint_mode: Mode = None,
    endpoint_network: Network = None,
    port_range: PortRange = None,
    failover_timeout_s: FailoverTimeout = None,
    auth: Auth = None,
    allow_reset: AllowReset = None,
    endpoint_names: Names = None,
    allow_faults: AllowFaults = None,
    enforce_security_groups: EnforceGroups = None,
    ec2_endpoint_url: Ec2Url = None,
    peers: PeerRegions = None,
    peer_secret_file: PeerSecret = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Serve the API and run the nodes, in the foreground."""
    from cachefleet.announcing import say_ready
    from cachefleet.control_plane import run_everything

    settings = _settings(
        host=host,
        port=port,
        data_dir=data_dir,
        database_url=database_url,
        ephemeral=ephemeral,
        endpoint_mode=endpoint_mode,
        endpoint_network=endpoint_network,
        port_range=port_range,
        failover_timeout_s=failover_timeout_s,
        auth=auth,
        allow_reset=allow_reset,
        endpoint_names=endpoint_names,
        allow_faults=allow_faults,
        enforce_security_groups=enforce_security_groups,
        ec2_endpoint_url=ec2_endpoint_url,
        peers=peers,
        peer_secret_file=peer_secret_file,
        log_level=log_level,
        log_format=log_format,
    )
    with ProgressLine() as report:
        _run(
            settings, lambda: run_everything(settings, on_ready=say_ready(settings), report=report)
        )


@app.command()
def api(
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    auth: Auth = None,
    allow_faults: AllowFaults = None,
    enforce_security_groups: EnforceGroups = None,
    ec2_endpoint_url: Ec2Url = None,
    peers: PeerRegions = None,
    peer_secret_file: PeerSecret = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Serve the API only; provisioners on the same database run the nodes."""
    from cachefleet.announcing import say_ready
    from cachefleet.control_plane import run_api

    settings = _settings(
        host=host,
        port=port,
        database_url=database_url,
        auth=auth,
        allow_faults=allow_faults,
        enforce_security_groups=enforce_security_groups,
        ec2_endpoint_url=ec2_endpoint_url,
        peers=peers,
        peer_secret_file=peer_secret_file,
        log_level=log_level,
        log_format=log_format,
    )
    _require_database(settings)
    _run(settings, lambda: run_api(settings, on_ready=say_ready(settings)))


@app.command()
def provisioner(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    endpoint_mode: Mode = None,
    endpoint_network: Network = None,
    port_range: PortRange = None,
    failover_timeout_s: FailoverTimeout = None,
    allow_faults: AllowFaults = None,
    enforce_security_groups: EnforceGroups = None,
    ec2_endpoint_url: Ec2Url = None,
    metrics_host: MetricsHost = None,
    metrics_port: MetricsPort = None,
    peers: PeerRegions = None,
    peer_secret_file: PeerSecret = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run the nodes only; the API is served elsewhere on the same database."""
    from cachefleet.announcing import say_provisioner_ready
    from cachefleet.control_plane import run_provisioner

    settings = _settings(
        data_dir=data_dir,
        database_url=database_url,
        endpoint_mode=endpoint_mode,
        endpoint_network=endpoint_network,
        port_range=port_range,
        failover_timeout_s=failover_timeout_s,
        allow_faults=allow_faults,
        enforce_security_groups=enforce_security_groups,
        ec2_endpoint_url=ec2_endpoint_url,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        peers=peers,
        peer_secret_file=peer_secret_file,
        log_level=log_level,
        log_format=log_format,
    )
    _require_database(settings)
    with ProgressLine() as report:
        _run(
            settings,
            lambda: run_provisioner(
                settings,
                on_ready=say_provisioner_ready,
                report=report,
            ),
        )


@database.command("upgrade")
def database_upgrade(data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Bring the database to the newest schema."""
    from cachefleet.control_plane import open_store
    from cachefleet.provisioner.clock import SystemClock

    settings = _settings(data_dir=data_dir, database_url=database_url)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def run() -> None:
        async with open_store(settings, SystemClock(), patient=True):
            print("the database has the newest schema")

    _run(settings, run)


@credentials.command("create")
def credentials_create(
    account: Account = None,
    scope: KeyScopeName = "full",
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make an access key and print it with its secret, which is shown this once."""
    from cachefleet import credentials as keys
    from cachefleet.provisioner.state.access_keys import KeyScope

    settings = _settings(data_dir=data_dir, database_url=database_url, account_id=account)
    if scope not in list(KeyScope):
        _fail(f"--scope: {scope} is none of {', '.join(KeyScope)}")
    pair = _managed(
        lambda: keys.create(settings, account=settings.account_id, scope=KeyScope(scope))
    )
    print(keys.shown_once(pair, as_json=as_json))


@credentials.command("list")
def credentials_list(
    data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: AsJson = False
) -> None:
    """Show every access key, without its secret."""
    from rich.table import Table

    from cachefleet import credentials as keys

    settings = _settings(data_dir=data_dir, database_url=database_url)
    rows = _managed(lambda: keys.listed(settings))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("Access key id", "Account", "Scope", "Created", "Ends")
    for row in rows:
        table.add_row(*(str(value or "") for value in row.values()))
    _console().print(table)


@credentials.command("rotate")
def credentials_rotate(
    access_key_id: AccessKeyId,
    overlap_s: OverlapS = 3600,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key in the place of another, which stays good for a while, and print it."""
    from datetime import timedelta

    from cachefleet import credentials as keys

    settings = _settings(data_dir=data_dir, database_url=database_url)
    overlap = timedelta(seconds=overlap_s)
    pair = _managed(lambda: keys.rotate(settings, access_key_id, overlap=overlap))
    print(keys.shown_once(pair, as_json=as_json))


@credentials.command("delete")
def credentials_delete(
    access_key_id: AccessKeyId, data_dir: DataDir = None, database_url: DatabaseUrl = None
) -> None:
    """Make an access key worthless at once."""
    from cachefleet import credentials as keys

    settings = _settings(data_dir=data_dir, database_url=database_url)
    _managed(lambda: keys.delete(settings, access_key_id))


@app.command()
def ca(
    data_dir: DataDir = None,
    export: Export = None,
    renew: Renew = False,
    rotate: Rotate = False,
) -> None:
    """Print the certificate of the local authority, which clients of TLS endpoints trust."""
    from cachefleet.trust import (
        NotUsable,
        authority_certificate,
        renew_certificates,
        rotate_authority,
    )

    settings = _settings(data_dir=data_dir)
    configure_logging(settings)
    try:
        if renew and rotate:
            _fail("--renew and --rotate cannot be used together")
        if renew:
            renew_certificates(settings)
            return
        if rotate:
            rotate_authority(settings)
            return
        certificate = authority_certificate(settings)
        if export is None:
            print(certificate, end="")
        else:
            export.write_text(certificate)
    except (NotUsable, OSError) as error:
        _fail(str(error))


@app.command()
def doctor(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    endpoint_mode: Mode = None,
) -> None:
    """Say what this machine can run, and what is wrong; exits 1 where serving is not possible."""
    from cachefleet.doctor import examine, show

    settings = _settings(
        host=host,
        port=port,
        data_dir=data_dir,
        database_url=database_url,
        endpoint_mode=endpoint_mode,
    )
    report = asyncio.run(examine(settings))
    show(report, _console())
    if not report.can_serve:
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def status(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    once: Once = False,
    as_json: AsJson = False,
) -> None:
    """Show clusters and their nodes, live at a terminal; a server need not be running."""
    from cachefleet.status import NothingToShow, open_watcher, render, show_live

    settings = _settings(data_dir=data_dir, database_url=database_url)
    console = _console()

    async def run() -> None:
        async with open_watcher(settings) as watcher:
            if as_json:
                print(json.dumps((await watcher.look()).as_json(), indent=2))
            elif once or not console.is_terminal:
                console.print(render(await watcher.look()))
            else:
                await show_live(watcher, console)
                raise typer.Exit(EXIT_INTERRUPTED)

    try:
        asyncio.run(run())
    except NothingToShow as error:
        _fail(str(error))


@snapshot.command("inspect")
def snapshot_inspect(
    what: Inspected,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in an RDB file, or in a snapshot: format, keys by database and type, sizes."""
    from cachefleet.snapshot_report import CannotInspect, inspect, show

    settings = _settings(data_dir=data_dir, database_url=database_url)
    try:
        with ProgressLine() as report:
            found = asyncio.run(
                inspect(what, settings, lambda done, total: report(READING, done, total))
            )
    except CannotInspect as error:
        _fail(str(error))
    if as_json:
        print(json.dumps([one.as_json() for one in found], indent=2))
    else:
        show(found, _console())


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command line; whatever is wrong with it is said in one line."""
    try:
        outcome = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UsageFault as error:
        print(f"cachefleet: {' '.join(error.format_message().split())}", file=sys.stderr)
        sys.exit(EXIT_UNUSABLE)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _settings(**given: Any) -> Settings:
    # Half a second of imports, which --help and a mistyped option need not wait for.
    from cachefleet.settings import SETTINGS_FILE, Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "-".join(str(part) for part in first["loc"]).replace("_", "-") or "settings"
        _fail(f"--{name}: {first['msg'].removeprefix('Value error, ')}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        _fail(f"{SETTINGS_FILE} cannot be read: {error}")


def _require_database(settings: Settings) -> None:
    if not (settings.database_url or "").startswith("postgresql"):
        _fail("the halves meet in a database: give --database-url postgresql://...")


def _run(settings: Settings, work: Callable[[], Awaitable[None]]) -> None:
    from cachefleet.serving import CannotStart

    configure_logging(settings)
    os.umask(PRIVATE_UMASK)  # whatever is written by us or by an engine is for us alone

    async def run() -> None:
        await work()

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run())
    except CannotStart as error:
        _fail(str(error))


def _managed(work: Callable[[], T]) -> T:
    from cachefleet.credentials import CannotManage

    os.umask(PRIVATE_UMASK)
    try:
        return work()
    except CannotManage as error:
        _fail(str(error))


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH_CHARS)


def _fail(message: str) -> NoReturn:
    print(f"cachefleet: {message}", file=sys.stderr)
    raise typer.Exit(EXIT_UNUSABLE)
