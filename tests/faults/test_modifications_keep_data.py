"""Modifications under load: data stays, clients reconnect once a switchover, engines agree.

One server for all; each test has an account of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from pymemcache.client.base import Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.valkey.config import reads_back
from tests.faults.caches import connected, primary_address, primary_of, roles
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    cluster_of,
    delete_everything,
    group_of,
    own_account,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

SMALL, LARGE, MICRO = "cache.t3.small", "cache.r6g.large", "cache.t3.micro"
WRITES_AROUND = 50  # acknowledged before and after what is done to the writer
JOIN_TIMEOUT_S = 30.0
PARAMETERS = {
    "timeout": ("0", "100", "3600"),
    "maxmemory-policy": ("noeviction", "allkeys-lru", "volatile-ttl"),
    "notify-keyspace-events": ("", "KEA", "Kx"),
    "slowlog-log-slower-than": ("10000", "-1", "500"),
    "hash-max-listpack-entries": ("512", "64"),
    "reserved-memory-percent": ("25", "50"),
    "repl-backlog-size": ("1048576", "4194304"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("modifications") / "data") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[ElastiCacheClient]:
    client = server.client(own_account())
    yield client
    delete_everything(client)


class Writer(threading.Thread):
    """Writes numbers without a pause; counts what was acknowledged, and how often it was cut.

    Of several addresses it takes the next one whenever one fails.
    """

    def __init__(self, *addresses: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self._addresses = itertools.cycle(addresses)
        self._stopping = threading.Event()
        self.acknowledged: list[int] = []
        self.cuts: list[str] = []

    def run(self) -> None:
        number, serves = 0, True
        while not self._stopping.is_set():
            address = next(self._addresses)
            with connected(address) as link, contextlib.suppress(redis.RedisError, OSError):
                while not self._stopping.is_set():
                    number += 1
                    try:
                        link.set(f"n:{number}", number)
                    except (redis.RedisError, OSError) as error:
                        if serves:
                            self.cuts.append(repr(error))
                        serves = False
                        raise
                    self.acknowledged.append(number)
                    serves = True

    def more(self) -> None:
        """Return once it has written some more."""
        seen = len(self.acknowledged)
        wait_until(
            lambda: len(self.acknowledged), lambda n: n >= seen + WRITES_AROUND, what="it writes"
        )

    def stop(self) -> None:
        self._stopping.set()
        self.join(JOIN_TIMEOUT_S)
        assert not self.is_alive()


@contextlib.contextmanager
def writing(*addresses: tuple[str, int]) -> Iterator[Writer]:
    """Have somebody write meanwhile; every acknowledged number is there at the end."""
    writer = Writer(*addresses)
    writer.start()
    try:
        writer.more()
        yield writer
        writer.more()
    finally:
        writer.stop()
    for address in addresses:
        with connected(address) as link:
            found = link.mget([f"n:{number}" for number in writer.acknowledged])
        assert found == [str(number) for number in writer.acknowledged]


def create(client: ElastiCacheClient, name: str, **options: Any) -> tuple[str, int]:
    """Create a replication group; return its primary endpoint."""
    client.create_replication_group(
        **{
            "ReplicationGroupId": name,
            "ReplicationGroupDescription": "modified",
            "CacheNodeType": SMALL,
            **options,
        }
    )
    available_group(client, name)
    return primary_address(client, name)


def modify(client: ElastiCacheClient, name: str, **changes: Any) -> dict[str, Any]:
    """Change a group at once; return it as it is then."""
    client.modify_replication_group(ReplicationGroupId=name, ApplyImmediately=True, **changes)
    return available_group(client, name)


def messages(client: ElastiCacheClient, source: str) -> list[str]:
    found = client.describe_events(Duration=60, MaxRecords=100)["Events"]
    return [event["Message"] for event in found if event["SourceIdentifier"] == source]


def parameter_group(client: ElastiCacheClient, name: str, family: str, **values: str) -> None:
    client.create_cache_parameter_group(
        CacheParameterGroupName=name, CacheParameterGroupFamily=family, Description="d"
    )
    set_parameters(client, name, {key.replace("_", "-"): value for key, value in values.items()})


def set_parameters(client: ElastiCacheClient, name: str, values: dict[str, str]) -> None:
    if values:
        client.modify_cache_parameter_group(
            CacheParameterGroupName=name,
            ParameterNameValues=[
                {"ParameterName": key, "ParameterValue": value} for key, value in values.items()
            ],
        )


def engine_of(address: tuple[str, int]) -> str:
    with connected(address) as link:
        info: Any = link.info("server")
    return "valkey" if "valkey_version" in info else "redis"


# -- Valkey and Redis ------------------------------------------------------------------------------


def test_node_type_and_engine_change_under_a_writer(
    server: Server, client: ElastiCacheClient
) -> None:
    address = create(
        client,
        "ha",
        Engine="redis",
        EngineVersion="7.0",
        NumCacheClusters=3,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
    )
    before = engine_of(address)
    with writing(address) as writer:
        assert modify(client, "ha", CacheNodeType=LARGE)["CacheNodeType"] == LARGE
        writer.more()
        assert modify(client, "ha", CacheNodeType=SMALL)["CacheNodeType"] == SMALL
    assert writer.cuts == [], "every node went on serving"
    with writing(address) as writer:
        group = modify(client, "ha", Engine="valkey", EngineVersion="8.0")
    assert group["Engine"] == "valkey"
    assert len(writer.cuts) <= 1, "one switchover"
    assert (before, engine_of(address)) in (("redis", "valkey"), ("valkey", "valkey"))
    assert sorted(roles(client, "ha").values()) == ["primary", "replica", "replica"]
    for member in group["MemberClusters"]:
        shown = cluster_of(client, member)
        assert shown["EngineVersion"] == "8.0.1"
        assert shown["CacheParameterGroup"]["CacheParameterGroupName"] == "default.valkey8"
        assert server.engine_config(member)["maxmemory"] == str(1471026299 * 3 // 4)
    told = messages(client, "ha")
    assert f"Succeeded applying modification to cache node type to {LARGE}." in told
    assert not any("Recovering" in text for text in messages(client, "ha-001")), "nothing was lost"


def test_one_node_keeps_its_data_through_its_restart(client: ElastiCacheClient) -> None:
    address = create(client, "one", Engine="redis", EngineVersion="7.1", NumCacheClusters=1)
    with connected(address) as link:
        link.set("kept", "here")
        link.hset("small", mapping={"a": "1"})
    modify(client, "one", Engine="valkey")
    assert engine_of(address) == "valkey"
    with connected(address) as link:
        assert (link.get("kept"), link.hgetall("small")) == ("here", {"a": "1"})


def test_an_upgrade_that_no_binary_here_can_load_stays_where_the_data_is(
    client: ElastiCacheClient,
) -> None:
    """Data of a newer engine is never given to an older one, whatever the version is called."""
    address = create(client, "back", Engine="valkey", EngineVersion="7.2", NumCacheClusters=2)
    with connected(address) as link:
        link.sadd("set", "a", "b")
    with writing(address):
        group = modify(client, "back", Engine="redis", EngineVersion="7.1")
    assert group["Engine"] == "redis"
    assert cluster_of(client, "back-001")["EngineVersion"] == "7.1.0"
    with connected(address) as link:
        assert link.smembers("set") == {"a", "b"}


def test_promotions_by_name_cut_each_client_once(client: ElastiCacheClient) -> None:
    address = create(client, "hand", Engine="valkey", NumCacheClusters=3)
    with writing(address) as writer:
        for number, successor in enumerate(("hand-002", "hand-003", "hand-001"), start=1):
            modify(client, "hand", PrimaryClusterId=successor)
            assert primary_of(client, "hand") == successor
            writer.more()
            assert len(writer.cuts) <= number
    assert not any("ReadOnly" in cut for cut in writer.cuts), "it was led away before"
    assert group_of(client, "hand")["PendingModifiedValues"] == {}
    text = "Failover from primary node hand-001 to replica node hand-002 completed"
    assert text in messages(client, "hand")


@pytest.mark.parametrize("version", ["valkey 8.0", "redis 7.1"])
def test_what_the_nodes_themselves_were_given_is_not_lost_either(
    client: ElastiCacheClient, version: str
) -> None:
    """Clients that pass by the primary endpoint are not led away: their writes are held back."""
    engine, _, number = version.partition(" ")
    create(client, "direct", Engine=engine, EngineVersion=number, NumCacheClusters=2)
    members = [f"direct-{index:03d}" for index in (1, 2)]
    nodes = [cluster_of(client, member)["CacheNodes"][0]["Endpoint"] for member in members]
    with writing(*((node["Address"], node["Port"]) for node in nodes)) as writer:
        for run in range(6):
            modify(client, "direct", PrimaryClusterId=members[(run + 1) % 2])
            writer.more()


@pytest.mark.parametrize("closes", ["yes", "no"])
def test_close_on_replica_write(client: ElastiCacheClient, closes: str) -> None:
    """Who came to the primary's own address is cut when it becomes a replica, or else refused."""
    parameter_group(client, "closes", "valkey8", close_on_replica_write=closes)
    create(
        client,
        "cut",
        Engine="valkey",
        EngineVersion="8.0",
        NumCacheClusters=2,
        CacheParameterGroupName="closes",
    )
    own = cluster_of(client, "cut-001")["CacheNodes"][0]["Endpoint"]
    link: Any = redis.Redis(host=own["Address"], port=own["Port"], retry=Retry(NoBackoff(), 0))
    with link, link.client() as single:  # one connection, never replaced without a word
        single.set("k", 1)
        modify(client, "cut", PrimaryClusterId="cut-002")
        expected = redis.ConnectionError if closes == "yes" else redis.ReadOnlyError
        with pytest.raises(expected):
            single.set("k", 2)


