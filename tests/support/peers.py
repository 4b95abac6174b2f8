"""Two cachefleets that are each other's regions, and a global datastore with a member in each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.cluster import RedisCluster

from tests.faults.caches import connected, primary_address
from tests.support.ports import own_network
from tests.support.regions import AWAY
from tests.support.server import Server, available_group, group_of, own_account
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

HERE, THERE = "us-east-1", "eu-west-1"
NODE = "cache.r7g.large"
SECRET = "known to both of the two, and to nobody else"
PORT = 8379

Address = tuple[str, int]


@contextlib.contextmanager
def two_fleets(
    folder: Path, *options: str, server_type: type[Server] = Server, **settings: str
) -> Iterator[tuple[Server, Server]]:
    """Run a cachefleet for each region; each is the other's peer."""
    secret = folder / "peer-secret"
    secret.write_text(SECRET + "\n")
    hosts = {region: own_network().replace(".0/24", ".1") for region in (HERE, THERE)}
    servers = []
    for region, other in ((HERE, THERE), (THERE, HERE)):
        (folder / region).mkdir()
        words = ("--host", hosts[region], "--port", str(PORT), "--log-level", "info", *options)
        servers.append(
            server_type(
                folder / region / "data",
                *words,
                default_region=region,
                peers=f"{other}=http://{hosts[other]}:{PORT}",
                peer_secret_file=str(secret),
                **settings,
            )
        )
    near, far = servers
    with ThreadPoolExecutor(1) as beside, contextlib.ExitStack() as stack:
        started = beside.submit(far.__enter__)
        stack.push(far)
        stack.enter_context(near)
        started.result()
        yield near, far


