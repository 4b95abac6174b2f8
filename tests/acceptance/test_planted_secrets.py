"""Secrets of every kind are planted, and looked for wherever somebody might read them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import redis
from botocore.exceptions import ParamValidationError
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachefleet.provisioner.snapshots.keys import Keys
from tests.support.files import below, read_all
from tests.support.server import (
    REGION,
    Server,
    available_cluster,
    available_group,
    command,
    group_of,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

STREAM_BYTES_MAX = 1 << 20
TIMEOUT_S = 30.0
TOKENS = ["planted-token-number-one", "planted-token-number-two"]
USERS = ["planted-password-of-user-1", "planted-password-of-user-2", "planted-password-of-user-3"]
LOGINS = ["planted-password-of-login-1", "planted-password-of-login-2"]
# What to ask of a route whose path names something.
NAMES = {
    "ReplicationGroupId": "keyed",
    "CacheClusterId": "mem",
    "CacheNodeId": "0001",
    "UserId": "ann",
    "UserGroupId": "team",
    "CacheParameterGroupName": "default.valkey8",
    "CacheParameterGroupFamily": "valkey8",
}
QUERIES = {"/v1/metrics": {"MetricName": "CurrConnections"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--log-level", "debug", "--allow-faults")
    with Server(tmp_path_factory.mktemp("planted") / "data", *options) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> ElastiCacheClient:
    return server.client()


@pytest.fixture(scope="module")
def planted(server: Server, client: ElastiCacheClient) -> list[bytes]:
    """Give every secret that there is, each in the forms in which it could get out."""
    told = command("credentials", "create", "--json", "--data-dir", str(server.data_dir)).stdout
    access_key = json.loads(told)["AWS_SECRET_ACCESS_KEY"]
    keyed(client)
    team(client)
    shelf(server, client)
    refused_logins(client, access_key)
    secrets = [*TOKENS, *USERS, *LOGINS, access_key, master_key(server)]
    found = [secret.encode() for secret in secrets]
    data_key = key_of_data(server)
    return [*found, data_key, data_key.hex().encode()]


def keyed(client: ElastiCacheClient) -> None:
    client.create_replication_group(
        ReplicationGroupId="keyed",
        ReplicationGroupDescription="d",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        TransitEncryptionEnabled=True,
        AtRestEncryptionEnabled=True,
        AuthToken=TOKENS[0],
    )
    available_group(client, "keyed")
    client.modify_replication_group(
        ReplicationGroupId="keyed",
        AuthToken=TOKENS[1],
        AuthTokenUpdateStrategy="ROTATE",
        ApplyImmediately=True,
    )
    available_group(client, "keyed")
    with contextlib.suppress(client.exceptions.ClientError):  # refused, and not with the token
        client.modify_replication_group(
            ReplicationGroupId="keyed", AuthToken=TOKENS[0] + "\n", ApplyImmediately=True
        )


def team(client: ElastiCacheClient) -> None:
    common: dict[str, Any] = {"Engine": "valkey", "AccessString": "on ~* +@all"}
    client.create_user(UserId="ann", UserName="ann", Passwords=USERS[:2], **common)
    client.create_user(
        UserId="someone", UserName="someone", AuthenticationMode={"Type": "iam"}, **common
    )
    client.create_user_group(UserGroupId="team", Engine="valkey", UserIds=["ann", "someone"])
    wait_until(
        lambda: client.describe_user_groups(UserGroupId="team")["UserGroups"][0]["Status"],
        lambda status: status == "active",
        what="the user group is active",
    )
    client.create_replication_group(
        ReplicationGroupId="guarded",
        ReplicationGroupDescription="d",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        TransitEncryptionEnabled=True,
        UserGroupIds=["team"],
    )
    available_group(client, "guarded")
    client.modify_user(UserId="ann", Passwords=USERS[1:])
    wait_until(
        lambda: client.describe_users(UserId="ann")["Users"][0]["Status"],
        lambda status: status == "active",
        what="the user is active",
    )


def shelf(server: Server, client: ElastiCacheClient) -> None:
    client.create_cache_cluster(
        CacheClusterId="mem",
        Engine="memcached",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=1,
    )
    available_cluster(client, "mem")
    where = f"{server.url}/v1/cache-clusters/mem/logins/ann"
    for password in LOGINS:
        put(where, {"Password": password, "Strategy": "ROTATE"}).raise_for_status()
        available_cluster(client, "mem")
    assert put(where, {"Password": LOGINS[0] + " "}).status_code == 400


def put(url: str, document: dict[str, str]) -> httpx.Response:
    return httpx.put(url, json=document, timeout=TIMEOUT_S)


def refused_logins(client: ElastiCacheClient, access_key: str) -> None:
    """Use secrets where they are wrong: what is refused is often written down."""
    for name, user, password in [
        ("keyed", None, TOKENS[0] + "x"),
        ("guarded", "ann", USERS[0]),
        ("guarded", "someone", access_key),
    ]:
        where = group_of(client, name)["NodeGroups"][0]["PrimaryEndpoint"]
        with (
            contextlib.closing(
                redis.Redis(
                    host=where["Address"],
                    port=where["Port"],
                    username=user,
                    password=password,
                    ssl=True,
                    ssl_cert_reqs="none",
                    ssl_check_hostname=False,
                    retry=Retry(NoBackoff(), 0),
                )
            ) as link,
            pytest.raises(redis.AuthenticationError),
        ):
            link.ping()


def master_key(server: Server) -> str:
    return (server.data_dir / "master.key").read_text().strip()


def key_of_data(server: Server) -> bytes:
    """Return the key in clear that the group's data is sealed with."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "cachefleet.db")) as database:
        rows = database.execute("SELECT name, data_key FROM replication_groups").fetchall()
    wrapped = json.loads(dict(rows)["keyed"])
    keys = Keys(master_key=server.data_dir / "master.key", kms_endpoint_url=None, region=REGION)
    return keys.unwrap(wrapped)


