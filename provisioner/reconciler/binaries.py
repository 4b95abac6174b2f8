"""Which binary runs a subject's nodes: the one for its engine and version that can read its data.

An engine reads what older ones wrote, never what newer ones did. So a subject that is to be Redis
OSS while its data is held by Valkey (in Redis's place, or after a way back from engine valkey)
stays on Valkey: it serves the same commands, and the data lives. What holds the data is read from
processes and files; there is no note of it that could be wrong.
"""

from __future__ import annotations

from pathlib import Path

from cachefleet.engine.discovery import Inventory
from cachefleet.engine.types import Engine, EngineBinary
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.places import sealed_dump
from cachefleet.provisioner.reconciler.records import SubjectRecord

SAVED_DUMP_FILE = "saved.rdb"  # what an orderly stop leaves in a node's directory
RESTORE_FILE = "restore.rdb"  # what a new node is to begin with
RESTORE_ITEMS_FILE = "restore.items"  # the same of memcached

# The format of a dump, and of the copy that a replica is sent, by the version that writes it. Each
# reads all that are lower.
_FORMATS: dict[Engine, tuple[tuple[tuple[int, ...], int], ...]] = {
    Engine.VALKEY: (((9,), 80), ((7,), 11)),
    Engine.REDIS: (((7, 4), 12), ((7, 2), 11), ((7,), 10), ((5,), 9), ((4,), 8), ((0,), 7)),
}
# Valkey numbers its own formats from 80; of Redis's it reads those up to the last common one.
_FOREIGN_MAX = 11
_HEADER_BYTES = 9  # VALKEY080, REDIS0010


def binary_for(record: SubjectRecord, fleet: Fleet) -> EngineBinary:
    """Return what the nodes of this subject are to run.

    Raises:
        NoEngineBinary: nothing here can run its engine.
    """
    wanted = fleet.inventory.choose(record.engine, record.settings.engine_version)
    if record.engine is not Engine.REDIS:
        return wanted
    held = max((_held(node.uid, fleet) for node in record.live_nodes), default=0)
    return reader_of(held, wanted, fleet.inventory)


def reader_of(held: int, wanted: EngineBinary, inventory: Inventory) -> EngineBinary:
    """Return *wanted*, or where it cannot read the format *held*, the first binary that can."""
    able = [one for one in inventory.binaries if dump_format(one) >= held]
    return wanted if dump_format(wanted) >= held or not able else able[0]


def dump_format(binary: EngineBinary) -> int:
    """Return the highest format that the binary reads, which is the one that it writes."""
    return format_of(binary.kind, binary.version)


def format_of(kind: Engine, version: tuple[int, ...]) -> int:
    """Return the format that an engine writes at a version, and the highest that it reads."""
    for since, number in _FORMATS.get(kind, ()):
        if version >= since:
            return number
    return 0


def parse_dump_format(header: bytes) -> int:
    """Return the format that the first bytes of a dump name; 0 where they name none."""
    for magic in (b"VALKEY", b"REDIS"):
        digits = header.removeprefix(magic)
        if digits != header and digits.isdigit():
            return int(digits)
    return 0


def can_read(header: bytes, engine: Engine, inventory: Inventory) -> bool:
    """Tell whether something that runs *engine* here reads a dump that begins with *header*."""
    number = parse_dump_format(header)
    kinds = {engine, Engine.VALKEY} if engine is Engine.REDIS else {engine}
    return any(
        binary.kind in kinds and _reads(binary, header, number) for binary in inventory.binaries
    )


def _reads(binary: EngineBinary, header: bytes, number: int) -> bool:
    if binary.kind is Engine.VALKEY and header.startswith(b"REDIS"):
        return 0 < number <= _FOREIGN_MAX
    return 0 < number <= dump_format(binary)


def _held(uid: str, fleet: Fleet) -> int:
    running = fleet.driver.command_line(uid)
    by_process = [
        dump_format(binary)
        for binary in fleet.inventory.binaries
        if running and running[: len(binary.argv)] == binary.argv
    ]
    directory = fleet.driver.directory(uid)
    in_files = [_saved(directory / name) for name in (SAVED_DUMP_FILE, RESTORE_FILE)]
    kept = sealed_dump(uid, fleet)
    if kept is not None:
        in_files.append(parse_dump_format(kept.name.split(".")[1].encode()))
    return max([*by_process, *in_files])


def _saved(path: Path) -> int:
    try:
        with path.open("rb") as dump:
            return parse_dump_format(dump.read(_HEADER_BYTES))
    except OSError:
        return 0


def restore_file(engine: Engine) -> str:
    """Return what the file is called that a new node of this engine is to begin with."""
    return RESTORE_ITEMS_FILE if engine is Engine.MEMCACHED else RESTORE_FILE
