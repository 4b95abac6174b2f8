"""``cachefleet snapshot inspect``: what is in an RDB, or in a snapshot that is kept here.

Counts keys by database and type without reading their values. A sealed file is opened into memory
only, and with its key alone.
"""

from __future__ import annotations

import mmap
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.engine.memcached.copying import FORMAT as ITEMS
from cachefleet.engine.memcached.copying import ItemsCheck, NotItems, walk_items
from cachefleet.engine.memserver.memfile import MAGIC as ITEMS_MAGIC
from cachefleet.engine.rdb.reader import Entry, NotAnRdb, parse_header, walk
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.drivers.local import LocalDriver
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.places import NoMemoryDirectory, memory_folder
from cachefleet.provisioner.snapshots.keys import KeyUnavailable
from cachefleet.provisioner.snapshots.manifest import BadManifest
from cachefleet.provisioner.snapshots.s3 import S3Refused
from cachefleet.provisioner.snapshots.sealing import MAGIC, Tampered, is_sealed, unseal
from cachefleet.provisioner.snapshots.shards import NotReadBack, read_shard
from cachefleet.provisioner.snapshots.store import SnapshotMissing, StoreUnavailable
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Store
from cachefleet.settings import Settings
from cachefleet.status import amount

EVERYTHING = Scope("", "")
REPORT_EVERY_BYTES = 4 << 20
UNREADABLE = (
    NotAnRdb, NotItems, NotReadBack, Tampered, KeyUnavailable, NoMemoryDirectory, SnapshotMissing,
    StoreUnavailable, S3Refused, BadManifest,
)  # fmt: skip

OnRead = Callable[[int, int], None]  # bytes that have been read, of how many


class CannotInspect(Exception):
    """There is nothing to be shown; the message is one line."""


@dataclass(slots=True)
class RdbReport:
    """What one RDB holds."""

    name: str
    format: str
    size_bytes: int
    aux: dict[str, str] = field(default_factory=dict)
    functions: int = 0
    expiring: int = 0
    keys: Counter[tuple[int, str]] = field(default_factory=Counter)
    bytes_of: Counter[tuple[int, str]] = field(default_factory=Counter)

    def as_json(self) -> dict[str, object]:
        """Return the same as plain values."""
        return {
            "name": self.name,
            "format": self.format,
            "size_bytes": self.size_bytes,
            "aux": self.aux,
            "functions": self.functions,
            "expiring": self.expiring,
            "keys": [
                {"database": database, "type": kind, "keys": count,
                 "bytes": self.bytes_of[database, kind]}
                for (database, kind), count in sorted(self.keys.items())
            ],
        }  # fmt: skip


def report_of(path: Path, name: str, on_read: OnRead) -> RdbReport:
    """Walk through an RDB.

    Raises:
        NotAnRdb, NotItems: it is none, or broken; the message says how.
    """
    size = path.stat().st_size
    if not size:
        raise NotAnRdb("it is empty")
    with path.open("rb") as items:
        if items.read(len(ITEMS_MAGIC)) == ITEMS_MAGIC:
            return _report_of_items(path, name, on_read)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = parse_header(data)
        report = RdbReport(name, f"{header.magic} {header.version}", size)
        told = 0
        for record in walk(data):
            if isinstance(record, Entry):
                report.keys[record.database, record.kind] += 1
                report.bytes_of[record.database, record.kind] += record.end - record.start
                report.expiring += record.expires
            elif record.kind == "aux":
                report.aux[record.name] = record.value
            elif record.kind == "function":
                report.functions += 1
            if record.end - told >= REPORT_EVERY_BYTES:
                told = record.end
                on_read(told, size)
    on_read(size, size)
    return report


def _report_of_items(path: Path, name: str, on_read: OnRead) -> RdbReport:
    size, check = path.stat().st_size, ItemsCheck()
    with path.open("rb") as file:
        while part := file.read(REPORT_EVERY_BYTES):
            check.see(part)
        report = RdbReport(name, check.conclude(), size)
        file.seek(0)
        for item in walk_items(file, size):
            report.keys[0, "item"] += 1
            report.bytes_of[0, "item"] += item.size_bytes
            report.expiring += item.expires
    on_read(size, size)
    return report


