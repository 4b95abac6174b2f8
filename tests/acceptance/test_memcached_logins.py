"""Logins of memcached clusters, set through /v1: SASL and text, bundled and stock servers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.files import below
from tests.support.server import Server, available_cluster, cluster_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

bmemcached: Any = pytest.importorskip("bmemcached")

NAME = "ann"
OLD, NEW, OTHER = "the-first-password-of-ann", "the-second-password-of-ann", "the-password-of-bob"
TIMEOUT_S = 20.0
REFUSALS = (
    bmemcached.exceptions.MemcachedException,
    bmemcached.exceptions.AuthenticationNotSupported,
    OSError,
)


@pytest.fixture(scope="module", params=["bundled", "stock"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    flavor: str = request.param
    if flavor == "stock" and shutil.which("memcached") is None:
        pytest.skip("memcached is not installed")
    directory = tmp_path_factory.mktemp("logins") / "data"
    with Server(directory, memcached_flavor=flavor) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> ElastiCacheClient:
    return server.client()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/v1/cache-clusters", timeout=TIMEOUT_S) as opened:
        yield opened


def create(client: ElastiCacheClient, name: str, **options: Any) -> None:
    client.create_cache_cluster(
        CacheClusterId=name,
        Engine="memcached",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=2,
        **options,
    )
    available_cluster(client, name)


def put(
    client: ElastiCacheClient, http: httpx.Client, where: str, password: str, **more: str
) -> None:
    answer = http.put(where, json={"Password": password, **more})
    assert answer.status_code == 200, answer.text
    assert password not in answer.text
    available_cluster(client, where.split("/")[0])


def addresses(client: ElastiCacheClient, name: str) -> list[tuple[str, int]]:
    nodes = cluster_of(client, name)["CacheNodes"]
    return [(node["Endpoint"]["Address"], node["Endpoint"]["Port"]) for node in nodes]


def lets_in(where: tuple[str, int], user: str, password: str) -> bool:
    """Tell whether an unmodified SASL client can use the node."""
    cache = bmemcached.Client((f"{where[0]}:{where[1]}",), user, password)
    try:
        return bool(cache.set("k", "v")) and cache.get("k") == "v"
    except REFUSALS:
        return False
    finally:
        for one in cache.servers:
            if one.connection is not None:
                one.connection.close()


@contextlib.contextmanager
def talk(where: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(where, timeout=TIMEOUT_S) as link:
        yield link


def ask(link: socket.socket, line: bytes) -> bytes:
    """Send a request of the text protocol; return its one line of answer, empty at the end."""
    try:
        link.sendall(line)
        return link.recv(256)
    except ConnectionError:
        return b""


def log_in(link: socket.socket, user: str, password: str) -> bytes:
    text = f"{user} {password}".encode()
    return ask(link, b"set any 0 0 %d\r\n%s\r\n" % (len(text), text))


def test_sasl_clients_of_every_node(
    server: Server, client: ElastiCacheClient, http: httpx.Client
) -> None:
    create(client, "sasl")
    with talk(addresses(client, "sasl")[0]) as early:
        assert ask(early, b"version\r\n").startswith(b"VERSION")
        put(client, http, f"sasl/logins/{NAME}", OLD)
        assert ask(early, b"version\r\n") == b""  # it came before there were logins
    for where in addresses(client, "sasl"):
        assert lets_in(where, NAME, OLD)
        assert not lets_in(where, NAME, NEW)
        assert not lets_in(where, "eve", OLD)
        with talk(where) as stranger:
            # Long enough for a header of the binary protocol, which a stock one waits for.
            reply = ask(stranger, b"get some-key-that-nobody-has\r\n")
            assert reply in (b"", b"CLIENT_ERROR unauthenticated\r\n")

    first = addresses(client, "sasl")[0]
    kept = bmemcached.Client((f"{first[0]}:{first[1]}",), NAME, OLD)
    assert kept.set("kept", "by the node")
    for _ in range(2):  # the same once more is no other password
        put(client, http, f"sasl/logins/{NAME}", NEW, Strategy="ROTATE")
    assert kept.get("kept") == "by the node"
    assert http.get("sasl/logins").json()["Logins"][0]["PasswordCount"] == 2
    for where in addresses(client, "sasl"):
        assert lets_in(where, NAME, OLD)
        assert lets_in(where, NAME, NEW)
    put(client, http, f"sasl/logins/{NAME}", NEW)
    client.modify_cache_cluster(CacheClusterId="sasl", NumCacheNodes=3, ApplyImmediately=True)
    available_cluster(client, "sasl")
    assert len(addresses(client, "sasl")) == 3
    for where in addresses(client, "sasl"):
        assert lets_in(where, NAME, NEW)
        assert not lets_in(where, NAME, OLD)
    assert kept.get("kept") == "by the node"  # who is in stays
    kept.disconnect_all()

    put(client, http, "sasl/logins/bob", OTHER)
    assert http.delete(f"sasl/logins/{NAME}").status_code == 204
    available_cluster(client, "sasl")
    assert lets_in(first, "bob", OTHER)
    assert not lets_in(first, NAME, NEW)
    told_nowhere(server, http, OLD, NEW, OTHER)
    assert http.delete("sasl/logins/bob").status_code == 204
    available_cluster(client, "sasl")
    with talk(first) as anybody:
        assert ask(anybody, b"version\r\n").startswith(b"VERSION")


def told_nowhere(server: Server, http: httpx.Client, *secrets: str) -> None:
    """Look for passwords in what people see, and in files that others could read."""
    assert not [one for one in secrets if one in http.get("sasl/logins").text]
    for file in below(server.data_dir):
        if any(one.encode() in file.content for one in secrets):
            # Only a stock memcached has to be told them in clear.
            assert (file.path.name, file.permissions) == ("auth", 0o600)
    assert not [one for one in secrets if one in server.log]


def test_text_clients_log_in_with_a_set(client: ElastiCacheClient, http: httpx.Client) -> None:
    client.create_cache_parameter_group(
        CacheParameterGroupName="text", CacheParameterGroupFamily="memcached1.6", Description="d"
    )
    client.modify_cache_parameter_group(
        CacheParameterGroupName="text",
        ParameterNameValues=[{"ParameterName": "binding_protocol", "ParameterValue": "ascii"}],
    )
    create(client, "text", CacheParameterGroupName="text")
    put(client, http, f"text/logins/{NAME}", OLD)
    put(client, http, f"text/logins/{NAME}", NEW, Strategy="ROTATE")
    for where in addresses(client, "text"):
        for password in (OLD, NEW):
            with talk(where) as link:
                assert ask(link, b"get k\r\n") == b"CLIENT_ERROR unauthenticated\r\n"
                assert log_in(link, NAME, password) == b"STORED\r\n"
                assert ask(link, b"set k 0 0 1\r\nv\r\n") == b"STORED\r\n"
        with talk(where) as link:
            assert log_in(link, NAME, OTHER) == b"CLIENT_ERROR authentication failure\r\n"
    put(client, http, f"text/logins/{NAME}", NEW)
    with talk(addresses(client, "text")[0]) as link:
        assert log_in(link, NAME, OLD) == b"CLIENT_ERROR authentication failure\r\n"
        assert log_in(link, NAME, NEW) == b"STORED\r\n"
    # A node that dies comes back with them.
    client.reboot_cache_cluster(CacheClusterId="text", CacheNodeIdsToReboot=["0001"])
    wait_until(
        lambda: cluster_of(client, "text")["CacheClusterStatus"],
        lambda status: status == "available",
        what="the node is back",
    )
    with talk(addresses(client, "text")[0]) as link:
        assert ask(link, b"get k\r\n") == b"CLIENT_ERROR unauthenticated\r\n"
        assert log_in(link, NAME, NEW) == b"STORED\r\n"


def test_discovery_and_tls_with_logins(client: ElastiCacheClient, http: httpx.Client) -> None:
    create(client, "sealed", TransitEncryptionEnabled=True)
    put(client, http, f"sealed/logins/{NAME}", OLD)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for where in addresses(client, "sealed"):
        cache = bmemcached.Client((f"{where[0]}:{where[1]}",), NAME, OLD, tls_context=context)
        assert cache.set("k", "v")
        assert cache.get("k") == "v"
        cache.disconnect_all()
    endpoint = cluster_of(client, "sealed")["ConfigurationEndpoint"]
    cache = bmemcached.Client(
        (f"{endpoint['Address']}:{endpoint['Port']}",), NAME, OLD, tls_context=context
    )
    assert cache.set("k", "v")
    cache.disconnect_all()


@pytest.mark.parametrize(
    ("where", "body", "status"),
    [
        ("refused/logins/ann", {"Password": "short"}, 400),
        ("refused/logins/ann", {"Password": "x" * 129}, 400),
        ("refused/logins/ann", {"Password": "has a blank in its middle"}, 400),
        ("refused/logins/ann", {"Password": OLD, "Strategy": "BEND"}, 400),
        ("refused/logins/ann", {}, 400),
        ("refused/logins/a:b", {"Password": OLD}, 400),
        ("refused/logins/cachefleet", {"Password": OLD}, 400),
        (f"refused/logins/{'n' * 65}", {"Password": OLD}, 400),
        ("none/logins/ann", {"Password": OLD}, 404),
        ("single/logins/ann", {"Password": OLD}, 400),
    ],
)
def test_refusals_change_nothing(
    server: Server,
    client: ElastiCacheClient,
    http: httpx.Client,
    refused: None,
    where: str,
    body: dict[str, str],
    status: int,
) -> None:
    answer = http.put(where, json=body)
    assert (answer.status_code, OLD in answer.text) == (status, False), answer.text
    assert http.get("refused/logins").json()["Logins"] == []
    assert http.delete("refused/logins/nobody").status_code == 404


@pytest.fixture(scope="module")
def refused(client: ElastiCacheClient) -> None:
    client.create_cache_cluster(
        CacheClusterId="single", Engine="redis", CacheNodeType="cache.t3.micro", NumCacheNodes=1
    )
    create(client, "refused")
    available_cluster(client, "single")


def test_no_more_logins_than_a_stock_memcached_takes(
    client: ElastiCacheClient, http: httpx.Client, refused: None
) -> None:
    create(client, "full")
    for number in range(3):
        put(client, http, f"full/logins/user-{number}", OLD)
    answer = http.put("full/logins/user-3", json={"Password": OLD})
    assert answer.status_code == 400
    assert "3 logins" in answer.text
    wait_until(lambda: len(http.get("full/logins").json()["Logins"]) == 3, what="none was added")
