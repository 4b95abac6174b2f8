"""Caches of each kind, made and used the way a customer does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import urllib.request
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

NODE = "cache.t3.micro"
ANSWER_TIMEOUT_S = 20.0  # a machine can be busy
SOON_S = 2.0  # for who asks again, or is not to be answered
REST_TIMEOUT_S = 30.0
AWAY = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.ResponseError)


def create_group(
    client: ElastiCacheClient, name: str, *, members: int = 2, **more: Any
) -> dict[str, Any]:
    """Make a replication group of one shard, and wait until it is available."""
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="faults",
        Engine="valkey",
        CacheNodeType=NODE,
        NumCacheClusters=members,
        AutomaticFailoverEnabled=members > 1,
        **more,
    )
    return available_group(client, name)


def primary_address(client: ElastiCacheClient, name: str) -> tuple[str, int]:
    """Return the primary endpoint of a group."""
    endpoint = group_of(client, name)["NodeGroups"][0]["PrimaryEndpoint"]
    return endpoint["Address"], endpoint["Port"]


def reader_address(client: ElastiCacheClient, name: str) -> tuple[str, int]:
    """Return the reader endpoint of a group."""
    endpoint = group_of(client, name)["NodeGroups"][0]["ReaderEndpoint"]
    return endpoint["Address"], endpoint["Port"]


def roles(client: ElastiCacheClient, name: str) -> dict[str, str]:
    """Return the role of each member as the API tells it."""
    members = group_of(client, name)["NodeGroups"][0]["NodeGroupMembers"]
    return {member["CacheClusterId"]: member["CurrentRole"] for member in members}


def primary_of(client: ElastiCacheClient, name: str) -> str:
    """Return the name of the member that the API calls primary."""
    [primary] = [member for member, role in roles(client, name).items() if role == "primary"]
    return primary


@contextlib.contextmanager
def connected(
    address: tuple[str, int], *, timeout_s: float = ANSWER_TIMEOUT_S
) -> Iterator[redis.Redis]:
    """Give a client that repeats nothing by itself."""
    client = redis.Redis(
        host=address[0],
        port=address[1],
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    try:
        yield client
    finally:
        client.close()


def write_numbers(address: tuple[str, int], first: int, count: int, *, replicas: int) -> None:
    """Write keys ``{n}:<number>``, all of one slot, and wait until every replica has them."""
    with connected(address) as client:
        for number in range(first, first + count):
            client.set(f"{{n}}:{number}", number)
        wait_until(
            lambda: int(str(client.wait(replicas, int(SOON_S * 1000)))),
            lambda reached: reached >= replicas,
            what=f"{replicas} replicas have it",
        )


def missing_numbers(address: tuple[str, int], count: int) -> list[int]:
    """Return which of the first *count* numbers cannot be read."""
    with connected(address) as client:
        values = client.mget([f"{{n}}:{number}" for number in range(count)])
    return [number for number, value in enumerate(values) if value != str(number)]


def write_again(address: tuple[str, int], *, timeout_s: float = 30.0) -> None:
    """Wait until the address takes a write, as a client does that connects again and again."""

    def write() -> object:
        with connected(address, timeout_s=SOON_S) as client:
            return client.set("{n}:after", "it")

    wait_until(write, what="a write is served", passing=AWAY, timeout_s=timeout_s)


def own_address(server: Server, member: str) -> tuple[str, int]:
    """Return the address of a node itself."""
    node = server.node(member)
    assert node.host is not None
    assert node.port is not None
    return node.host, node.port


def pid_of(server: Server, member: str) -> int:
    """Return the pid of a member of a group."""
    return server.node_pids()[f"{member}/0001"]


def kill_node(server: Server, member: str) -> int:
    """End a node's process the hard way; return its pid."""
    pid = pid_of(server, member)
    os.kill(pid, signal.SIGKILL)
    return pid


def kill_at_once(server: Server, members: Iterable[str]) -> None:
    """End the processes of several nodes, before anybody can have done anything about the first."""
    running = server.node_pids()
    for pid in [running[f"{member}/0001"] for member in members]:
        os.kill(pid, signal.SIGKILL)


def inject(server: Server, kind: str, **request: Any) -> dict[str, Any]:
    """File a fault; return it once it has begun on every node, or failed."""
    answer = rest(server, "POST", "/v1/faults", {"Kind": kind, **request})
    fault: dict[str, Any] = answer["Faults"][0]
    return wait_until(
        lambda: fault_of(server, fault["FaultId"]),
        lambda seen: seen["State"] != "requested",
        what=f"{kind} has begun",
    )


def fault_of(server: Server, fault_id: str) -> dict[str, Any]:
    """Return a fault as it stands."""
    return rest(server, "GET", f"/v1/faults/{fault_id}")


def undo(server: Server, fault_id: str) -> dict[str, Any]:
    """Take a fault back; return it once it has ended."""
    rest(server, "DELETE", f"/v1/faults/{fault_id}")
    return wait_until(
        lambda: fault_of(server, fault_id),
        lambda seen: seen["State"] in ("ended", "failed"),
        what="the fault has ended",
    )


def rest(server: Server, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Ask the JSON API; a refusal is raised as ``HTTPError``."""
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=REST_TIMEOUT_S) as response:
        answer: dict[str, Any] = json.loads(response.read() or b"{}")
    return answer
