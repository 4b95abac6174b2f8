"""Two cachefleets that are each other's regions, and a global datastore with a member in each."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.caches import connected, primary_address
from tests.support.ports import own_network
from tests.support.server import Server, available_group, own_account
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
        self.servers = {HERE: near, THERE: far}
        self.names = {HERE: f"{suffix}-near", THERE: f"{suffix}-far"}
        self.name = f"ldgnf-{suffix}"
        self.client(HERE).create_replication_group(
            ReplicationGroupId=self.names[HERE],
            ReplicationGroupDescription="the first",
            Engine="valkey",
            CacheNodeType=NODE,
            AtRestEncryptionEnabled=False,
            **({"NumCacheClusters": 1} | options),
        )
        available_group(self.client(HERE), self.names[HERE])
        self.client(HERE).create_global_replication_group(
            GlobalReplicationGroupIdSuffix=suffix, PrimaryReplicationGroupId=self.names[HERE]
        )
        self.becomes("primary-only", HERE)

    def client(self, region: str) -> ElastiCacheClient:
        """Return a client of the region, at the cachefleet that has it."""
        return self.servers[region].client(self.account, region)

    def join(self, **options: Any) -> None:
        self.client(THERE).create_replication_group(
            ReplicationGroupId=self.names[THERE],
            ReplicationGroupDescription="the second",
            GlobalReplicationGroupId=self.name,
            **({"NumCacheClusters": 1} | options),
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

    def role(self, address: Address) -> str:
        with connected(address) as link:
            info: Any = link.info("replication")
            return str(info["role"])


def destroy(server: Server) -> None:
    """End a whole cachefleet at once, with every process it has, as a lost machine does."""
    pids = list(server.node_pids().values())
    server.kill()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
