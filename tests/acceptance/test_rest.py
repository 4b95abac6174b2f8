"""``/v1`` of a server as a user starts it: a generated client, the stream, topology, reset."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil
import pytest
import redis

from tests.support.server import Server, own_account
from tests.support.waiting import wait_until
from tests.unit.api.rest.test_openapi import generate_client

pytestmark = pytest.mark.engine
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("rest") / "data", "--ephemeral", log_level="info", log_format="json"
    ) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    module = generate_client(tmp_path_factory.mktemp("generated"))
    client = sys.modules[f"{module.__name__}.client"].Client(base_url=server.url)
    yield client
    client.get_httpx_client().close()


class Stream:
    """Reads the stream of changes of one account on a thread."""

    def __init__(self, server: Server, account: str, *, since: str = "") -> None:
        self._connection = http.client.HTTPConnection(
            server.url.removeprefix("http://"), timeout=TIMEOUT_S
        )
        self._connection.request("GET", f"/v1/events:stream?account={account}&LastEventId={since}")
        self._answer = self._connection.getresponse()
        self._messages: Queue[dict[str, str]] = Queue()
        self.last_id = ""
        self._reader = threading.Thread(target=self._run, daemon=True)
        self._reader.start()

    def until(self, what: str, **wanted: str) -> dict[str, Any]:
        """Return the first message from now on that has these fields."""
        while True:
            try:
                message = self._messages.get(timeout=TIMEOUT_S)
            except Empty:
                raise AssertionError(f"the stream did not say: {what}") from None
            self.last_id = message["id"]
            data: dict[str, Any] = json.loads(message["data"])
            if message["event"] == what and wanted.items() <= data.items():
                return data

    def close(self) -> None:
        self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._reader.join(TIMEOUT_S)
        self._answer.close()
        self._connection.close()

    def _run(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    self._messages.put(fields)
                    fields = {}
        except (OSError, http.client.HTTPException):
            return


def ask(server: Server, method: str, path: str, document: Any = None) -> Any:
    """Send one request; return the document."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(
        server.url + path, body, {"content-type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.loads(answer.read() or b"null")


def call(client: Any, place: str, name: str, **params: Any) -> Any:
    """Call a function of the generated client; return what it parsed."""
    module = __import__(f"generated_client.api.{place}.{name}", fromlist=["sync"])
    return module.sync(client=client, **params)


def test_a_cache_from_its_creation_to_its_end(server: Server, client: Any) -> None:
    account = own_account()
    models = sys.modules["generated_client.models"]
    stream = Stream(server, account)
    stream.until("ready")
    body = models.CreateReplicationGroupMessage(
        replication_group_id="demo",
        replication_group_description="d",
        cache_node_type="cache.t3.micro",
        engine="valkey",
        num_cache_clusters=2,
        automatic_failover_enabled=True,
    )
    created = call(
        client, "replication_groups", "create_replication_group", body=body, account=account
    )
    assert created.status == "creating"
    stream.until("resource", ResourceName="demo", Status="available")
    seen = stream.last_id
    shown = call(
        client,
        "topology",
        "describe_replication_group_topology",
        replication_group_id="demo",
        account=account,
    )
    primary, replica = shown.node_groups[0].nodes
    assert (primary.reported.role, replica.reported.role) == ("primary", "replica")
    assert primary.reported.server_name in ("valkey", "redis")
    assert psutil.pid_exists(primary.reported.process_id)
    assert replica.reported.link_up
    (endpoint,) = [one for one in shown.endpoints if one.kind == "primary"]
    with redis.Redis(host=endpoint.address, port=endpoint.port) as writer:
        writer.set("a", "b")
        assert writer.wait(1, int(TIMEOUT_S * 1000)) == 1  # what no replica has may be lost
    stream.close()
    again = Stream(server, account, since=seen)
    psutil.Process(primary.reported.process_id).kill()
    roles: dict[str, str] = {}
    while roles != {"demo-001/0001": "replica", "demo-002/0001": "primary"}:
        told = again.until("resource", ResourceType="cache-node")
        if "PreviousRole" in told:
            roles[told["ResourceName"]] = told["Role"]
    again.close()
    with redis.Redis(host=endpoint.address, port=endpoint.port) as reader:
        assert reader.get("a") == b"b"


def test_reset_leaves_nothing_of_an_account_and_all_of_another(server: Server) -> None:
    mine, other = own_account(), own_account()
    for account in (mine, other):
        ask(
            server,
            "POST",
            f"/v1/cache-clusters?account={account}",
            {
                "CacheClusterId": f"c{account}",
                "CacheNodeType": "cache.t3.micro",
                "Engine": "memcached",
                "NumCacheNodes": 2,
            },
        )
    stream = Stream(server, mine)

    def nodes(account: str) -> list[Any]:
        path = f"/v1/cache-clusters/c{account}/topology?account={account}"
        shown = ask(server, "GET", path)["NodeGroups"][0]["Nodes"]
        return [node["Reported"] for node in shown]

    wait_until(lambda: all(nodes(mine)) and all(nodes(other)), what="both clusters serve")
    pids = [node["ProcessId"] for node in nodes(mine)]
    assert ask(server, "POST", "/v1/reset", {"Account": mine}) == {"NodesEnded": 2}
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert ask(server, "GET", f"/v1/cache-clusters?account={mine}") == {"CacheClusters": []}
    assert ask(server, "GET", f"/v1/events?account={mine}") == {"Events": []}
    assert all(nodes(other))
    stream.until("reset")
    stream.close()
    # The name is free, and what takes it serves.
    ask(
        server,
        "POST",
        f"/v1/cache-clusters?account={mine}",
        {
            "CacheClusterId": f"c{mine}",
            "CacheNodeType": "cache.t3.micro",
            "Engine": "memcached",
            "NumCacheNodes": 1,
        },
    )
    wait_until(lambda: all(nodes(mine)), what="the new cluster serves")


def test_requests_are_followed_to_what_the_provisioner_did(server: Server) -> None:
    account = own_account()
    request = urllib.request.Request(
        f"{server.url}/v1/cache-clusters?account={account}",
        json.dumps(
            {"CacheClusterId": "traced", "CacheNodeType": "cache.t3.micro", "Engine": "redis"}
        ).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        request_id = answer.headers["x-amzn-requestid"]

    def lines() -> list[dict[str, Any]]:
        return [
            line
            for line in map(_parsed, server.log.splitlines())
            if line.get("token") == request_id or line.get("request_id") == request_id
        ]

    wait_until(
        lambda: {"request_served", "operation_pass_ended"} <= {one["event"] for one in lines()},
        what="the request's id is in the logs of both halves",
    )


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def test_describes_itself(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/docs", timeout=TIMEOUT_S) as answer:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    committed = Path(__file__).parents[2] / "openapi/cachefleet.json"
    assert ask(server, "GET", "/openapi.json") == json.loads(committed.read_text())


def test_prometheus_finds_the_provisioner(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=TIMEOUT_S) as answer:
        text = answer.read().decode()
    assert "\ncachefleet_provisioner_leases " in text
    assert 'cachefleet_http_requests_total{code="none",door="v1"' in text
