"""Global datastores with two regions, and clients that know nothing of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException

from tests.support.server import Server, available_group, group_of, own_account
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

HERE, THERE = "us-east-1", "eu-west-1"
NODE = "cache.r7g.large"
AWAY = (redis.RedisError, RedisClusterException, OSError)


class Pair:
    """A global datastore with two members: ``near`` here, and ``far`` there once it joins."""

    def __init__(self, server: Server, suffix: str, **options: Any) -> None:
        self._account = own_account()
        self._clients: dict[tuple[str, str], ElastiCacheClient] = {}
        self.server = server
        # Names of members are found in the records of all accounts: each test has its own.
        self.near_name, self.far_name = f"{suffix}-near", f"{suffix}-far"
        self.name = f"ldgnf-{suffix}"
        self.near.create_replication_group(
            ReplicationGroupId=self.near_name,
            ReplicationGroupDescription="the first",
            Engine="valkey",
            CacheNodeType=NODE,
            AutomaticFailoverEnabled=True,
            AtRestEncryptionEnabled=False,
            **options,
        )
        available_group(self.near, self.near_name)
        answer = self.near.create_global_replication_group(
            GlobalReplicationGroupIdSuffix=suffix, PrimaryReplicationGroupId=self.near_name
        )
        assert answer["GlobalReplicationGroup"]["Status"] == "creating"
        self.becomes("primary-only")

    @property
    def near(self) -> ElastiCacheClient:
        """Return a client of the one region."""
        return self._client(HERE)

    @property
    def far(self) -> ElastiCacheClient:
        """Return a client of the other region."""
        return self._client(THERE)

    def _client(self, region: str) -> ElastiCacheClient:
        where = self.server.url, region  # the server may be another by now
        if where not in self._clients:
            self._clients[where] = self.server.client(self._account, region)
        return self._clients[where]

    def join(self, **options: Any) -> None:
        """Add the other region, and wait until it follows."""
        self.far.create_replication_group(
            ReplicationGroupId=self.far_name,
            ReplicationGroupDescription="the second",
            GlobalReplicationGroupId=self.name,
            **options,
        )
        available_group(self.far, self.far_name)
        self.becomes("available")

    def shown(self) -> dict[str, Any]:
        """Return what is described of it, members included."""
        answer = self.far.describe_global_replication_groups(
            GlobalReplicationGroupId=self.name, ShowMemberInfo=True
        )
        return dict(answer["GlobalReplicationGroups"][0])

    def becomes(self, status: str) -> dict[str, Any]:
        """Wait until it has a status; return what is shown of it then."""
        return wait_until(
            self.shown, lambda row: row["Status"] == status, what=f"{self.name} is {status}"
        )

    def roles(self) -> dict[str, str]:
        """Return the role of each region."""
        return {one["ReplicationGroupRegion"]: one["Role"] for one in self.shown()["Members"]}

    def fail_over(self, region: str) -> None:
        """Ask for another region to lead."""
        self.near.failover_global_replication_group(
            GlobalReplicationGroupId=self.name,
            PrimaryRegion=region,
            PrimaryReplicationGroupId=self.near_name if region == HERE else self.far_name,
        )


class ShardedPair(Pair):
    """One in cluster mode, with members of two shards."""

    def __init__(self, server: Server, suffix: str, *, replicas: int = 0, **options: Any) -> None:
        self._endpoints: dict[str, Any] = {}
        self.replicas = replicas
        super().__init__(server, suffix, NumNodeGroups=2, ReplicasPerNodeGroup=replicas, **options)

    def join(self, **options: Any) -> None:
        """Add the other region, and wait until it follows."""
        super().join(ReplicasPerNodeGroup=self.replicas, **options)
        for region in (HERE, THERE):  # they never change, and have to be known without the server
            self.cluster(region).close()

    def cluster(self, region: str) -> RedisCluster:
        """Return a client that knows nothing of global datastores."""
        if region not in self._endpoints:
            client = self.near if region == HERE else self.far
            name = self.near_name if region == HERE else self.far_name
            found: Any = group_of(client, name)
            self._endpoints[region] = found["ConfigurationEndpoint"]
        endpoint = self._endpoints[region]
        return RedisCluster(endpoint["Address"], endpoint["Port"], decode_responses=True)

    def values(self, region: str, keys: list[str]) -> dict[str, str | None]:
        with self.cluster(region) as client:
            found: Any = client.mget_nonatomic(keys)
            return dict(zip(keys, found, strict=True))

    def arrives(self, region: str, wanted: dict[str, str]) -> None:
        wait_until(
            lambda: self.values(region, [*wanted]),
            lambda found: found == wanted,
            what=f"everything is in {region}",
            passing=AWAY,
        )


class Sharded(Protocol):
    """Regions in cluster mode, wherever they are."""

    def cluster(self, region: str) -> RedisCluster: ...


class Counter(threading.Thread):
    """Writes a key after another wherever a region takes it; notes what was taken.

    With *confirmed*, it also asks now and then what has reached a replica of each shard, and notes
    that in ``replicated``.
    """

    def __init__(self, pair: Sharded, *, prefix: str = "n", confirmed: bool = False) -> None:
        super().__init__(daemon=True)
        self._confirmed = confirmed
        self.replicated: list[int] = []
        self._prefix = prefix
        self._pair = pair
        self._stopping = threading.Event()
        self.taken: list[int] = []

    def run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            for region in (HERE, THERE):
                try:
                    with self._pair.cluster(region) as client:
                        while not self._stopping.is_set():
                            client.set(f"{self._prefix}:{number + 1}", number + 1)
                            client.incr(f"{self._prefix}:sum")  # what comes twice is seen
                            number += 1
                            self.taken.append(number)
                            if self._confirmed and number % 20 == 0 and _is_confirmed(client):
                                self.replicated = list(self.taken)
                except AWAY:
                    continue

    def stop(self) -> dict[str, str]:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        return {f"{self._prefix}:{number}": str(number) for number in self.taken}


def _is_confirmed(client: RedisCluster) -> bool:
    """Tell whether the one replica of each shard has what this client wrote."""
    anybody: Any = client
    found = anybody.wait(1, 1000, target_nodes=RedisCluster.PRIMARIES)
    return int(found) == len(anybody.get_primaries())


def writes_on(counter: Counter) -> None:
    before = len(counter.taken)
    wait_until(lambda: len(counter.taken) > before + 50, what="it writes on")


def refuses_writes(pair: Sharded, region: str) -> None:
    with pair.cluster(region) as client:
        with pytest.raises(redis.ReadOnlyError, match="against a read only replica"):
            client.set("refused", "1")
        with pytest.raises(redis.ReadOnlyError, match="against a read only replica"):
            client.eval("return redis.call('set', KEYS[1], '1')", 1, "refused")
        assert client.get("refused") is None
