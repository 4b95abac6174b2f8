"""Encryption in transit and AUTH tokens, as clients that know nothing of us see them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import valkey
from pymemcache.client.base import Client as MemcacheClient
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from tests.support.files import below, read_all
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    command,
    delete_everything,
    group_gone,
    group_of,
    own_account,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NODE = "cache.t3.micro"
PATIENT_S = 20.0  # a machine can be busy
SHARDED = {
    "CacheParameterGroupName": "default.redis7.cluster.on",
    "NumNodeGroups": 1,
    "ReplicasPerNodeGroup": 1,
}
FIRST, SECOND = "the-first-token-", "the-second-token"
AWAY = (redis.RedisError, redis.exceptions.RedisClusterException)
Address = tuple[str, int]


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[ElastiCacheClient]:
    """Give a client of an account of this module's own; it holds what several tests look at."""
    client = server.client(own_account())
    yield client
    delete_everything(client)


@pytest.fixture(scope="module")
def trusted(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the authority's certificate as an operator exports it."""
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    done = command("ca", "--data-dir", str(server.data_dir), "--export", str(path))
    assert done.returncode == 0, done.stderr
    return str(path)


def create(client: ElastiCacheClient, name: str, engine: str, **more: Any) -> dict[str, Any]:
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="in transit",
        Engine=engine,
        CacheNodeType=NODE,
        AutomaticFailoverEnabled=True,
        **more,
    )
    return available_group(client, name)


def modify(client: ElastiCacheClient, name: str, **more: Any) -> dict[str, Any]:
    client.modify_replication_group(ReplicationGroupId=name, ApplyImmediately=True, **more)
    return available_group(client, name)


def endpoints(group: dict[str, Any]) -> list[Address]:
    """Return every address of a group at which clients are taken."""
    if group["ClusterEnabled"]:
        told = [group["ConfigurationEndpoint"]]
    else:
        shard = group["NodeGroups"][0]
        members = [member["ReadEndpoint"] for member in shard["NodeGroupMembers"]]
        told = [shard["PrimaryEndpoint"], shard["ReaderEndpoint"], *members]
    return [(one["Address"], one["Port"]) for one in told]


@contextlib.contextmanager
def connected(
    address: Address,
    trusted: str | None,
    password: str | None = None,
    *,
    timeout_s: float = PATIENT_S,
) -> Iterator[redis.Redis]:
    """Give a client of one address; without *trusted* it speaks in plain."""
    tls: dict[str, Any] = {} if trusted is None else {"ssl": True, "ssl_ca_certs": trusted}
    client = redis.Redis(
        host=address[0],
        port=address[1],
        password=password,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        **tls,
    )
    try:
        yield client
    finally:
        client.close()


def answer(address: Address, trusted: str | None, password: str | None = None) -> str:
    """Return ``PONG``, or in a word why not."""
    try:
        with connected(address, trusted, password) as client:
            client.ping()
    except redis.AuthenticationError as error:
        return "WRONGPASS" if "WRONGPASS" in str(error) or "invalid" in str(error) else "NOAUTH"
    except (redis.ConnectionError, redis.TimeoutError):
        return "closed"
    return "PONG"


def test_the_authority_is_printed_alone(server: Server, trusted: str) -> None:
    done = command("ca", "--data-dir", str(server.data_dir))
    assert done.stdout == Path(trusted).read_text()
    assert done.stdout.startswith("-----BEGIN CERTIFICATE-----\n")


def test_an_authority_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    tls.mkdir()
    (tls / "ca.crt").write_text("no certificate")
    (tls / "ca.key").write_text("no key")
    done = command("ca", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "cannot be read" in done.stderr


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_required_serves_tls_with_the_token_and_nothing_else(
    shared: ElastiCacheClient, trusted: str, engine: str
) -> None:
    name = f"{engine}-keyed"
    options = {"TransitEncryptionEnabled": True, "AuthToken": FIRST}
    group = create(shared, name, engine, NumCacheClusters=2, **options)
    assert group["Status"] == "available"
    told = {key: group[key] for key in ("TransitEncryptionMode", "AuthTokenEnabled")}
    assert told == {"TransitEncryptionMode": "required", "AuthTokenEnabled": True}
    assert "AuthTokenLastModifiedDate" in group
    for address in endpoints(group):
        assert answer(address, trusted, FIRST) == "PONG"
        assert answer(address, trusted) == "NOAUTH"
        assert answer(address, trusted, SECOND) == "WRONGPASS"
        assert answer(address, None, FIRST) == "closed"
    with connected(endpoints(group)[0], trusted, FIRST) as primary:
        primary.set("k", "v")
        assert primary.wait(1, 15_000) == 1
        assert primary.info("replication")["role"] == "master"
    with connected(endpoints(group)[1], trusted, FIRST) as reader:
        assert reader.get("k") == "v"


def test_only_a_client_that_trusts_the_authority_connects(
    shared: ElastiCacheClient, trusted: str
) -> None:
    host, port = endpoints(group_of(shared, "valkey-keyed"))[0]
    with (
        socket.create_connection((host, port), timeout=PATIENT_S) as sock,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=trusted)
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection((host, port), timeout=PATIENT_S) as sock,
            context.wrap_socket(sock, server_hostname=host) as tls,
        ):
            assert tls.version() == version.name.replace("_", ".")


