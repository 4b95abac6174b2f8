"""The values the engine layer speaks in: frozen, comparable, free of any library.

They carry what was seen or what is wanted; they refuse nothing and do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Engine(StrEnum):
    """The engines that a customer can ask for."""

    VALKEY = "valkey"
    REDIS = "redis"
    MEMCACHED = "memcached"


class NodeRole(StrEnum):
    """Which side of replication a node is on."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Whom the primary of a shard follows itself, where it does.

    An *outside* one is not of this fleet: it knows neither our credentials nor our addresses. An
    *awaited* one has to be in sync before the shard counts as made.
    """

    endpoint: Endpoint
    outside: bool = False
    awaited: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaLink:
    """One replica as its primary sees it; *state* is ``online`` once it is in sync."""

    endpoint: Endpoint
    offset: int
    state: str
    lag_s: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicationView:
    """A node's own account of its replication."""

    role: NodeRole
    offset: int
    replid: str
    primary: Endpoint | None
    link_up: bool
    sync_in_progress: bool
    loading: bool
    replicas: tuple[ReplicaLink, ...]
    failover_state: str


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class SlotRange:
    """Hash slots *first* to *last*, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterNodeView:
    """One line of ``CLUSTER NODES``: a node as the node that was asked sees it.

    *migrating* and *importing* pair a slot with the id of the node at the other end.
    """

    id: str
    endpoint: Endpoint
    flags: frozenset[str]
    role: NodeRole
    primary_id: str | None
    link_up: bool
    slots: tuple[SlotRange, ...]
    myself: bool
    epoch: int = 0
    bus_port: int | None = None
    hostname: str | None = None
    migrating: tuple[tuple[int, str], ...] = ()
    importing: tuple[tuple[int, str], ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the cluster has agreed that the node is down."""
        return "fail" in self.flags


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterInfoView:
    """``CLUSTER INFO`` of one node; *state* is ``ok`` or ``fail``."""

    state: str
    slots_assigned: int
    slots_ok: int
    known_nodes: int
    size: int
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotMigrationView:
    """One atomic slot migration as a node reports it (Valkey 9)."""

    name: str
    operation: str
    slots: tuple[SlotRange, ...]
    source_id: str
    target_id: str
    state: str
    message: str

    @property
    def runs(self) -> bool:
        """Whether it has yet to come to an end."""
        return self.state not in ("success", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What a program is, by its own account: *build* tells builds of one version apart.

    An empty *build* is one that the program does not tell.
    """

    kind: Engine
    version: tuple[int, ...]
    build: str = ""

    def __str__(self) -> str:
        told = f" build {self.build}" if self.build else ""
        return f"{self.kind.value} {'.'.join(map(str, self.version))}{told}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineBinary:
    """Something that can run an engine: *argv* starts it, arguments follow.

    *source* says where it was found (``wheel``, ``path``, ``settings``, ``bundled``).
    *directives* are the configuration names that the binary itself listed; empty where it
    was not asked, and then the version decides. *commands* are the commands it listed, likewise.
    *guard* is the module that it was tried with, and loaded (``valkey/guard.py``).
    """

    kind: Engine
    argv: tuple[str, ...]
    version: tuple[int, ...]
    tls: bool
    source: str
    detail: str
    directives: frozenset[str] = field(default=frozenset(), repr=False)
    commands: frozenset[str] = field(default=frozenset(), repr=False)
    write_commands: frozenset[str] = field(default=frozenset(), repr=False)
    guard: str | None = None
    build: str = ""

    @property
    def identity(self) -> Build:
        """What a process says of itself that runs this."""
        return Build(kind=self.kind, version=self.version, build=self.build)

    @property
    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))