def test_a_smaller_type_that_does_not_fit_changes_nothing(
    server: Server, client: ElastiCacheClient
) -> None:
    parameter_group(client, "tight", "valkey8", reserved_memory_percent="99")
    address = create(
        client,
        "full",
        Engine="valkey",
        EngineVersion="8.0",
        NumCacheClusters=1,
        CacheParameterGroupName="tight",
    )
    with connected(address) as link:
        for number in range(14):  # 7 MB fit into 1 % of a small node, not of a micro one
            link.set(f"big:{number}", b"x" * 500_000)
    group = modify(client, "full", CacheNodeType=MICRO)
    assert (group["Status"], group["CacheNodeType"]) == ("available", SMALL)
    assert cluster_of(client, "full-001")["PendingModifiedValues"] == {}
    assert server.engine_config("full-001")["maxmemory"] == str(1471026299 // 100)
    assert (
        "Failed to scale down to cache node type Replication Group [full] because the node has "
        "insufficient memory. Please select a different node type or reduce current memory usage "
        "and retry"
    ) in messages(client, "full")


@pytest.mark.parametrize("seed", [7, 8])
def test_engines_agree_with_what_is_described_after_any_changes(
    server: Server, client: ElastiCacheClient, seed: int
) -> None:
    """A bounded walk over legal modifications; the seed is the whole bug report."""
    dice = random.Random(seed)
    name = f"walk{seed}"
    for family in ("redis7", "valkey8"):
        parameter_group(client, f"a-{family}", family, timeout="100", maxmemory_policy="noeviction")
        parameter_group(client, f"b-{family}", family, slowlog_log_slower_than="77")
    create(client, name, Engine="redis", EngineVersion="7.0", NumCacheClusters=2)
    family, deadline_s = "redis7", time.monotonic() + 9
    for _ in range(14):
        if time.monotonic() > deadline_s:
            break
        family = step(client, name, family, dice)
        require_as_described(server, client, name)
    if family == "redis7":
        modify(
            client, name, Engine="valkey", EngineVersion="8.1", CacheParameterGroupName="b-valkey8"
        )
        require_as_described(server, client, name)


def step(client: ElastiCacheClient, name: str, family: str, dice: random.Random) -> str:
    """Change something; return the family from then on."""
    group = dice.choice(["a-", "b-", "default."]) + family
    match dice.choice(["type", "group", "value", "version", "promote", "both"]):
        case "type":
            modify(client, name, CacheNodeType=dice.choice([MICRO, SMALL, LARGE]))
        case "group":
            modify(client, name, CacheParameterGroupName=group)
        case "value":
            custom = dice.choice(["a-", "b-"]) + family
            parameter = dice.choice(sorted(PARAMETERS))
            set_parameters(client, custom, {parameter: dice.choice(PARAMETERS[parameter])})
        case "promote":
            modify(client, name, PrimaryClusterId=f"{name}-{dice.choice([1, 2]):03d}")
        case "version" if family == "redis7" and dice.random() < 0.5:
            group = group.replace(family, "valkey8")
            family = "valkey8"
            modify(
                client,
                name,
                Engine="valkey",
                EngineVersion="8.0",
                CacheParameterGroupName=group,
                CacheNodeType=dice.choice([MICRO, SMALL, LARGE]),
            )
        case _:
            version = "7.1" if family == "redis7" else "8.1"
            modify(client, name, EngineVersion=version)
    return family


def require_as_described(server: Server, client: ElastiCacheClient, name: str) -> None:
    """Compare the engines' own configuration with what the API says of it."""
    catalog = Catalog.load()
    group = group_of(client, name)
    assert group["Status"] == "available"
    size = catalog.node_type(group["CacheNodeType"])
    assert size is not None
    for member in group["MemberClusters"]:
        shown = applied_parameter_group(client, member)
        described = parameters_of(client, shown["CacheParameterGroupName"])
        actual = server.engine_config(member)
        reserved = int(described["reserved-memory-percent"])
        assert actual["maxmemory"] == str(size.maxmemory_bytes * (100 - reserved) // 100)
        for parameter in PARAMETERS.keys() - {"reserved-memory-percent"}:
            wanted = described.get(parameter, "")
            assert reads_back(parameter, wanted, actual[parameter]), (member, parameter, wanted)


def applied_parameter_group(client: ElastiCacheClient, member: str) -> dict[str, Any]:
    """Wait until a member's parameters are in force; return its parameter group."""
    return wait_until(
        lambda: dict(cluster_of(client, member)["CacheParameterGroup"]),
        lambda state: state["ParameterApplyStatus"] == "in-sync",
        what="its parameters are applied",
    )


def parameters_of(client: ElastiCacheClient, group: str) -> dict[str, str]:
    pages = client.get_paginator("describe_cache_parameters").paginate(
        CacheParameterGroupName=group
    )
    rows = [row for page in pages for row in page["Parameters"]]
    return {row["ParameterName"]: row.get("ParameterValue", "") for row in rows}


# -- memcached -------------------------------------------------------------------------------------


@contextlib.contextmanager
def memcached(client: ElastiCacheClient, node_id: str = "0001") -> Iterator[Client]:
    nodes = {node["CacheNodeId"]: node for node in cluster_of(client, "mem")["CacheNodes"]}
    endpoint = nodes[node_id]["Endpoint"]
    link = Client((endpoint["Address"], endpoint["Port"]), timeout=20)
    try:
        yield link
    finally:
        link.close()


def modify_mem(client: ElastiCacheClient, *, now: bool = True, **changes: Any) -> dict[str, Any]:
    client.modify_cache_cluster(CacheClusterId="mem", ApplyImmediately=now, **changes)
    return available_cluster(client, "mem")


def test_memcached_nodes_take_versions_types_and_parameters(client: ElastiCacheClient) -> None:
    parameter_group(client, "mem16", "memcached1.6")
    set_parameters(client, "mem16", {"max_item_size": "2097152"})
    client.create_cache_cluster(
        CacheClusterId="mem", Engine="memcached", CacheNodeType=MICRO, NumCacheNodes=2
    )
    available_cluster(client, "mem")
    with memcached(client) as link:
        link.set("k", b"v", noreply=False)
    cluster = modify_mem(client, CacheParameterGroupName="mem16")["CacheParameterGroup"]
    assert cluster["CacheParameterGroupName"] == "mem16"
    assert cluster["ParameterApplyStatus"] == "pending-reboot"
    assert cluster["CacheNodeIdsToReboot"] == ["0001", "0002"]
    with memcached(client) as link:
        assert link.get("k") == b"v", "nothing was restarted"
        assert link.stats("settings")[b"item_size_max"] == 1048576
    client.reboot_cache_cluster(CacheClusterId="mem", CacheNodeIdsToReboot=["0001"])
    wait_until(
        lambda: cluster_of(client, "mem"),
        lambda shown: shown["CacheClusterStatus"] == "available",
        what="it is rebooted",
    )
    assert cluster_of(client, "mem")["CacheParameterGroup"]["CacheNodeIdsToReboot"] == ["0002"]
    with memcached(client) as link:
        assert link.stats("settings")[b"item_size_max"] == 2097152
        link.set("k", b"v", noreply=False)
    # What waits for the window goes along with what is for now.
    modify_mem(client, now=False, NumCacheNodes=3)
    assert cluster_of(client, "mem")["NumCacheNodes"] == 2
    cluster = modify_mem(
        client,
        EngineVersion="1.6.12",
        CacheNodeType=LARGE,
        ScaleConfig={"ScalePercentage": 50, "ScaleIntervalMinutes": 0},
    )
    assert (cluster["EngineVersion"], cluster["CacheNodeType"]) == ("1.6.12", LARGE)
    assert (cluster["NumCacheNodes"], cluster["PendingModifiedValues"]) == (3, {})
    assert cluster["CacheParameterGroup"]["ParameterApplyStatus"] == "in-sync"
    for node_id in ("0001", "0002", "0003"):
        with memcached(client, node_id) as link:
            assert link.version() == b"1.6.12"
            assert link.get("k") is None, "a changed node comes back empty"
            assert link.stats("settings")[b"maxbytes"] == (13387 - 100) * 1024 * 1024
