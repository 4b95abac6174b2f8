"""Makes RDB files for the shards of a cluster out of others: each key goes to its slot's shard.

    python -m cachefleet.engine.rdb.split PLAN

Runs in a process of its own, because it is pure computing for seconds: the control plane must go
on hearing of nodes. A plan is JSON: ``sources`` are paths, ``targets`` have ``path`` and ``slots``.
What it says on standard output is JSON too, a line for some megabytes read and one at the end.

Records are passed on byte for byte. Where sources may have the same key, what the last of them has
is the key's value: so they are read from the last to the first, after a look at all keys. The files
have no checksum (eight zero bytes, which engines take for "not computed"): they are made for one
start of one node, and never kept.
"""

from __future__ import annotations

import binascii
import json
import mmap
import os
import sys
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cachefleet.engine.rdb.reader import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    OP_EOF,
    OP_SELECTDB,
    Entry,
    Extra,
    Header,
    NotAnRdb,
    parse_header,
    walk,
)
from cachefleet.engine.valkey.cluster import SLOT_COUNT, parse_slots

WRITE_BUFFER_BYTES = 1 << 20
REPORT_EVERY_BYTES = 16 << 20
NICE = 5  # engines that serve go first
# The others say where a copy stands in its primary's stream: true of the whole data set only.
_AUX_KEPT = frozenset({"valkey-ver", "redis-ver", "redis-bits", "ctime", "used-mem"})

OnProgress = Callable[[int], None]  # bytes of the sources that have been read


class OutsideDatabaseZero(NotAnRdb):
    """A key is in a database that a cluster does not have."""


@dataclass(frozen=True, slots=True)
class Target:
    """A file to be made, and the slots of its keys (``0-5460``)."""

    path: Path
    slots: str


def key_slot(key: bytes) -> int:
    """Return the hash slot of a key: of what is between its first braces, where there is any."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOT_COUNT


def split(
    sources: Sequence[Path],
    targets: Sequence[Target],
    *,
    on_progress: OnProgress,
    overlap: bool = True,
) -> list[int]:
    """Write *targets* from *sources*; return how many keys went to each.

    Without *overlap* no two sources have the same key, and nobody looks whether they have.

    Raises:
        NotAnRdb: a source is broken, or has keys that a cluster cannot hold.
        OSError: a file cannot be read or written.
    """
    owners = _owners(targets)
    counts = [0] * len(targets)
    overlap = overlap and len(sources) > 1
    later = _Later(sources) if overlap else None
    header = _newest([_header(source) for source in sources])
    with ExitStack() as stack:
        files = [
            stack.enter_context(target.path.open("wb", buffering=WRITE_BUFFER_BYTES))
            for target in targets
        ]
        for file in files:
            file.write(header)
        done = 0
        with_functions = False
        for source in reversed(sources):
            size = source.stat().st_size
            with (
                source.open("rb") as opened,
                mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
            ):
                seen = _pass_on(
                    data, files, owners, counts,
                    functions=not with_functions,
                    later=later,
                    on_progress=lambda position, base=done: on_progress(base + position),  # type: ignore[misc]
                )  # fmt: skip
            with_functions = with_functions or seen
            done += size
        for file in files:
            file.write(bytes([OP_EOF]) + bytes(CHECKSUM_BYTES))
    on_progress(done)
    return counts


class _Later:
    """Knows which keys a later source has had. Reads all keys once, to remember few of them.

    A bit a hash tells which keys may come twice; only those are kept as they are.
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        self._suspects: set[bytes] = set()
        self._had: set[bytes] = set()
        seen = bytearray((sum(source.stat().st_size for source in sources) >> 3) + 1)
        bits = len(seen) * 8
        for source in sources:
            with (
                source.open("rb") as opened,
                mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
            ):
                for record in walk(data):
                    if not isinstance(record, Entry):
                        continue
                    place, bit = divmod(hash(record.key) % bits, 8)
                    if seen[place] >> bit & 1:
                        self._suspects.add(record.key)
                    else:
                        seen[place] |= 1 << bit

    def has(self, key: bytes) -> bool:
        """Tell whether *key* was asked for before; sources are asked for from the last on."""
        if key not in self._suspects:
            return False
        if key in self._had:
            return True
        self._had.add(key)
        return False


def _pass_on(
    data: Any,
    files: Sequence[BinaryIO],
    owners: array[int],
    counts: list[int],
    *,
    functions: bool,
    later: _Later | None,
    on_progress: OnProgress,
) -> bool:
    """Write each record of one source where it belongs; tell whether it had functions."""
    next_report = REPORT_EVERY_BYTES
    had_functions, began = False, False
    crc, find_brace = binascii.crc_hqx, b"{"
    for record in walk(data):
        if isinstance(record, Entry):
            if record.database:
                raise OutsideDatabaseZero(
                    f"a key is in database {record.database}, and a cluster has database 0 alone"
                )
            if not began:
                began = True
                for file in files:
                    file.write(bytes([OP_SELECTDB, 0]))
            key = record.key
            if later is not None and later.has(key):
                continue
            slot = key_slot(key) if find_brace in key else crc(key, 0) % SLOT_COUNT
            owner = owners[slot]
            files[owner].write(data[record.start : record.end])
            counts[owner] += 1
            if record.end >= next_report:
                on_progress(record.end)
                next_report = record.end + REPORT_EVERY_BYTES
        elif record.kind == "function":
            had_functions = True
            if functions:  # every shard of a cluster has the same ones
                for file in files:
                    file.write(data[record.start : record.end])
        elif not began and _is_kept(record):
            for file in files:
                file.write(data[record.start : record.end])
    return had_functions


def _is_kept(record: Extra) -> bool:
    """Tell whether what stands before the keys is true of a part of them as well."""
    return record.kind == "module" or (record.kind == "aux" and record.name in _AUX_KEPT)


def _owners(targets: Sequence[Target]) -> array[int]:
    owners = array("i", [-1]) * SLOT_COUNT
    for number, target in enumerate(targets):
        for piece in parse_slots(target.slots):
            for slot in range(piece.first, piece.last + 1):
                owners[slot] = number
    assert min(owners) >= 0, "every slot has a shard"
    return owners


def _header(path: Path) -> tuple[Header, bytes]:
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    return parse_header(head), head


def _newest(headers: Sequence[tuple[Header, bytes]]) -> bytes:
    """Return the header of the newest source: whoever reads it reads the others too."""
    return max(headers, key=lambda pair: (pair[0].magic == "VALKEY", pair[0].version))[1]


def main(argv: Sequence[str]) -> int:
    """Carry out a plan; 0 where it worked, 1 with a reason where it did not."""
    plan = json.loads(Path(argv[0]).read_text())

    def tell(**what: object) -> None:
        print(json.dumps(what), flush=True)

    try:
        counts = split(
            [Path(path) for path in plan["sources"]],
            [Target(Path(entry["path"]), entry["slots"]) for entry in plan["targets"]],
            on_progress=lambda count: tell(read=count),
            overlap=bool(plan.get("overlap", True)),
        )
    except NotAnRdb as error:
        tell(refused=str(error))
        return 1
    except OSError as error:
        tell(failed=error.strerror or str(error))
        return 1
    tell(keys=counts)
    return 0


if __name__ == "__main__":
    os.nice(NICE)
    sys.exit(main(sys.argv[1:]))