def test_other_clients_connect_as_well(shared: ElastiCacheClient, trusted: str) -> None:
    host, port = endpoints(group_of(shared, "valkey-keyed"))[0]
    with valkey.Valkey(
        host=host, port=port, ssl=True, ssl_ca_certs=trusted, username="default", password=FIRST
    ) as client:
        assert client.ping()
    with redis.Redis(
        host=host, port=port, ssl=True, ssl_ca_certs=trusted, protocol=3, password=FIRST
    ) as client3:
        assert client3.ping()
    done = subprocess.run(
        ["redis-cli", "-h", host, "-p", str(port), "--tls", "--cacert", trusted, "PING"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"REDISCLI_AUTH": FIRST, "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.strip() == "PONG", done.stderr


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_valkey_glide_connects_as_well(
    shared: ElastiCacheClient, trusted: str, engine: str
) -> None:
    glide = pytest.importorskip("glide")
    host, port = endpoints(group_of(shared, f"{engine}-keyed"))[0]

    async def ask() -> Any:
        tls = glide.TlsAdvancedConfiguration(root_pem_cacerts=Path(trusted).read_bytes())
        client = await glide.GlideClient.create(
            glide.GlideClientConfiguration(
                [glide.NodeAddress(host, port)],
                use_tls=True,
                credentials=glide.ServerCredentials(password=FIRST),
                request_timeout=20_000,
                advanced_config=glide.AdvancedGlideClientConfiguration(
                    connection_timeout=20_000, tls_config=tls
                ),
            )
        )
        try:
            await client.set("by-glide", "v")
            return await client.get("by-glide")
        finally:
            await client.close()

    assert asyncio.run(ask()) == b"v"


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_commands_of_the_service_are_unknown(
    shared: ElastiCacheClient, trusted: str, engine: str
) -> None:
    with connected(endpoints(group_of(shared, f"{engine}-keyed"))[0], trusted, FIRST) as client:
        for words in (("CONFIG", "GET", "*"), ("REPLICAOF", "NO", "ONE"), ("SAVE",), ("DEBUG",)):
            with pytest.raises(redis.ResponseError, match=r"^unknown command"):
                client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_a_cluster_client_finds_every_shard_over_tls(
    shared: ElastiCacheClient, trusted: str, engine: str
) -> None:
    shape = {"NumNodeGroups": 2, "ReplicasPerNodeGroup": 1}
    group = create(shared, f"{engine}-wide", engine, TransitEncryptionEnabled=True, **shape)
    host, port = endpoints(group)[0]
    with RedisCluster(
        host=host, port=port, ssl=True, ssl_ca_certs=trusted, decode_responses=True
    ) as client:
        for number in range(40):
            client.set(f"k{number}", number)
        assert [client.get(f"k{number}") for number in range(40)] == [
            str(number) for number in range(40)
        ]
        assert len(client.get_primaries()) == 2
        assert {node.port for node in client.get_nodes()} == {6379}


@pytest.mark.parametrize(
    ("engine", "shape"),
    [
        pytest.param("valkey", {"NumCacheClusters": 2}, id="valkey"),
        pytest.param("redis", SHARDED, id="redis-cluster"),
    ],
)
def test_the_way_there_and_back_keeps_data_and_connections(
    shared: ElastiCacheClient, trusted: str, engine: str, shape: dict[str, Any]
) -> None:
    name = f"{engine}-moving"
    [address, *_] = endpoints(create(shared, name, engine, **shape))
    with connected(address, None) as early:
        early.set("k", "v")
        group = modify(
            shared, name, TransitEncryptionEnabled=True, TransitEncryptionMode="preferred"
        )
        assert group["TransitEncryptionMode"] == "preferred"
        assert endpoints(group)[0] == address
        assert early.get("k") == "v", "it was connected before"
        with connected(address, None) as plain, connected(address, trusted) as tls:
            assert (plain.get("k"), tls.get("k")) == ("v", "v")
            assert modify(shared, name, TransitEncryptionMode="required")["Status"] == "available"
            for client in (early, plain):
                with pytest.raises(redis.ConnectionError):
                    client.get("k")
            # Wherever TLS ends now, who was connected stays so.
            assert tls.get("k") == "v"
            assert (answer(address, None), answer(address, trusted)) == ("closed", "PONG")
            with connected(address, trusted) as newer:
                assert newer.get("k") == "v"
                modify(shared, name, TransitEncryptionMode="preferred")
                assert (newer.get("k"), tls.get("k")) == ("v", "v")
    assert (answer(address, None), answer(address, trusted)) == ("PONG", "PONG")
    with connected(address, None) as plain:
        assert plain.get("k") == "v"
        group = modify(shared, name, TransitEncryptionEnabled=False)
        assert not group["TransitEncryptionEnabled"]
        assert plain.get("k") == "v"
    assert answer(address, None) == "PONG"
    # An engine that knows no TLS waits for the rest of what is no command to it.
    with connected(address, trusted, timeout_s=0.5) as client, pytest.raises(redis.RedisError):
        client.ping()
    with connected(address, None) as client:
        assert client.get("k") == "v"


def ports_told(group: dict[str, Any], trusted: str) -> set[int]:
    """Return the ports to which any node of a cluster leads clients."""
    [endpoint] = endpoints(group)
    with connected(endpoint, trusted) as client:
        hosts = {str(node[0]) for row in slots_of(client) for node in row[2:]}
    ports: set[int] = set()
    for host in hosts:
        with connected((host, endpoint[1]), trusted) as client:
            ports |= {int(node[1]) for row in slots_of(client) for node in row[2:]}
    return ports


def slots_of(client: Any) -> list[list[Any]]:
    found: list[list[Any]] = client.execute_command("CLUSTER", "SLOTS")
    return found


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_a_cluster_leads_to_its_ports_as_soon_as_they_have_changed(
    shared: ElastiCacheClient, trusted: str, engine: str
) -> None:
    name = f"{engine}-led"
    create(
        shared,
        name,
        engine,
        NumNodeGroups=2,
        ReplicasPerNodeGroup=0,
        TransitEncryptionEnabled=True,
        TransitEncryptionMode="preferred",
    )
    for _ in range(3):
        for mode in ("required", "preferred"):
            group = modify(shared, name, TransitEncryptionMode=mode)
            assert ports_told(group, trusted) == {6379}


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_a_token_is_introduced_rotated_and_confirmed(
    shared: ElastiCacheClient, trusted: str, engine: str
) -> None:
    name = f"{engine}-tokens"
    [address, *_] = endpoints(
        create(shared, name, engine, NumCacheClusters=2, TransitEncryptionEnabled=True)
    )

    def answers() -> tuple[str, str, str]:
        return (
            answer(address, trusted),
            answer(address, trusted, FIRST),
            answer(address, trusted, SECOND),
        )

    with connected(address, trusted) as early:
        early.set("k", "v")
        assert modify(shared, name, AuthToken=FIRST)["AuthTokenEnabled"]
        assert answers() == ("PONG", "PONG", "WRONGPASS")
        with connected(address, trusted, FIRST) as between:
            assert between.get("k") == "v"
            modify(shared, name, AuthToken=FIRST, AuthTokenUpdateStrategy="SET")
            assert between.get("k") == "v", "connections that are there stay"
        assert answers() == ("NOAUTH", "PONG", "WRONGPASS")
        assert early.get("k") == "v", "connections that are there stay"
    with connected(address, trusted, FIRST) as held:
        assert held.get("k") == "v"
        modify(shared, name, AuthToken=SECOND, AuthTokenUpdateStrategy="ROTATE")
        assert answers() == ("NOAUTH", "PONG", "PONG")
        modify(shared, name, AuthToken=SECOND, AuthTokenUpdateStrategy="SET")
        assert answers() == ("NOAUTH", "WRONGPASS", "PONG")
        assert held.get("k") == "v"
    shared.increase_replica_count(ReplicationGroupId=name, NewReplicaCount=2, ApplyImmediately=True)
    for added in endpoints(available_group(shared, name)):
        assert answer(added, trusted) == "NOAUTH"
        assert answer(added, trusted, FIRST) == "WRONGPASS"
        assert answer(added, trusted, SECOND) == "PONG"


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_a_failover_goes_on_over_tls(shared: ElastiCacheClient, trusted: str, engine: str) -> None:
    name = f"{engine}-keyed"
    [address, *_] = endpoints(group_of(shared, name))
    with connected(address, trusted, FIRST) as client:
        client.set("before", "it")
        assert client.wait(1, 15_000) == 1
    before = primary_of(shared, name)
    shared.test_failover(ReplicationGroupId=name, NodeGroupId="0001")
    wait_until(
        lambda: primary_of(shared, name), lambda now: now != before, what="another is primary"
    )

    def write() -> object:
        with connected(address, trusted, FIRST) as client:
            return client.get("before") == "it" and client.set("after", "it")

    wait_until(write, what="a write is served", passing=AWAY)
    available_group(shared, name)


def primary_of(client: ElastiCacheClient, name: str) -> str:
    members = group_of(client, name)["NodeGroups"][0]["NodeGroupMembers"]
    return str(next(m["CacheClusterId"] for m in members if m["CurrentRole"] == "primary"))


def test_memcached_discovers_and_serves_over_tls(shared: ElastiCacheClient, trusted: str) -> None:
    shared.create_cache_cluster(
        CacheClusterId="mem",
        Engine="memcached",
        CacheNodeType=NODE,
        NumCacheNodes=2,
        TransitEncryptionEnabled=True,
    )
    cluster = available_cluster(shared, "mem")
    assert (cluster["TransitEncryptionEnabled"], cluster["TransitEncryptionMode"]) == (
        True,
        "required",
    )
    nodes = [node["Endpoint"] for node in cluster["CacheNodes"]]
    for told in (cluster["ConfigurationEndpoint"], *nodes):
        address = told["Address"], told["Port"]
        context = ssl.create_default_context(cafile=trusted)
        client = MemcacheClient(
            address, tls_context=context, timeout=PATIENT_S, connect_timeout=PATIENT_S
        )
        client.set("k", "v")
        assert client.get("k") == b"v"
        listed = client.raw_command(b"config get cluster", b"END\r\n")
        assert all(f"|{node['Address']}|{node['Port']}".encode() in listed for node in nodes)
        client.close()
        with socket.create_connection(address, timeout=PATIENT_S) as plain:
            plain.sendall(b"version\r\n")
            with contextlib.suppress(ConnectionError):
                assert not plain.recv(64).startswith(b"VERSION")


def test_an_order_to_renew_replaces_certificates_under_open_connections(
    server: Server, shared: ElastiCacheClient, trusted: str
) -> None:
    addresses = [endpoints(group_of(shared, f"{e}-keyed"))[0] for e in ("valkey", "redis")]
    before = [shown(address, trusted) for address in addresses]
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(a, trusted, FIRST)) for a in addresses]
        assert all(client.ping() for client in held)
        done = command("ca", "--data-dir", str(server.data_dir), "--renew")
        assert done.returncode == 0, done.stderr
        for address, old in zip(addresses, before, strict=True):
            wait_until(
                lambda address=address: shown(address, trusted),  # type: ignore[misc]
                lambda now, old=old: now != old,  # type: ignore[misc]
                what="a new certificate is shown",
                timeout_s=60,
            )
        assert all(client.ping() for client in held)