async def inspect(what: str, settings: Settings, on_read: OnRead) -> list[RdbReport]:
    """Return what is in the file, or in each shard of the snapshot, that *what* names.

    Raises:
        CannotInspect: there is neither, or it cannot be read.
    """
    try:
        path = Path(what)
        if path.is_file():
            with _clear(path, settings) as readable:
                return [report_of(readable, path.name, on_read)]
        return await _inspect_snapshot(what, settings, on_read)
    except UNREADABLE as error:
        raise CannotInspect(f"{what}: {error}") from error
    except OSError as error:
        raise CannotInspect(f"{what}: {error.strerror}") from error


async def _inspect_snapshot(name: str, settings: Settings, on_read: OnRead) -> list[RdbReport]:
    store = Store.open(settings.readonly_url, clock=SystemClock())
    try:
        async with store.read(EVERYTHING) as tx:
            query = select(Snapshot).where(Snapshot.name == name.lower())
            found = (await tx.session.scalars(query)).all()
    except DBAPIError as error:
        raise CannotInspect(f"{name} is no file, and there is no database to look in") from error
    finally:
        await store.aclose()
    if not found:
        raise CannotInspect(f"{name} is neither a file nor a snapshot here")
    reports = []
    fleet = _fleet(settings)
    for snapshot in found:
        manifest = fleet.snapshots.manifest(snapshot.uid)
        for shard in manifest.shards:
            title = f"{snapshot.scope.account}/{snapshot.scope.region}/{snapshot.name}/{shard.name}"
            with tempfile.NamedTemporaryFile(dir=_spool(shard.sealed, fleet)) as spool:
                for part in read_shard(fleet.snapshots, snapshot.uid, shard, fleet.keys.unwrap):
                    spool.write(part)
                spool.flush()
                reports.append(report_of(Path(spool.name), title, on_read))
    return reports


@contextmanager
def _clear(path: Path, settings: Settings) -> Iterator[Path]:
    """Give a file that can be read: the one that was named, or what a sealed one holds."""
    with path.open("rb") as file:
        if not is_sealed(file.read(len(MAGIC))):
            yield path
            return
        file.seek(0)
        fleet = _fleet(settings)
        with tempfile.NamedTemporaryFile(dir=memory_folder(fleet)) as spool:
            for part in unseal(file, fleet.keys.unwrap):
                spool.write(part)
            spool.flush()
            yield Path(spool.name)


def _spool(sealed: bool, fleet: Fleet) -> Path | None:
    return memory_folder(fleet) if sealed else None


def _fleet(settings: Settings) -> Fleet:
    return Fleet(
        store=Store.open(settings.readonly_url, clock=SystemClock()),
        driver=LocalDriver(settings.data_dir),
        inventory=Inventory(binaries=()),
        catalog=Catalog.load(),
        clock=SystemClock(),
        settings=settings.provisioner_settings(),
        holder="inspect",
    )


def show(reports: list[RdbReport], console: Console) -> None:
    """Print a table a file."""
    for report in reports:
        console.print(_rendered(report))


def _rendered(report: RdbReport) -> Group:
    named = [name for name in ("valkey-ver", "redis-ver") if name in report.aux]
    written_by = f"{named[0]} {report.aux[named[0]]}" if named else "an unknown engine"
    kind = f"RDB {report.format} by {written_by}"
    if report.format == ITEMS:
        kind = "memcached items"
    head = Text.assemble(
        (report.name, "bold"),
        f"  {kind}, {amount(report.size_bytes)}, "
        f"{sum(report.keys.values()):,} keys, {report.expiring:,} with an expiry, "
        f"{report.functions} function libraries",
    )
    table = Table()
    table.add_column("Database", justify="right")
    table.add_column("Type")
    table.add_column("Keys", justify="right")
    table.add_column("Size", justify="right")
    for (database, kind), count in sorted(report.keys.items()):
        size = amount(report.bytes_of[database, kind])
        table.add_row(str(database), kind, f"{count:,}", size)
    return Group(head, table) if report.keys else Group(head)
