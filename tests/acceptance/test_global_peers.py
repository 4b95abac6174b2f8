"""Two cachefleets as two regions: they follow each other, hand over, and survive each other."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from botocore.exceptions import ClientError

from tests.faults.caches import connected, pid_of
from tests.support.length import at_length
from tests.support.peers import HERE, THERE, Peered, ShardedPeered, destroy, two_fleets
from tests.support.regions import Counter as ClusterCounter
from tests.support.regions import refuses_writes, writes_on
from tests.support.server import Server, available_group, command, group_gone, group_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

AWAY = (redis.RedisError, OSError)
KEYS = 500

Address = tuple[str, int]
Two = tuple[Server, Server]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with two_fleets(tmp_path_factory.mktemp("peers")) as servers:
        yield servers


class Counter(threading.Thread):
    """Writes one key after another wherever it is taken; notes what was, and what is known to have
    reached a replica as well.
    """

    def __init__(self, *addresses: Address) -> None:
        super().__init__(daemon=True)
        self._addresses = addresses
        self._stopping = threading.Event()
        self.taken: list[int] = []
        self.replicated: list[int] = []

    def run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            for address in self._addresses:
                try:
                    with connected(address) as link:
                        while not self._stopping.is_set():
                            number += 1
                            link.set(f"n:{number}", number)
                            self.taken.append(number)
                            if number % 20 == 0 and int(str(link.wait(1, 1000))) >= 1:
                                self.replicated = list(self.taken)
                except AWAY:
                    continue

    def stop(self) -> list[int]:
        self._stopping.set()
        self.join(20)
        assert not self.is_alive()
        return self.taken


def missing(address: Address, numbers: list[int]) -> list[int]:
    with connected(address) as link:
        found = link.mget([f"n:{number}" for number in numbers])
    return [n for n, value in zip(numbers, found, strict=True) if value != str(n)]


def refuses_writes_at(address: Address) -> None:
    with connected(address) as link, pytest.raises(redis.ReadOnlyError):
        link.set("refused", "1")


def value(address: Address, key: str) -> object:
    with connected(address) as link:
        return link.get(key)


def policy(address: Address) -> str:
    with connected(address) as link:
        info: Any = link.info("memory")
        return str(info["maxmemory_policy"])


def test_a_mistake_in_the_settings_is_one_line(tmp_path: Path) -> None:
    words = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--peers", "eu-west-1")
    ended = command("serve", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("cachefleet: --peers: a peer is REGION=http://HOST:PORT")
    assert ended.stderr.count("\n") == 1


def test_another_cachefleet_is_a_region(two: Two) -> None:
    pair = Peered(*two, "life")
    near = pair.address(HERE)
    with connected(near) as link:
        link.mset({f"k:{n}": n for n in range(KEYS)})
    pair.join()
    far = pair.address(THERE)
    assert value(far, f"k:{KEYS - 1}") == str(KEYS - 1)
    with connected(near) as link:
        link.set("later", "1")
    wait_until(lambda: value(far, "later"), what="a write arrives")
    refuses_writes_at(far)
    # Both tell the same.
    shown, told = pair.shown(HERE), pair.shown(THERE)
    assert shown == told
    assert [one["Status"] for one in shown["Members"]] == ["associated", "associated"]
    assert group_of(pair.client(THERE), pair.names[THERE])["GlobalReplicationGroupInfo"] == {
        "GlobalReplicationGroupId": pair.name,
        "GlobalReplicationGroupMemberRole": "SECONDARY",
    }
    # Parameters are those of both, wherever they are changed.
    changed = pair.client(THERE).modify_cache_parameter_group(
        CacheParameterGroupName=f"global-datastore-{pair.names[THERE]}",
        ParameterNameValues=[
            {"ParameterName": "maxmemory-policy", "ParameterValue": "allkeys-lfu"}
        ],
    )
    assert changed["CacheParameterGroupName"] == f"global-datastore-{pair.names[THERE]}"
    for address in (near, far):
        wait_until(
            lambda address=address: policy(address),  # type: ignore[misc]
            lambda seen: seen == "allkeys-lfu",
            what="the engine has it",
        )
    # The lead is handed over while somebody writes, asked for on the other side; nothing is lost.
    counter = Counter(near, far)
    counter.start()
    wait_until(lambda: len(counter.taken) > 100, what="it writes")
    pair.fail_over(THERE, asked_in=THERE)
    pair.led_from(THERE)
    before = len(counter.taken)
    wait_until(lambda: len(counter.taken) > before + 100, what="it writes on")
    taken = counter.stop()
    assert missing(far, taken) == []
    wait_until(lambda: missing(near, taken), lambda lost: lost == [], what="the old region follows")
    refuses_writes_at(near)
    # A change of all, asked for where nobody leads; and back.
    pair.client(HERE).modify_global_replication_group(
        GlobalReplicationGroupId=pair.name, ApplyImmediately=True, CacheNodeType="cache.r7g.xlarge"
    )
    for region in (HERE, THERE):
        pair.becomes("available", region)
        wait_until(
            lambda region=region: group_of(pair.client(region), pair.names[region]),  # type: ignore[misc]
            lambda group: (
                (group["CacheNodeType"], group["Status"]) == ("cache.r7g.xlarge", "available")
            ),
            what=f"{region} is changed",
        )
    pair.fail_over(HERE, asked_in=HERE)
    pair.led_from(HERE)
    # Out, and away: what leaves keeps its data and takes writes.
    pair.client(THERE).disassociate_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        ReplicationGroupId=pair.names[THERE],
        ReplicationGroupRegion=THERE,
    )
    pair.becomes("primary-only", HERE)
    assert (
        available_group(pair.client(THERE), pair.names[THERE])["GlobalReplicationGroupInfo"] == {}
    )
    with connected(far) as link:
        assert link.set("own", "1")
        assert link.get("later") == "1"
    with pytest.raises(ClientError, match="GlobalReplicationGroupNotFoundFault"):
        pair.shown(THERE)
    pair.client(HERE).delete_global_replication_group(
        GlobalReplicationGroupId=pair.name, RetainPrimaryReplicationGroup=False
    )
    group_gone(pair.client(HERE), pair.names[HERE])


def test_its_shards_are_fed(two: Two) -> None:
    pair = ShardedPeered(*two, "fed", ReplicasPerNodeGroup=1)
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    with pair.cluster(HERE) as client:
        client.mset_nonatomic(first)
        client.set("mortal", "1", ex=3_600)
    pair.join()
    assert pair.values(THERE, [*first]) == first
    with pair.cluster(THERE) as client:
        assert 3_000 < client.ttl("mortal") <= 3_600
    with pair.cluster(HERE) as client:
        client.set("later", "1")
    pair.arrives(THERE, {"later": "1"})
    refuses_writes(pair, THERE)
    assert pair.shown(HERE) == pair.shown(THERE)
    assert pair.slots(HERE) == pair.slots(THERE)
    # A shard of the region that leads loses its primary: what follows it follows the next one.
    os.kill(pid_of(two[0], f"{pair.names[HERE]}-0001-001"), signal.SIGKILL)
    counter = ClusterCounter(pair)
    counter.start()
    wait_until(lambda: len(counter.taken) > 100, what="it writes")
    pair.arrives(THERE, {f"n:{number}": str(number) for number in counter.taken[:50]})
    # The lead is handed over while somebody writes, asked for on the other side; nothing is lost.
    pair.fail_over(THERE, asked_in=THERE)
    pair.led_from(THERE)
    writes_on(counter)
    taken = counter.stop()
    assert pair.values(THERE, [*taken]) == taken
    pair.arrives(HERE, {**taken, **pair.values(THERE, ["n:sum"])})
    refuses_writes(pair, HERE)
    # What leaves keeps its data and takes writes.
    pair.client(HERE).disassociate_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        ReplicationGroupId=pair.names[HERE],
        ReplicationGroupRegion=HERE,
    )
    pair.becomes("primary-only", THERE)
    left = available_group(pair.client(HERE), pair.names[HERE])
    assert left["GlobalReplicationGroupInfo"] == {}
    with pair.cluster(HERE) as client:
        assert client.set("later", "mine")
    assert pair.values(HERE, [*taken]) == taken
    assert pair.values(THERE, ["later"]) == {"later": "1"}
    pair.client(THERE).delete_global_replication_group(
        GlobalReplicationGroupId=pair.name, RetainPrimaryReplicationGroup=False
    )
    group_gone(pair.client(THERE), pair.names[THERE])


TOKEN = "a-token-of-sixteen-characters"
REDIS: dict[str, Any] = {"Engine": "redis", "EngineVersion": "7.0"}  # whose binary has TLS


@pytest.mark.parametrize(
    "engine", [pytest.param({}, id="gateway"), pytest.param(REDIS, id="engine", marks=at_length)]
)
def test_what_passes_between_them_is_encrypted(two: Two, engine: dict[str, Any]) -> None:
    name = engine.get("Engine", "valkey")
    pair = Peered(*two, f"tls-{name}", TransitEncryptionEnabled=True, AuthToken=TOKEN, **engine)
    pair.join(AuthToken=TOKEN)
    at = {region: pair.address(region) for region in (HERE, THERE)}

    def connected_to(region: str) -> redis.Redis:
        host, port = at[region]
        secured = pair.secured(region)
        return redis.Redis(host, port, password=TOKEN, decode_responses=True, **secured)

    with connected_to(HERE) as near, connected_to(THERE) as far:
        near.set("greeting", "hello")
        wait_until(lambda: far.get("greeting") == "hello", what="a write arrives")
        with pytest.raises(redis.ReadOnlyError):
            far.set("refused", "1")
        is_encrypted(pair, THERE)
        pair.fail_over(THERE, asked_in=HERE)
        pair.led_from(THERE)
        far.set("greeting", "welcome")
        wait_until(lambda: near.get("greeting") == "welcome", what="it goes the other way")
        is_encrypted(pair, HERE)


@pytest.mark.parametrize(
    "engine", [pytest.param(REDIS, id="engine"), pytest.param({}, id="gateway", marks=at_length)]
)
def test_so_is_what_passes_between_shards(two: Two, engine: dict[str, Any]) -> None:
    name = engine.get("Engine", "valkey")
    pair = ShardedPeered(*two, f"tls-shards-{name}", TransitEncryptionEnabled=True, **engine)
    with pair.cluster(HERE) as client:
        client.set("greeting", "hello")
    pair.join()
    assert pair.values(THERE, ["greeting"]) == {"greeting": "hello"}
    refuses_writes(pair, THERE)
    is_encrypted(pair, THERE)
    pair.fail_over(THERE, asked_in=THERE)
    pair.led_from(THERE)
    with pair.cluster(THERE) as client:
        client.set("greeting", "welcome")
    pair.arrives(HERE, {"greeting": "welcome"})
    is_encrypted(pair, HERE)


def is_encrypted(pair: Peered, region: str) -> None:
    """See that what *region* follows speaks TLS alone, under the other's authority."""
    authority = pair.authority(THERE if region == HERE else HERE).read_text()
    for told in pair.read_at(region):
        assert told["ca"] == authority
        address = told["host"], told["port"]
        with socket.create_connection(address, timeout=20) as plain:
            plain.sendall(b"PING\r\n")
            with contextlib.suppress(ConnectionError):
                assert plain.recv(1) == b""
        context = ssl.create_default_context(cadata=authority)
        context.check_hostname = False
        with (
            socket.create_connection(address, timeout=20) as plain,
            context.wrap_socket(plain) as secured,
        ):
            secured.sendall(b"AUTH nobody nothing\r\n")
            assert secured.recv(10) == b"-WRONGPASS"