def shown(address: Address, trusted: str) -> bytes:
    """Return the certificate that is shown, which has to be a trusted one."""
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection(address, timeout=PATIENT_S) as sock,
        context.wrap_socket(sock, server_hostname=address[0]) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def test_a_token_is_nowhere_in_clear(server: Server, shared: ElastiCacheClient) -> None:
    for group in shared.describe_replication_groups()["ReplicationGroups"]:
        assert FIRST not in str(group)
    log = server.data_dir.with_name(server.data_dir.name + ".log")
    written = [*below(server.data_dir), *read_all([log])]
    assert len(written) > 1
    for file in written:
        for token in (FIRST, SECOND):
            assert token.encode() not in file.content, file.path
    running = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert FIRST not in running
    assert all(path.stat().st_mode & 0o077 == 0 for path in (server.data_dir / "tls").iterdir()), (
        Path(server.data_dir / "tls")
    )


def test_a_primary_that_is_kept_without_its_group_is_reached_as_before(
    shared: ElastiCacheClient, trusted: str
) -> None:
    group = create(shared, "kept", "valkey", NumCacheClusters=2, TransitEncryptionEnabled=True)
    primary = group["NodeGroups"][0]["NodeGroupMembers"][0]
    assert primary["CurrentRole"] == "primary"
    with connected(endpoints(group)[0], trusted) as client:
        client.set("a", "b")
    shared.delete_replication_group(ReplicationGroupId="kept", RetainPrimaryCluster=True)
    group_gone(shared, "kept")
    (node,) = available_cluster(shared, primary["CacheClusterId"])["CacheNodes"]
    where = node["Endpoint"]["Address"], node["Endpoint"]["Port"]
    assert where == (primary["ReadEndpoint"]["Address"], primary["ReadEndpoint"]["Port"])
    with connected(where, trusted) as client:
        assert client.get("a") == "b"
