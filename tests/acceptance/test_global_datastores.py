"""Global datastores without cluster mode: two regions of one server, with real replication."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.faults.caches import connected, pid_of, primary_address, primary_of
from tests.support import regions
from tests.support.regions import HERE, NODE, THERE
from tests.support.server import Server, available_group, group_gone, group_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

KEYS = 2_000
TOKEN = "a-token-of-16-or-more"
AWAY = (redis.RedisError, OSError)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("global") / "data", "--log-level", "info") as server:
        yield server


class Pair(regions.Pair):
    """One without cluster mode, whose members have two nodes."""

    def __init__(self, server: Server, suffix: str, **options: Any) -> None:
        super().__init__(server, suffix, NumCacheClusters=2, **options)

    def join(self, *, members: int = 2, **options: Any) -> None:
        super().join(NumCacheClusters=members, **options)

    def fail_over(self, region: str) -> None:
        super().fail_over(region)
        self.becomes("available")

    @property
    def near_address(self) -> tuple[str, int]:
        return primary_address(self.near, self.near_name)

    @property
    def far_address(self) -> tuple[str, int]:
        return primary_address(self.far, self.far_name)

    def info(self, address: tuple[str, int]) -> dict[str, Any]:
        with connected(address) as link:
            info: Any = link.info("replication")
            return dict(info)


def value(address: tuple[str, int], key: str) -> object:
    with connected(address) as link:
        return link.get(key)


class Counter(threading.Thread):
    """Counts in one key, at whichever of the addresses takes the write; notes what was taken."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self._addresses = addresses
        self._stopping = threading.Event()
        self.taken: list[int] = []

    def run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            for address in self._addresses:
                try:
                    with connected(address) as link:
                        while not self._stopping.is_set():
                            link.set(f"n:{number + 1}", number + 1)
                            number += 1
                            self.taken.append(number)
                except AWAY:
                    continue

    def stop(self) -> list[int]:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        return self.taken


def test_a_region_follows_leads_and_leaves(server: Server) -> None:
    pair = Pair(server, "life")
    with connected(pair.near_address) as link:
        link.mset({f"k:{n}": n for n in range(KEYS)})
    pair.join()
    shown = pair.shown()
    assert shown["ARN"].split(":")[3] == ""
    assert (shown["CacheNodeType"], shown["ClusterEnabled"]) == (NODE, False)
    assert shown["GlobalNodeGroups"] == [
        {"GlobalNodeGroupId": f"{pair.name}-0001", "Slots": "0-16383"}
    ]
    assert pair.roles() == {HERE: "PRIMARY", THERE: "SECONDARY"}
    assert group_of(pair.far, pair.far_name)["GlobalReplicationGroupInfo"] == {
        "GlobalReplicationGroupId": pair.name,
        "GlobalReplicationGroupMemberRole": "SECONDARY",
    }
    # The data is there, from before and from now on; it cannot be written there.
    assert value(pair.far_address, f"k:{KEYS - 1}") == str(KEYS - 1)
    with connected(pair.near_address) as link:
        link.set("later", "1")
    wait_until(lambda: value(pair.far_address, "later"), what="a write arrives")
    replica = server.node(f"{pair.far_name}-002")
    assert replica.host is not None
    assert replica.port is not None
    wait_until(
        lambda: value((str(replica.host), int(replica.port or 0)), "later"),
        what="it arrives at the replica there",
    )
    with connected(pair.far_address) as link, pytest.raises(redis.ReadOnlyError):
        link.set("later", "2")
    # The other region takes over while somebody writes, and nothing that was taken is lost.
    counter = Counter(pair.near_address, pair.far_address)
    counter.start()
    wait_until(lambda: len(counter.taken) > 100, what="it writes")
    pair.fail_over(THERE)
    before = len(counter.taken)
    wait_until(lambda: len(counter.taken) > before + 100, what="it writes on")
    taken = counter.stop()
    assert pair.roles() == {HERE: "SECONDARY", THERE: "PRIMARY"}
    assert pair.info(pair.far_address)["role"] == "master"
    wait_until(lambda: value(pair.near_address, f"n:{taken[-1]}"), what="the old region follows")
    for address in (pair.far_address, pair.near_address):
        with connected(address) as link:
            missing = [n for n in taken if link.get(f"n:{n}") != str(n)]
        assert missing == [], f"{len(missing)} acknowledged writes are lost"
    with connected(pair.near_address) as link, pytest.raises(redis.ReadOnlyError):
        link.set("later", "2")
    # Back, out, and away: what leaves keeps its data and takes writes.
    pair.fail_over(HERE)
    pair.near.disassociate_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        ReplicationGroupId=pair.far_name,
        ReplicationGroupRegion=THERE,
    )
    pair.becomes("primary-only")
    assert available_group(pair.far, pair.far_name)["GlobalReplicationGroupInfo"] == {}
    with connected(pair.far_address) as link:
        assert link.get("later") == "1"
        link.set("later", "mine")
    assert value(pair.near_address, "later") == "1"
    pair.far.delete_global_replication_group(
        GlobalReplicationGroupId=pair.name, RetainPrimaryReplicationGroup=True
    )
    wait_until(
        lambda: pair.near.describe_global_replication_groups()["GlobalReplicationGroups"],
        lambda rows: rows == [],
        what="it is gone",
    )
    assert available_group(pair.near, pair.near_name)["GlobalReplicationGroupInfo"] == {}
    assert value(pair.near_address, "later") == "1"


