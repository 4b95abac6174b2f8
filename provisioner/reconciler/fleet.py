"""What every pass needs, in one value: the records, the processes, the engines, the clock."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.engine.feed.control import LinkStatus
from cachefleet.engine.memcached.adapter import MemcachedAdapter
from cachefleet.engine.types import Build, Endpoint, Engine
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.config import hidden_renames
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.destinations.directory import Destinations
from cachefleet.provisioner.drivers.base import Driver, ProcessHandle
from cachefleet.provisioner.reconciler.certificates import Certificates
from cachefleet.provisioner.reconciler.records import SubjectRecord, engine_endpoint
from cachefleet.provisioner.settings import ProvisionerSettings
from cachefleet.provisioner.snapshots.keys import Keys
from cachefleet.provisioner.snapshots.s3 import S3Place, make_bucket_store
from cachefleet.provisioner.snapshots.store import FolderStore, SnapshotStore
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.master_key import MasterKey, ensure_master_key
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import CacheNode

ADMIN_USER = "cachefleet"
MEMCACHED_USER = "cachefleet"  # ours on a stock memcached that asks for a login
LOGS_FOLDER = "logs"
SNAPSHOTS_FOLDER = "snapshots"

SyncEndpoints = Callable[[str | None], Awaitable[None]]


async def no_endpoints(settled: str | None) -> None:
    """Serve nothing: for fleets whose endpoints are all bound by nodes."""


@dataclass(frozen=True, slots=True)
class WatchedNode:
    """What has to be known of a node when nothing is heard of it any more."""

    subject_uid: str
    engine: Engine
    # Where it is asked for a sign of life, if it has no control socket.
    asked_at: Endpoint | None = None


def command_prefix(node: CacheNode) -> str:
    """Return the prefix under which hidden commands are found; it tells nothing of the secret."""
    return hashlib.sha256(f"commands:{node.admin_secret}".encode()).hexdigest()[:16]


class FeedPort(Protocol):
    """Has the shards of secondaries in cluster mode fed."""

    async def sync(self) -> None:
        """Make what is fed agree with the record."""
        ...

    async def status(self) -> dict[str, LinkStatus]:
        """Return what each link is at, by token; empty where nothing answers."""
        ...


class NoFeeds:
    """Feeds nothing: for fleets without global datastores."""

    async def sync(self) -> None:
        return

    async def status(self) -> dict[str, LinkStatus]:
        return {}


class PeerPort(Protocol):
    """Knows the cachefleets that have other regions of global datastores."""

    def is_away(self, fleet: str) -> bool:
        """Tell whether a cachefleet, by its id, has not answered for a while."""
        ...

    async def poke(self, region: str) -> None:
        """Tell the cachefleet of *region* that there is something to hear."""
        ...


class NoPeers:
    """Knows nobody: for fleets whose regions are all their own."""

    def is_away(self, fleet: str) -> bool:
        return True

    async def poke(self, region: str) -> None:
        return


class AdmissionRules(Protocol):
    """Says from where each cache may be reached."""

    async def admitted(self, tx: Transaction) -> dict[str, tuple[str, ...]]:
        """Return the networks that are let in, by the uid of the subject."""
        ...

    def forget(self) -> None:
        """Take note that what was last returned may not have arrived."""
        ...


@dataclass(kw_only=True)
class Fleet:
    """The dependencies of a pass. ``holder`` is this provisioner's name on leases."""

    store: Store
    driver: Driver
    inventory: Inventory
    catalog: Catalog
    clock: Clock
    settings: ProvisionerSettings
    holder: str
    # Makes the gateway agree with the record; called with a subject that has just settled.
    sync_endpoints: SyncEndpoints = field(default=no_endpoints)
    feeds: FeedPort = field(default_factory=NoFeeds)
    peers: PeerPort = field(default_factory=NoPeers)
    # Set where security groups are enforced: all clients come through the gateway then.
    security_groups: AdmissionRules | None = None
    # The nodes that serve as far as we know: whose silence or end is news.
    watched: dict[str, WatchedNode] = field(default_factory=dict)
    # Replicas, as they were at the last look, without those that were promoted since.
    replicas: set[str] = field(default_factory=set)
    # Replicas that lag or load: clients of the reader endpoint are kept from them.
    unfit_readers: set[str] = field(default_factory=set)
    # Nodes that an injected fault keeps from starting, and those that it cuts off from us as well.
    held_down: set[str] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)
    # Until when (monotonic) each of our leases may be acted under; the loop keeps it.
    trusted_until_s: dict[str, float] = field(default_factory=dict)
    # Processes that a pass is ending itself: their exits are no news.
    ending: set[str] = field(default_factory=set)
    # Which authorities each engine trusts (Certificates.trust_stamp), and what each process says
    # that it is: known for as long as it runs.
    trusts: dict[str, int] = field(default_factory=dict)
    builds: dict[str, tuple[ProcessHandle, Build]] = field(default_factory=dict)
    # Where logs are delivered.
    destinations: Destinations = field(init=False)
    _rights: dict[str, asyncio.Lock] = field(default_factory=dict)
    _valkey: dict[str, ValkeyAdapter] = field(default_factory=dict)
    _memcached: dict[str, MemcachedAdapter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.destinations = Destinations(
            endpoint=self.settings.log_endpoint, folder=self.settings.data_dir / LOGS_FOLDER
        )

    @contextlib.asynccontextmanager
    async def giving_rights(self, subject_uid: str) -> AsyncIterator[None]:
        """Be the only one, while the block lasts, who gives users of a subject their rights."""
        lock = self._rights.setdefault(subject_uid, asyncio.Lock())
        async with lock:
            yield

    @functools.cached_property
    def certificates(self) -> Certificates:
        """Return the local authority of this fleet, and what it has issued."""
        return Certificates(self.settings.data_dir, self.clock)

    def binds_endpoints(self, record: SubjectRecord) -> bool:
        """Tell whether nodes bind this subject's endpoints; otherwise the gateway has them."""
        return self.settings.endpoints_are_bound and not record.fronted

    @functools.cached_property
    def snapshots(self) -> SnapshotStore:
        """Return where snapshots are kept."""
        told = self.settings.snapshot_store
        if told is not None and told.startswith("s3://"):
            return make_bucket_store(told, self.s3(self.settings.region))
        return FolderStore(Path(told) if told else self.settings.data_dir / SNAPSHOTS_FOLDER)

    @functools.cached_property
    def master_key(self) -> MasterKey:
        """Return the key that small secrets are sealed with.

        Raises:
            UnusableMasterKey: it can neither be read nor made.
        """
        return ensure_master_key(self.settings.master_key_path)

    @functools.cached_property
    def keys(self) -> Keys:
        """Return what makes and unwraps the keys of encrypted files."""
        return Keys(
            master_key=self.settings.master_key_path,
            kms_endpoint_url=self.settings.kms_endpoint_url,
            region=self.settings.region,
        )

    def s3(self, region: str) -> S3Place:
        """Return where customers' buckets of a region are."""
        return S3Place(self.settings.s3_endpoint_url, region)

    @property
    def stock_memcached(self) -> bool:
        """Tell whether memcached nodes are stock ones, which have no control socket."""
        return self.inventory.memcached_flavor == "stock"

    def valkey(self, node: CacheNode) -> ValkeyAdapter:
        """Return the adapter of a Valkey or Redis node; it connects at first use."""
        adapter = self._valkey.get(node.uid)
        if adapter is None:
            adapter = ValkeyAdapter(
                unix_socket=str(self.driver.socket_path(node.uid)),
                endpoint=None,
                username=ADMIN_USER,
                password=node.admin_secret,
                timeout_s=self.settings.command_timeout_s,
                renamed_commands=hidden_renames(command_prefix(node)),
            )
            self._valkey[node.uid] = adapter
        return adapter

    def memcached(self, node: CacheNode) -> MemcachedAdapter:
        """Return the adapter of a memcached node."""
        adapter = self._memcached.get(node.uid)
        if adapter is None:
            adapter = self.new_memcached(node, timeout_s=self.settings.command_timeout_s)
            self._memcached[node.uid] = adapter
        return adapter

    def new_memcached(self, node: CacheNode, *, timeout_s: float) -> MemcachedAdapter:
        """Return an adapter of a memcached node that is the caller's own, to close."""
        control = None if self.stock_memcached else str(self.driver.socket_path(node.uid))
        return MemcachedAdapter(
            unix_socket=control,
            endpoint=engine_endpoint(node),
            login=(MEMCACHED_USER, node.admin_secret),
            timeout_s=timeout_s,
        )

    def watch(self, node: CacheNode, record: SubjectRecord) -> None:
        """Have the node's end or silence noticed from now on."""
        stock = record.engine is Engine.MEMCACHED and self.stock_memcached
        self.watched[node.uid] = WatchedNode(
            record.lease.subject_uid, record.engine, engine_endpoint(node) if stock else None
        )

    def require_trusted(self, lease: Lease) -> None:
        """Make sure, without asking the database, that nobody else can hold the lease by now.

        A control plane that was frozen, or cut off from its database, wakes up in the middle of
        something: it must not go on with it.

        Raises:
            Stale: it was renewed too long ago.
        """
        until_s = self.trusted_until_s.get(lease.subject_uid)
        if until_s is not None and self.clock.monotonic_s() >= until_s:
            raise Stale(f"the lease of subject {lease.subject_uid} is too old to act under")

    @contextlib.contextmanager
    def ending_node(self, uid: str) -> Iterator[None]:
        """Mark a node's end as our own doing while the block lasts, however that ends.

        A mark that stayed would hide the end of the node's next process from everybody.
        """
        self.ending.add(uid)
        try:
            yield
        finally:
            self.ending.discard(uid)

    def effective_parameters(self, record: SubjectRecord) -> dict[str, str]:
        """Return every parameter of the subject's family with the value that is in force."""
        family = self.catalog.family_of(record.engine, record.settings.engine_version)
        return self.catalog.resolve_parameters(
            family,
            record.user_parameters,
            record.settings.node_type,
            cluster_enabled=record.cluster_enabled,
        )

    async def forget(self, uid: str) -> None:
        """Close what is open to a node whose process is gone."""
        self.trusts.pop(uid, None)
        self.builds.pop(uid, None)
        for adapter in (self._valkey.pop(uid, None), self._memcached.pop(uid, None)):
            if adapter is not None:
                await adapter.aclose()

    async def aclose(self) -> None:
        """Close all connections to engines."""
        for uid in [*self._valkey, *self._memcached]:
            await self.forget(uid)
        self.destinations.close()