class Peered:
    """A global datastore of an account of its own, with a member in each of two cachefleets."""

    def __init__(self, near: Server, far: Server, suffix: str, **options: Any) -> None:
        self.account = own_account()
        self.encrypted = bool(options.get("TransitEncryptionEnabled"))
        self.servers = {HERE: near, THERE: far}
        self.names = {HERE: f"{suffix}-near", THERE: f"{suffix}-far"}
        self.name = f"ldgnf-{suffix}"
        self.client(HERE).create_replication_group(
            ReplicationGroupId=self.names[HERE],
            ReplicationGroupDescription="the first",
            CacheNodeType=NODE,
            AtRestEncryptionEnabled=False,
            **({"Engine": "valkey"} | self.first_options(options)),
        )
        available_group(self.client(HERE), self.names[HERE])
        self.client(HERE).create_global_replication_group(
            GlobalReplicationGroupIdSuffix=suffix, PrimaryReplicationGroupId=self.names[HERE]
        )
        self.becomes("primary-only", HERE)

    def first_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what the first member is made of."""
        return {"NumCacheClusters": 1} | options

    def client(self, region: str) -> ElastiCacheClient:
        """Return a client of the region, at the cachefleet that has it."""
        return self.servers[region].client(self.account, region)

    def join(self, **options: Any) -> None:
        """Add the other region, and wait until it follows."""
        self.add(**({"NumCacheClusters": 1} | options))

    def add(self, **options: Any) -> None:
        self.client(THERE).create_replication_group(
            ReplicationGroupId=self.names[THERE],
            ReplicationGroupDescription="the second",
            GlobalReplicationGroupId=self.name,
            **options,
        )
        available_group(self.client(THERE), self.names[THERE])
        for region in (HERE, THERE):
            self.becomes("available", region)

    def shown(self, region: str) -> dict[str, Any]:
        answer = self.client(region).describe_global_replication_groups(
            GlobalReplicationGroupId=self.name, ShowMemberInfo=True
        )
        return dict(answer["GlobalReplicationGroups"][0])

    def becomes(self, status: str, region: str) -> dict[str, Any]:
        return wait_until(
            lambda: self.shown(region),
            lambda row: row["Status"] == status,
            what=f"{self.name} is {status} in {region}",
        )

    def roles(self, region: str) -> dict[str, str]:
        """Return who leads, as *region* tells it."""
        members = self.shown(region)["Members"]
        return {one["ReplicationGroupRegion"]: one["Role"] for one in members}

    def led_from(self, region: str, *, told_in: tuple[str, ...] = (HERE, THERE)) -> None:
        """Wait until everybody says that *region* leads, and nothing is on its way."""
        other = THERE if region == HERE else HERE
        for teller in told_in:
            wait_until(
                lambda teller=teller: (self.shown(teller)["Status"], self.roles(teller)),  # type: ignore[misc]
                lambda found: found == ("available", {region: "PRIMARY", other: "SECONDARY"}),
                what=f"{region} leads {self.name}, as {teller} tells it",
            )

    def fail_over(self, region: str, *, asked_in: str) -> None:
        self.client(asked_in).failover_global_replication_group(
            GlobalReplicationGroupId=self.name,
            PrimaryRegion=region,
            PrimaryReplicationGroupId=self.names[region],
        )

    def address(self, region: str) -> Address:
        return primary_address(self.client(region), self.names[region])

    def secured(self, region: str) -> dict[str, Any]:
        """Return what clients of a region need for encryption in transit, where it has that."""
        if not self.encrypted:
            return {}
        return {"ssl": True, "ssl_ca_certs": str(self.authority(region))}

    def authority(self, region: str) -> Path:
        """Return the file of who vouches for the nodes of a region."""
        return self.servers[region].data_dir / "tls" / "ca.crt"

    def read_at(self, region: str) -> list[dict[str, Any]]:
        """Return from where each shard of a region that follows gets what is new, as recorded."""
        database = sqlite3.connect(self.servers[region].data_dir / "cachefleet.db")
        with contextlib.closing(database):
            rows = database.execute(
                "select upstream, feed from node_groups join replication_groups g "
                "on g.uid = replication_group_uid where g.name = ?",
                (self.names[region],),
            ).fetchall()
        both = [(json.loads(one or "null"), json.loads(fed or "null")) for one, fed in rows]
        return [dict(upstream or feed["outside"]) for upstream, feed in both]

    def role(self, address: Address) -> str:
        with connected(address) as link:
            info: Any = link.info("replication")
            return str(info["role"])


class ShardedPeered(Peered):
    """One in cluster mode, with members of two shards."""

    def __init__(self, near: Server, far: Server, suffix: str, **options: Any) -> None:
        self._endpoints: dict[str, Any] = {}
        shards = {"NumNodeGroups": 2, "ReplicasPerNodeGroup": 0, "AutomaticFailoverEnabled": True}
        super().__init__(near, far, suffix, **(shards | options))

    def first_options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options

    def join(self, **options: Any) -> None:
        self.add(**({"ReplicasPerNodeGroup": 0} | options))
        for region in (HERE, THERE):  # they never change, and have to be known without the server
            self.cluster(region).close()

    def cluster(self, region: str) -> RedisCluster:
        """Return a client that knows nothing of global datastores."""
        if region not in self._endpoints:
            found: Any = group_of(self.client(region), self.names[region])
            self._endpoints[region] = found["ConfigurationEndpoint"]
        endpoint = self._endpoints[region]
        at = endpoint["Address"], endpoint["Port"]
        return RedisCluster(*at, decode_responses=True, **self.secured(region))

    def values(self, region: str, keys: list[str]) -> dict[str, str | None]:
        with self.cluster(region) as client:
            found: Any = client.mget_nonatomic(keys)
            return dict(zip(keys, found, strict=True))

    def arrives(self, region: str, wanted: Mapping[str, str | None]) -> None:
        wait_until(
            lambda: self.values(region, [*wanted]),
            lambda found: found == wanted,
            what=f"everything is in {region}",
            passing=AWAY,
        )

    def slots(self, region: str) -> dict[str, str]:
        """Return the slots of each shard."""
        found: Any = group_of(self.client(region), self.names[region])
        return {shard["NodeGroupId"]: shard["Slots"] for shard in found["NodeGroups"]}


def destroy(server: Server) -> None:
    """End a whole cachefleet at once, with every process it has, as a lost machine does."""
    pids = list(server.node_pids().values())
    server.kill()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