@at_length
def test_one_that_is_behind_is_waited_for(two: Two) -> None:
    pair = ShardedPeered(*two, "slow")
    pair.join()
    feed = int((two[1].data_dir / "nodes" / "feed" / "pid").read_text().split()[0])
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    os.kill(feed, signal.SIGSTOP)
    try:
        with pair.cluster(HERE) as client:
            client.mset_nonatomic(first)
        pair.fail_over(THERE, asked_in=HERE)
        wait_until(lambda: "region_is_behind" in two[0].log, what="it is not handed over")
        assert pair.roles(HERE)[HERE] == "PRIMARY"
        refuses_writes(pair, THERE)
    finally:
        os.kill(feed, signal.SIGCONT)
    pair.led_from(THERE)
    assert pair.values(THERE, [*first]) == first


@at_length
def test_its_shards_are_changed_alike(two: Two) -> None:
    pair = ShardedPeered(*two, "alike")
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    with pair.cluster(HERE) as client:
        client.mset_nonatomic(first)
    pair.join()
    counter = ClusterCounter(pair)
    counter.start()
    pair.client(THERE).increase_node_groups_in_global_replication_group(
        GlobalReplicationGroupId=pair.name, NodeGroupCount=3, ApplyImmediately=True
    )
    for region in (HERE, THERE):  # whoever leads says so first
        assert len(pair.becomes("available", region)["GlobalNodeGroups"]) == 3
    assert pair.slots(HERE) == pair.slots(THERE)
    writes_on(counter)
    pair.client(HERE).decrease_node_groups_in_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        NodeGroupCount=2,
        GlobalNodeGroupsToRemove=[f"{pair.name}-0001"],
        ApplyImmediately=True,
    )
    for region in (HERE, THERE):
        shown = pair.becomes("available", region)["GlobalNodeGroups"]
        assert [one["GlobalNodeGroupId"][-4:] for one in shown] == ["0002", "0003"]
    assert pair.slots(HERE) == pair.slots(THERE)
    writes_on(counter)
    taken = counter.stop()
    assert pair.values(HERE, [*taken]) == taken
    pair.arrives(THERE, taken)
    pair.arrives(THERE, first)
    refuses_writes(pair, THERE)


