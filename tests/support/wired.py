"""Two front-ends with records of their own that are each other's peers, without a socket."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from sqlalchemy import delete, select

from cachefleet.api.app import create_app
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.engine.valkey.cluster import even_slots, format_slots
from cachefleet.provisioner.drivers.fake import FakeDriver
from cachefleet.provisioner.maintenance.peers import PeerWatch
from cachefleet.provisioner.peering.client import PeerAway, Peers
from cachefleet.provisioner.peering.seal import Seal
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.settings import ProvisionerSettings
from cachefleet.provisioner.state import global_groups, ids
from cachefleet.provisioner.state.addresses import PortsPool
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import (
    Base,
    EndpointAddress,
    NodeGroup,
    ReplicationGroup,
)
from cachefleet.provisioner.state.tables import Fleet as FleetRow
from tests.builders import groups as build
from tests.support.api import Api, empty_database
from tests.unit.api.driver import SteppedClock, quiet_settings, send

HERE, THERE = "us-east-1", "eu-west-1"
SECRET = b"known to both of the two"
DOOR = "/v1/peers"
NAME, OF = "ldgnf-shared", {"GlobalReplicationGroupId": "ldgnf-shared"}
FIT = "cache.r7g.large"


class WiredPeers(Peers):
    """Speaks to applications in this process; one that is not there does not answer."""

    def __init__(self, region: str, clock: SteppedClock, *, secret: bytes = SECRET) -> None:
        super().__init__({region: f"http://{region}"}, secret=secret, clock=clock)
        self._clock, self._secret = clock, secret
        self.apps: dict[str, FastAPI] = {}
        self.answers: list[tuple[int, bytes]] = []  # given before anybody is asked

    def begin_anew(self) -> None:
        """Forget which questions were taken."""
        self.seal = Seal(self._secret, now_s=lambda: self._clock.now().timestamp())

    async def send(self, endpoint: str, body: bytes, *, timeout_s: float) -> tuple[int, bytes]:
        if self.answers:
            return self.answers.pop()
        app = self.apps.get(endpoint.removeprefix("http://"))
        if app is None:
            raise PeerAway(f"{endpoint} does not answer: NewConnectionError")
        answer = await send(app, path=DOOR, headers={"content-type": "application/json"}, body=body)
        return answer.status, answer.body


class Side:
    """One of the two: an application, its records, and what asks the other one."""

    def __init__(self, region: str, api: Api, peers: WiredPeers, folder: Path) -> None:
        self.region = region
        self.api = api
        self.peers = peers
        self.fleet = Fleet(
            store=api.store,
            driver=FakeDriver(folder),
            inventory=Inventory(binaries=()),
            catalog=api.catalog,
            clock=cast(Any, api.clock),
            settings=ProvisionerSettings(
                data_dir=folder, pool=PortsPool("127.0.0.1", 20000, 20010)
            ),
            holder="us",
        )
        self.watch = PeerWatch(self.fleet, peers)
        self.fleet.peers = self.watch

    async def begin_anew(self) -> None:
        """Forget everything but who this is."""
        self.peers.answers.clear()
        self.peers.begin_anew()
        async with self.api.store.begin(Scope("", "")) as tx:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name != FleetRow.__tablename__:
                    await tx.session.execute(delete(table))
        self.watch = PeerWatch(self.fleet, self.peers)
        self.fleet.peers = self.watch

    @property
    def scope(self) -> Scope:
        return Scope("000000000000", self.region)


Two = tuple[Side, Side]


@contextlib.asynccontextmanager
async def two_sides(folder: Path) -> AsyncIterator[Two]:
    """Give two cachefleets, without provisioners."""
    clock, catalog = SteppedClock(), Catalog.load()
    sides: list[Side] = []
    async with contextlib.AsyncExitStack() as stack:
        for region, other in ((HERE, THERE), (THERE, HERE)):
            path = folder / f"{region}.db"
            path.write_bytes(empty_database())
            store = Store.open(f"sqlite:///{path}", clock=clock)
            stack.push_async_callback(store.aclose)
            peers = WiredPeers(other, clock)
            async with store.begin(Scope("", "")) as tx:
                tx.session.add(FleetRow(fleet_id=f"fleet-{region}", created_at=tx.now))
            app = create_app(
                store=store,
                settings=quiet_settings(default_region=region),
                catalog=catalog,
                clock=clock,
                peers=peers,
            )
            sides.append(Side(region, Api(app, store, clock, catalog), peers, folder))
        near, far = sides
        near.peers.apps[THERE], far.peers.apps[HERE] = far.api.app, near.api.app
        yield near, far


def sealed(peers: WiredPeers, **question: Any) -> bytes:
    """Return a question as it is sent."""
    assert peers.seal is not None
    return json.dumps({"sealed": peers.seal.close(question)}).encode()


async def leading(side: Side, **columns: Any) -> None:
    """Write a global datastore down that this side leads, with its endpoint."""
    async with side.api.store.begin(side.scope) as tx:
        group = await build.replication_group(
            tx, "near", node_type=FIT, engine="valkey", engine_version="8.0.1",
            parameter_group_name="default.valkey8", **columns,
        )  # fmt: skip
        tx.session.add(
            EndpointAddress(kind="primary", subject_uid=group.uid, host="127.0.1.1", port=6379)
        )
    await side.api(
        "CreateGlobalReplicationGroup",
        GlobalReplicationGroupIdSuffix="shared",
        PrimaryReplicationGroupId="near",
    )
    await rest(side)


async def leading_shards(side: Side, *, count: int = 2) -> None:
    """The same in cluster mode."""
    await leading(side)
    async with side.api.store.begin(side.scope) as tx:
        group = await tx.get(ReplicationGroup, "near")
        group.cluster_mode = "enabled"
        await give_shards(tx, group, count=count, hosts="127.0.1")


async def give_shards(tx: Transaction, group: ReplicationGroup, *, count: int, hosts: str) -> None:
    """Have a group have *count* shards, each with a primary that has an address."""
    shards = sorted(group.node_groups, key=lambda one: one.node_group_id)
    for number in range(len(shards) + 1, count + 1):
        shard = NodeGroup(
            uid=ids.new_uid(),
            replication_group_uid=group.uid,
            node_group_id=f"{number:04}",
            status="available",
            engine_shard_id=ids.new_engine_id(),
        )
        tx.session.add(shard)
        await tx.session.flush()
        await build.cache_cluster(
            tx,
            f"{group.name}-{number:04}-001",
            group=group,
            node_group=shard,
            **{name: getattr(group, name) for name in ("engine", "engine_version", "node_type")},
        )
    await tx.session.flush()
    name = group.name
    tx.session.expire_all()
    fresh = await tx.get(ReplicationGroup, name)
    for number, (shard, slots) in enumerate(
        zip(fresh.node_groups, even_slots(count), strict=True), start=1
    ):
        shard.slots = format_slots([slots])
        for place, node in enumerate(shard.nodes):
            node.role = "replica" if place else "primary"
            node.host, node.port = f"{hosts}.{10 * number + place}", 6379


async def rest(side: Side) -> None:
    """Have everything done that is on its way, as a provisioner does."""
    async with side.api.store.begin(side.scope) as tx:
        for group in (await tx.session.scalars(select(ReplicationGroup))).unique():
            group.status = "available"
        for row in (await tx.session.scalars(select(GlobalGroup))).all():
            if global_groups.primary_of(row).fleet is None:
                row.status = "primary-only" if len(row.members) == 1 else "available"
                row.pending = {}
                for member in row.members:
                    member.status = "associated"


async def joined_shards(near: Side, far: Side, *, count: int = 2) -> None:
    """Have both sides be members in cluster mode, at rest."""
    await leading_shards(near, count=count)
    await far.api("CreateReplicationGroup", **joining(ReplicasPerNodeGroup=0, shards=True))
    async with far.api.store.begin(far.scope) as tx:
        group = await tx.get(ReplicationGroup, "far")
        for number, shard in enumerate(group.node_groups, start=1):
            for node in shard.nodes:
                node.status, node.host, node.port = "available", f"127.0.2.{number}0", 6379
    await _at_rest(near, far)


async def joined(near: Side, far: Side) -> None:
    """Have both sides be members, at rest."""
    await leading(near)
    await far.api("CreateReplicationGroup", **joining())
    async with far.api.store.begin(far.scope) as tx:
        group = await tx.get(ReplicationGroup, "far")
        tx.session.add(
            EndpointAddress(kind="primary", subject_uid=group.uid, host="127.0.2.1", port=6379)
        )
    await _at_rest(near, far)


async def _at_rest(near: Side, far: Side) -> None:
    await rest(far)
    await near.watch.look()
    await rest(near)
    await far.watch.look()


def joining(name: str = "far", *, shards: bool = False, **params: Any) -> dict[str, Any]:
    return {
        "ReplicationGroupId": name,
        "ReplicationGroupDescription": "follows",
        **({} if shards else {"NumCacheClusters": 1}),
        **OF,
        **params,
    }
