"""VPC security groups on the data path: rules of EC2 (moto's server) and of our own."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.support.server import (
    ACCOUNT,
    REGION,
    Server,
    available_cluster,
    available_group,
    cluster_of,
    group_of,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NEAR, FAR = "127.0.0.1", "127.0.77.7"  # two places that a client may come from
TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def ec2() -> Iterator[Any]:
    """Give EC2, as a server of its own."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "ec2",
        endpoint_url=f"http://{host}:{port}",
        region_name=REGION,
        aws_access_key_id=ACCOUNT,
        aws_secret_access_key="x",
    )
    yield client
    client.close()
    server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ec2: Any) -> Iterator[Server]:
    url = ec2.meta.endpoint_url
    with Server(
        tmp_path_factory.mktemp("guarded") / "data",
        *("--enforce-security-groups", "--ec2-endpoint-url", url),
        AWS_ACCESS_KEY_ID="x",
    ) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> ElastiCacheClient:
    return server.client()


def permission(*networks: str, port: int = 6379) -> dict[str, Any]:
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": network} for network in networks],
    }


@pytest.fixture(scope="module")
def group_id(ec2: Any) -> str:
    """Give a security group of EC2 that lets two places in."""
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    made: str = ec2.create_security_group(GroupName="caches", Description="d", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=made, IpPermissions=[permission(f"{NEAR}/32"), permission(f"{FAR}/32")]
    )
    return made


@pytest.fixture(scope="module")
def cache(client: ElastiCacheClient, group_id: str) -> str:
    return created(client, "guarded", SecurityGroupIds=[group_id])


def created(client: ElastiCacheClient, name: str, **options: Any) -> str:
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="d",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        **options,
    )
    available_group(client, name)
    return name


def endpoints(client: ElastiCacheClient, name: str) -> list[tuple[str, int]]:
    """Return every address at which clients reach the cache."""
    (shard,) = group_of(client, name)["NodeGroups"]
    found = [shard["PrimaryEndpoint"], shard["ReaderEndpoint"]]
    found += [member["ReadEndpoint"] for member in shard["NodeGroupMembers"]]
    return [(one["Address"], one["Port"]) for one in found]


@contextlib.contextmanager
def connect(where: tuple[str, int], source: str = NEAR) -> Iterator[socket.socket]:
    link = socket.create_connection(where, timeout=TIMEOUT_S, source_address=(source, 0))
    with link:
        yield link


def answers(link: socket.socket) -> bool:
    """Tell whether the engine answers; a connection that was cut does not."""
    try:
        link.sendall(b"PING\r\n")
        return link.recv(64) == b"+PONG\r\n"
    except OSError:
        return False


def is_let_in(where: tuple[str, int], source: str = NEAR) -> bool:
    try:
        with connect(where, source) as link:
            return answers(link)
    except OSError:
        return False


def becomes(look: Callable[[], bool], wanted: bool, what: str) -> None:
    wait_until(look, lambda answer: answer is wanted, what=what)


def test_only_who_a_rule_lets_in_is_served(
    client: ElastiCacheClient, cache: str, ec2: Any, group_id: str
) -> None:
    for where in endpoints(client, cache):
        assert is_let_in(where, NEAR)
        assert is_let_in(where, FAR)
        assert not is_let_in(where, "127.0.0.2")
    where = endpoints(client, cache)[0]
    with connect(where, FAR) as far, connect(where, NEAR) as near:
        assert answers(far)
        assert answers(near)
        revoked = [permission(f"{FAR}/32")]
        ec2.revoke_security_group_ingress(GroupId=group_id, IpPermissions=revoked)
        becomes(lambda: answers(far), wanted=False, what="the open connection is cut")
        assert answers(near)
    for place in endpoints(client, cache):
        assert not is_let_in(place, FAR)
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=revoked)
    becomes(lambda: is_let_in(where, FAR), wanted=True, what="the rule is back")


def test_a_rule_for_another_port_lets_nobody_in(
    client: ElastiCacheClient, cache: str, ec2: Any
) -> None:
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    other = ec2.create_security_group(GroupName="other", Description="d", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=other, IpPermissions=[permission("0.0.0.0/0", port=6380)]
    )
    before = client.describe_cache_clusters(CacheClusterId=f"{cache}-001")["CacheClusters"][0]
    client.modify_replication_group(
        ReplicationGroupId=cache, SecurityGroupIds=[other], ApplyImmediately=True
    )
    where = endpoints(client, cache)[0]
    becomes(lambda: is_let_in(where), wanted=False, what="the cache is closed")
    available_group(client, cache)
    client.modify_replication_group(
        ReplicationGroupId=cache,
        SecurityGroupIds=[one["SecurityGroupId"] for one in before["SecurityGroups"]],
        ApplyImmediately=True,
    )
    becomes(lambda: is_let_in(where), wanted=True, what="the cache is open again")
    assert all(is_let_in(place) for place in endpoints(client, cache))