def test_requests_for_its_regions_are_answered_by_the_other_one(two: Two) -> None:
    near, far = two
    here = near.client("000000000077", THERE)
    here.create_cache_subnet_group(
        CacheSubnetGroupName="over-there", CacheSubnetGroupDescription="x", SubnetIds=["subnet-1"]
    )
    there = far.client("000000000077", THERE)
    for client in (here, there):
        [found] = client.describe_cache_subnet_groups(CacheSubnetGroupName="over-there")[
            "CacheSubnetGroups"
        ]
        assert found["ARN"].split(":")[3] == THERE
    with pytest.raises(ClientError, match="CacheSubnetGroupNotFoundFault"):
        near.client("000000000077", HERE).describe_cache_subnet_groups(
            CacheSubnetGroupName="over-there"
        )


def test_regions_survive_the_loss_of_the_other_cachefleet(two: Two) -> None:
    near_server, _ = two
    pair, fed = Peered(*two, "lost"), ShardedPeered(*two, "shed")
    pair.join()
    fed.join()
    near, far = pair.address(HERE), pair.address(THERE)
    counter, clustered = Counter(near), ClusterCounter(fed, confirmed=True)
    for one in (counter, clustered):
        one.start()
    for one in (counter, clustered):
        wait_until(lambda one=one: len(one.replicated) > 100, what="it writes, and that arrives")  # type: ignore[misc]
    destroy(near_server)
    counter.stop()
    clustered.stop()
    # Nothing happens by itself, and what needs the other one says so.
    refuses_writes_at(far)
    refuses_writes(fed, THERE)
    with pytest.raises(ClientError, match="does not answer") as refusal:
        pair.client(THERE).modify_global_replication_group(
            GlobalReplicationGroupId=pair.name,
            ApplyImmediately=True,
            CacheNodeType="cache.r7g.xlarge",
        )
    assert refusal.value.response["Error"]["Code"] == "InvalidGlobalReplicationGroupState"
    for lost in (pair, fed):
        lost.fail_over(THERE, asked_in=THERE)
        lost.led_from(THERE, told_in=(THERE,))
    arrived = {f"n:{number}": str(number) for number in clustered.replicated}
    with connected(far) as link, fed.cluster(THERE) as client:
        assert link.set("after", "1")
        assert client.set("after", "1")
    assert missing(far, counter.replicated) == [], "what had arrived is lost"
    assert fed.values(THERE, [*arrived]) == arrived, "what had arrived is lost"
    # It comes back, learns that it leads no more before it takes a write, and follows.
    near_server.start()
    pair.led_from(THERE)
    fed.led_from(THERE)
    wait_until(lambda: value(near, "after"), what="the deposed region follows", passing=AWAY)
    fed.arrives(HERE, {"after": "1", **arrived})
    refuses_writes_at(near)
    refuses_writes(fed, HERE)
    assert "region_deposed" in near_server.log
    assert missing(near, counter.replicated) == []
    for lost in (pair, fed):
        lost.fail_over(HERE, asked_in=HERE)
        lost.led_from(HERE)
    with connected(near) as link, fed.cluster(HERE) as client:
        assert link.set("again", "1")
        assert client.set("again", "1")