def test_losses_within_either_region_are_survived(server: Server) -> None:
    pair = Pair(server, "loss")
    pair.join()
    with connected(pair.near_address) as link:
        link.set("k", "1")
    # The leading region fails over by itself, and the other goes on following it.
    lost = primary_of(pair.near, pair.near_name)
    os.kill(pid_of(server, lost), signal.SIGKILL)
    wait_until(
        lambda: primary_of(pair.near, pair.near_name), lambda n: n != lost, what="another leads"
    )

    def write() -> object:
        with connected(pair.near_address) as link:
            return link.set("k", "2")

    wait_until(write, what="it takes writes", passing=AWAY)
    wait_until(
        lambda: value(pair.far_address, "k"), lambda v: v == "2", what="it follows", passing=AWAY
    )
    # So does the one that follows: whoever leads there follows, and takes no write at any time.
    lost = primary_of(pair.far, pair.far_name)
    os.kill(pid_of(server, lost), signal.SIGKILL)
    wait_until(
        lambda: primary_of(pair.far, pair.far_name), lambda n: n != lost, what="another leads there"
    )
    wait_until(
        lambda: pair.info(pair.far_address),
        lambda info: info["role"] == "slave" and info["master_link_status"] == "up",
        what="the new one follows",
        passing=AWAY,
    )
    with connected(pair.near_address) as link:
        link.set("k", "3")
    wait_until(
        lambda: value(pair.far_address, "k"), lambda v: v == "3", what="it follows", passing=AWAY
    )
    assert pair.roles() == {HERE: "PRIMARY", THERE: "SECONDARY"}
    with connected(pair.far_address) as link, pytest.raises(redis.ReadOnlyError):
        link.set("k", "4")