def test_groups_are_defined_without_ec2(server: Server, client: ElastiCacheClient) -> None:
    url = f"{server.url}/v1/vpc-security-groups"
    with httpx.Client(timeout=TIMEOUT_S) as http:
        rules = {"Ingress": [{"Cidr": f"{NEAR}/32"}]}
        made = http.put(f"{url}/sg-own", json=rules)
        assert made.status_code == 200, made.text
        assert made.json() == {
            "SecurityGroupId": "sg-own",
            "Ingress": [{"Cidr": f"{NEAR}/32", "FromPort": 0, "ToPort": 65535}],
        }
        name = created(client, "own-rules", SecurityGroupIds=["sg-own"])
        where = endpoints(client, name)[0]
        assert is_let_in(where, NEAR)
        assert not is_let_in(where, FAR)
        assert http.get(url).json()["SecurityGroups"] == [made.json()]
        http.put(f"{url}/sg-own", json={"Ingress": []})
        becomes(lambda: is_let_in(where), wanted=False, what="nobody is let in")
        for wrong in (
            {"Ingress": [{"Cidr": "nonsense"}]},
            {"Ingress": [{"Cidr": "10.0.0.1/8"}]},
            {"Ingress": [{"Cidr": "0.0.0.0/0", "FromPort": 2, "ToPort": 1}]},
            {"Ingress": [{"Cidr": "0.0.0.0/0"}] * 61},
            {"Ingress": [{"Cidr": "0.0.0.0/0", "Colour": "red"}]},
        ):
            assert http.put(f"{url}/sg-own", json=wrong).status_code in (400, 422)
        assert http.put(f"{url}/nonsense", json=rules).status_code == 400
        assert http.delete(f"{url}/sg-own").status_code == 204
        assert http.delete(f"{url}/sg-own").status_code == 400


def test_a_cache_without_groups_lets_nobody_in(client: ElastiCacheClient) -> None:
    name = created(client, "closed")
    assert not is_let_in(endpoints(client, name)[0])


def memcached_answers(link: socket.socket) -> bool:
    try:
        link.sendall(b"version\r\n")
        return link.recv(64).startswith(b"VERSION")
    except OSError:
        return False


def allow(url: str, *places: str) -> None:
    """Define a group of our own that lets these places in."""
    rules = {"Ingress": [{"Cidr": f"{place}/32"} for place in places]}
    httpx.put(url, json=rules, timeout=TIMEOUT_S).raise_for_status()


def test_memcached_is_guarded_as_well(server: Server, client: ElastiCacheClient) -> None:
    group = f"{server.url}/v1/vpc-security-groups/sg-mem"
    allow(group, NEAR, FAR)
    client.create_cache_cluster(
        CacheClusterId="mem",
        Engine="memcached",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=2,
        SecurityGroupIds=["sg-mem"],
    )
    available_cluster(client, "mem")
    cluster = cluster_of(client, "mem")
    told = [cluster["ConfigurationEndpoint"], *(one["Endpoint"] for one in cluster["CacheNodes"])]
    places = [(one["Address"], one["Port"]) for one in told]
    for where in places:
        for source in (NEAR, FAR):
            with connect(where, source) as link:
                assert memcached_answers(link)
        assert not is_let_in(where, "127.0.0.2")
        with connect(where) as link:
            link.sendall(b"config get cluster\r\n")
            reply = link.recv(4096)
            assert all(f"{host}|{port}".encode() in reply for host, port in places[1:])
    with connect(places[1], FAR) as far, connect(places[1], NEAR) as near:
        assert memcached_answers(far)
        allow(group, NEAR)
        becomes(lambda: memcached_answers(far), wanted=False, what="the open connection is cut")
        assert memcached_answers(near)
    client.modify_cache_cluster(CacheClusterId="mem", NumCacheNodes=3, ApplyImmediately=True)
    available_cluster(client, "mem")
    newest = cluster_of(client, "mem")["CacheNodes"][2]["Endpoint"]
    with connect((newest["Address"], newest["Port"])) as link:
        assert memcached_answers(link)
    assert not is_let_in((newest["Address"], newest["Port"]), FAR)


def test_a_serverless_cache_is_guarded(client: ElastiCacheClient, group_id: str) -> None:
    client.create_serverless_cache(
        ServerlessCacheName="guarded", Engine="valkey", SecurityGroupIds=[group_id]
    )
    cache = wait_until(
        lambda: client.describe_serverless_caches(ServerlessCacheName="guarded")[
            "ServerlessCaches"
        ][0],
        lambda cache: cache["Status"] == "available",
        what="the cache is available",
    )
    host = cache["Endpoint"]["Address"]

    def shakes_hands(source: str) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with connect((host, 6379), source) as link, context.wrap_socket(link) as secured:
                return answers(secured)
        except OSError:
            return False

    assert shakes_hands(NEAR)
    assert not shakes_hands("127.0.88.8")
    client.modify_serverless_cache(ServerlessCacheName="guarded", SecurityGroupIds=["sg-nowhere"])
    becomes(lambda: shakes_hands(NEAR), False, "nobody is let in by a group that is not there")


def test_a_node_that_stands_alone_is_guarded_and_reached(
    client: ElastiCacheClient, group_id: str
) -> None:
    client.create_cache_cluster(
        CacheClusterId="alone",
        Engine="redis",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=1,
        SecurityGroupIds=[group_id],
    )
    (node,) = available_cluster(client, "alone")["CacheNodes"]
    where = node["Endpoint"]["Address"], node["Endpoint"]["Port"]
    with connect(where) as link:
        assert answers(link)
    with connect(where, "127.0.99.9") as link:
        assert not answers(link)