def require_absent(planted: list[bytes], content: bytes, where: object) -> None:
    for number, secret in enumerate(planted):
        assert secret not in content, f"secret {number} is in {where}"


def test_no_answer_of_v1_tells_a_secret(server: Server, planted: list[bytes]) -> None:
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as http:
        description = http.get("/openapi.json").json()
        asked = 0
        for path, methods in description["paths"].items():
            if "get" not in methods or path == "/":
                continue
            named = path
            for name, value in NAMES.items():
                named = named.replace(f"{{{name}}}", value)
            with http.stream("GET", named, params=QUERIES.get(path, {})) as answer:
                content = b""
                with contextlib.suppress(httpx.ReadTimeout):
                    for piece in answer.iter_raw() if "stream" not in path else ():
                        content += piece
                        assert len(content) < STREAM_BYTES_MAX, path
            asked += answer.status_code == 200
            require_absent(planted, content, named)
        assert asked > 25, "most routes had something to answer"
        for path in ("/metrics", "/openapi.json", "/healthz", "/readyz"):
            require_absent(planted, http.get(path).content, path)
        replay = http.get("/v1/events", params={"MaxRecords": 100})
        assert replay.status_code == 200
        require_absent(planted, replay.content, "events")


def test_no_describe_call_tells_a_secret(
    server: Server, client: ElastiCacheClient, planted: list[bytes]
) -> None:
    asked = 0
    for call in sorted(name for name in dir(client) if name.startswith("describe_")):
        with contextlib.suppress(client.exceptions.ClientError, ParamValidationError):
            require_absent(planted, repr(getattr(client, call)()).encode(), call)
            asked += 1
    assert asked > 15, "most calls had something to answer"


def test_no_process_shows_a_secret(server: Server, planted: list[bytes]) -> None:
    nodes = str(server.data_dir)
    shown = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = b"\0".join(word.encode() for word in process.cmdline())
            ours = process.pid == server.pid or nodes.encode() in words
            require_absent(planted, words, f"the arguments of {process.name()}")
            if ours:
                shown += 1
                environ = Path(f"/proc/{process.pid}/environ").read_bytes()
                require_absent(planted, environ, f"the environment of {process.name()}")
    assert shown >= 5, "the server, its nodes and the gateway"


def test_no_log_and_no_file_has_a_secret(server: Server, planted: list[bytes]) -> None:
    require_absent(planted, server.log.encode(), "the log of the server")
    assert "Traceback" not in server.log
    assert "node_launched" in server.log, "it says much"
    seen = 0
    # Those of encrypted nodes are behind links.
    behind_links = server.data_dir.glob("nodes/*/*")
    for file in (*below(server.data_dir), *read_all(behind_links)):
        if file.path.name == "master.key":
            continue
        seen += 1
        require_absent(planted, file.content, file.path)
        assert file.permissions & 0o077 == 0, file.path
    assert seen > 20
    kept = hashlib.sha256(TOKENS[0].encode()).hexdigest().encode()
    files = read_all(server.data_dir.glob("nodes/*/*"))
    assert any(kept in file.content for file in files), "the search would find what is there"