def test_a_change_reaches_every_region(server: Server) -> None:
    pair = Pair(server, "change")
    pair.join(members=1)
    pair.near.modify_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        ApplyImmediately=True,
        CacheNodeType="cache.r7g.xlarge",
        GlobalReplicationGroupDescription="larger",
    )
    shown = pair.becomes("available")
    assert shown["CacheNodeType"] == "cache.r7g.xlarge"
    assert shown["GlobalReplicationGroupDescription"] == "larger"
    small = 0
    for client, name in ((pair.near, pair.near_name), (pair.far, pair.far_name)):
        assert group_of(client, name)["CacheNodeType"] == "cache.r7g.xlarge"
        config = server.engine_config(f"{name}-001")
        small = max(small, int(config["maxmemory"]))
        assert int(config["maxmemory"]) == small > 15 * 1024**3
    with pytest.raises(pair.far.exceptions.ClientError, match="part of a global cluster"):
        pair.far.delete_replication_group(ReplicationGroupId=pair.far_name)
    pair.near.disassociate_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        ReplicationGroupId=pair.far_name,
        ReplicationGroupRegion=THERE,
    )
    pair.becomes("primary-only")
    pair.near.delete_global_replication_group(
        GlobalReplicationGroupId=pair.name, RetainPrimaryReplicationGroup=False
    )
    group_gone(pair.near, pair.near_name)


def test_regions_are_joined_with_encryption_and_a_token(server: Server) -> None:
    pair = Pair(server, "tls", TransitEncryptionEnabled=True, AuthToken=TOKEN)
    refused = pair.far.exceptions.InvalidParameterValueException
    with pytest.raises(refused, match="AuthToken"):
        pair.join()
    with pytest.raises(refused, match="AuthToken"):
        pair.join(AuthToken=TOKEN + "-another")
    pair.join(AuthToken=TOKEN)
    assert pair.shown()["TransitEncryptionEnabled"] is True
    assert pair.shown()["AuthTokenEnabled"] is True

    def encrypted(address: tuple[str, int]) -> redis.Redis:
        return redis.Redis(
            *address, ssl=True, ssl_cert_reqs="none", password=TOKEN, decode_responses=True
        )

    def arrives(key: str, *, at: tuple[str, int]) -> None:
        def read() -> object:
            with encrypted(at) as link:
                return link.get(key)

        wait_until(read, what=f"{key} arrives", passing=AWAY)

    with encrypted(pair.near_address) as link:
        link.set("first", "1")
        # A replica that is new hears nothing for up to a second: its heir would not have it.
        assert int(str(link.wait(2, 20_000))) == 2
    arrives("first", at=pair.far_address)
    lost = primary_of(pair.near, pair.near_name)
    os.kill(pid_of(server, lost), signal.SIGKILL)
    wait_until(
        lambda: primary_of(pair.near, pair.near_name), lambda n: n != lost, what="another leads"
    )

    def write() -> object:
        with encrypted(pair.near_address) as link:
            return link.set("second", "1")

    wait_until(write, what="it takes writes", passing=AWAY)
    arrives("second", at=pair.far_address)
    available_group(pair.near, pair.near_name)
    pair.fail_over(THERE)
    with encrypted(pair.far_address) as link:
        link.set("third", "1")
        assert link.mget("first", "second") == ["1", "1"]
    arrives("third", at=pair.near_address)
    with encrypted(pair.near_address) as link, pytest.raises(redis.ReadOnlyError):
        link.set("refused", "1")


def test_parameters_change_in_all_regions(server: Server) -> None:
    pair = Pair(server, "params")
    pair.join(members=1)
    copies = {
        name: client.describe_cache_parameter_groups(
            CacheParameterGroupName=f"global-datastore-{name}"
        )["CacheParameterGroups"][0]
        for client, name in ((pair.near, pair.near_name), (pair.far, pair.far_name))
    }
    assert all(copy["IsGlobal"] for copy in copies.values())
    pair.far.modify_cache_parameter_group(
        CacheParameterGroupName=f"global-datastore-{pair.far_name}",
        ParameterNameValues=[
            {"ParameterName": "maxmemory-policy", "ParameterValue": "allkeys-lfu"}
        ],
    )
    for member in (f"{pair.near_name}-001", f"{pair.far_name}-001"):
        wait_until(
            lambda m=member: server.engine_config(m)["maxmemory-policy"],  # type: ignore[misc]
            lambda policy: policy == "allkeys-lfu",
            what=f"{member} has the new value",
        )
