"""Whether records, processes, directories and listeners agree: the fleet's one invariant.

Looks from outside, past all of cachefleet's own code: the database by SQL, processes by their
working directory, endpoints by connecting to them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.server import Server
from tests.support.waiting import wait_until

GATEWAY = "gateway"
OF_THE_FLEET = {GATEWAY, "feed"}  # processes that are no nodes
CONNECT_TIMEOUT_S = 2.0  # it is asked again
SETTLED_TIMEOUT_S = 60.0
RESTING = frozenset({"available"})
ORPHANS = {
    "endpoint_addresses": "subject_uid NOT IN (SELECT uid FROM subjects)",
    "cache_nodes": "subject_uid NOT IN (SELECT uid FROM subjects)",
    "node_groups": "replication_group_uid NOT IN (SELECT uid FROM replication_groups)",
    "subjects": "kind <> 'access' AND uid NOT IN (SELECT uid FROM cache_clusters)"
    " AND uid NOT IN (SELECT uid FROM replication_groups)"
    " AND uid NOT IN (SELECT uid FROM serverless_caches)"
    " AND uid NOT IN (SELECT uid FROM global_groups)"
    " AND uid NOT IN (SELECT uid FROM snapshots)",
    "serverless_caches": "backing_uid NOT IN (SELECT uid FROM replication_groups)"
    " AND backing_uid NOT IN (SELECT uid FROM cache_clusters)",
    "restores": "subject_uid NOT IN (SELECT uid FROM subjects)",
}


@dataclass(frozen=True)
class Audit:
    """What was found. Processes and directories are those of nodes, by the node's uid."""

    nodes: dict[str, str]  # uid -> status
    processes: dict[str, list[int]]
    directories: set[str]
    sockets: set[str]
    snapshots: set[str]
    snapshot_folders: set[str]
    open_operations: list[tuple[str, str]]  # (kind, progress)
    unsettled: list[str]  # resources that are on their way, with their status
    addresses: list[tuple[str, str, int]]  # (kind, host, port)
    orphans: list[str]  # rows that belong to nothing

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way."""
        return not self.open_operations and not self.unsettled

    @property
    def disagreements(self) -> list[str]:
        """Return in words what does not agree; nothing, where the fleet is as it should be."""
        found = []
        for name, seen in (("process", set(self.processes)), ("directory", self.directories)):
            found += [f"no {name} of node {uid}" for uid in sorted(set(self.nodes) - seen)]
            found += [f"a {name} without node {uid}" for uid in sorted(seen - set(self.nodes))]
        strange = self.snapshot_folders - self.snapshots
        found += [f"files without snapshot {uid}" for uid in sorted(strange)]
        for uid, pids in self.processes.items():
            if len(pids) > 1:
                found.append(f"node {uid} runs {len(pids)} times")
        found += [f"a socket without node {uid}" for uid in sorted(self.sockets - set(self.nodes))]
        return found + self.orphans


def audit(server: Server, *, resting: Collection[str] = RESTING) -> Audit:
    """Look at a server's fleet as it is now; caches in a *resting* status are not on their way."""
    with _database(server) as rows:
        nodes = dict(rows("SELECT uid, status FROM cache_nodes"))
        snapshots = {uid for (uid,) in rows("SELECT uid FROM snapshots")}
        operations = rows(
            "SELECT kind, progress FROM operations WHERE state IN ('queued', 'running')"
        )
        unsettled = [
            f"{name} is {status}"
            for table in ("cache_clusters", "replication_groups", "serverless_caches")
            for name, status in rows(f"SELECT name, status FROM {table}")
            if status not in resting
        ]
        unsettled += [
            f"node {member} is {status}{' and recovers' if recovering else ''}"
            for member, status, recovering in rows(
                "SELECT member_name, status, recovering FROM cache_nodes"
            )
            if status != "available" or recovering
        ]
        addresses = [
            (str(kind), str(host), int(port))
            for kind, host, port in rows("SELECT kind, host, port FROM endpoint_addresses")
        ]
        orphans = [
            f"a row of {table} belongs to nothing: {row}"
            for table, condition in ORPHANS.items()
            for row in rows(f"SELECT * FROM {table} WHERE {condition}")
        ]
    return Audit(
        nodes=nodes,
        processes=node_processes(server.data_dir),
        directories=(_names(server.data_dir / "nodes") - OF_THE_FLEET)
        | (_names(memory_folder(server.data_dir)) - {"scratch"}),
        sockets=_names(server.data_dir / "sockets") - OF_THE_FLEET - {f"{GATEWAY}.lock"},
        snapshots=snapshots,
        snapshot_folders=_names(server.data_dir / "snapshots"),
        open_operations=operations,
        unsettled=unsettled,
        addresses=addresses,
        orphans=orphans,
    )


def require_agreement(
    server: Server,
    *,
    timeout_s: float = SETTLED_TIMEOUT_S,
    resting: Collection[str] = RESTING,
) -> Audit:
    """Wait until nothing is on its way and everything agrees; then every endpoint takes clients."""
    seen = wait_until(
        lambda: audit(server, resting=resting),
        lambda seen: seen.settled and not seen.disagreements,
        what="records, processes and directories agree",
        timeout_s=timeout_s,
    )
    for kind, host, port in seen.addresses:
        if kind not in ("bus", "engine", "replication"):
            wait_until(
                functools.partial(_takes_clients, host, port),
                what=f"the {kind} address {host}:{port} takes clients",
                passing=(OSError,),
            )
    return seen


def _takes_clients(host: str, port: int) -> bool:
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S):
        return True


def node_processes(data_dir: Path) -> dict[str, list[int]]:
    """Return the processes of nodes, by uid. What an engine forks for a while is no node."""
    places = {(data_dir / "nodes").resolve(), memory_folder(data_dir)}
    found: dict[str, list[int]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            where = Path(process.cwd())
            dead = process.status() == psutil.STATUS_ZOMBIE
            if where.parent in places and not dead and os.getsid(process.pid) == process.pid:
                found.setdefault(where.name, []).append(process.pid)
    return {uid: pids for uid, pids in found.items() if uid not in OF_THE_FLEET}


def memory_folder(data_dir: Path) -> Path:
    """Return where the directories of nodes lie that are encrypted at rest."""
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path(f"/dev/shm/cachefleet-{os.getuid()}-{digest}")


def gateway_pid(server: Server) -> int:
    """Return the pid of the server's gateway."""
    note = server.data_dir / "nodes" / GATEWAY / "pid"
    return int(note.read_text().split()[0])


def events(server: Server, source: str) -> list[str]:
    """Return what DescribeEvents shows of a resource, oldest first."""
    with _database(server) as rows:
        found = rows("SELECT message FROM events WHERE source_identifier = ? ORDER BY id", source)
    return [message for (message,) in found]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@contextlib.contextmanager
def _database(server: Server) -> Iterator[Any]:
    connection = sqlite3.connect(f"file:{server.data_dir / 'cachefleet.db'}?mode=ro", uri=True)
    try:
        connection.execute("BEGIN")  # all answers are of one state
        yield lambda query, *values: connection.execute(query, values).fetchall()
    finally:
        connection.close()
