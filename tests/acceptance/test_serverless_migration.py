"""Migration of a cluster outside into a serverless cache: one endpoint, no error, nothing lost."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from cachefleet.engine.pki import Identity, issue, new_authority
from cachefleet.engine.types import Engine
from tests.support.aws import running_cloud
from tests.support.length import at_length
from tests.support.outside import OutsideCluster, OutsideServer
from tests.support.ports import own_port
from tests.support.server import Server
from tests.support.serverless import Caches
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

SHARDS, KEYS = 2, 500
REST_S = 0.002
PASSWORD = "a-password-of-16-or-more"


@pytest.fixture(scope="module")
def caches(server: Server) -> Iterator[Caches]:
    found = Caches(server)
    yield found
    found.close()


@pytest.fixture(scope="module")
def source() -> Iterator[OutsideCluster]:
    with OutsideCluster(SHARDS, Engine.REDIS) as outside:
        yield outside


class Writer(threading.Thread):
    """Counts up through the endpoint, over one connection, until it is told to stop."""

    def __init__(self, client: Any) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._stopping = threading.Event()
        self.count = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._stopping.wait(REST_S):
            try:
                self._client.set(f"n:{self.count}", self.count)
                self._client.incr(f"total:{self.count % 7}")
                self.count += 1
            except redis.RedisError as error:
                self.failures.append(str(error))
                return

    def stop(self) -> int:
        self._stopping.set()
        self.join(20)
        assert not self.is_alive()
        return self.count


def migration(caches: Caches, name: str) -> dict[str, Any]:
    return dict(caches.shown(name).get("Migration") or {})


def reached(caches: Caches, name: str, status: str) -> dict[str, Any]:
    return wait_until(
        lambda: migration(caches, name),
        lambda told: told.get("Status") == status,
        what=f"the migration into {name} is {status}",
    )


def prepare(caches: Caches, name: str, source: OutsideCluster) -> None:
    answer = caches.client.prepare_migration(
        ServerlessCacheName=name, CustomerNodeEndpointList=source.endpoints
    )["ServerlessCache"]
    assert answer["Status"] == "modifying"
    assert answer["Migration"]["Status"] == "preparing"
    told = reached(caches, name, "ready")
    assert told["MigrationEndpoint"] == caches.shown(name)["Endpoint"]
    assert caches.shown(name)["Status"] == "available"


def test_clients_stay_connected_and_nothing_is_lost(caches: Caches, source: OutsideCluster) -> None:
    caches.create("taker")
    with contextlib.closing(source.client()) as there:
        for number in range(KEYS):
            there.set(f"k:{number}", number)
        there.hset("hash", mapping={"a": "1", "b": "2"})
        there.set("short", "lived", ex=3600)
        prepare(caches, "taker", source)
        client = caches.connect("taker", single_connection_client=True)
        assert client.get("k:7") == "7", "the endpoint leads to the source"
        client.set("through", "the endpoint")
        assert there.get("through") == "the endpoint"
        (only,) = client.execute_command("CLUSTER SLOTS")
        assert only[:2] == [0, 16383]
        writer = Writer(caches.connect("taker", single_connection_client=True))
        writer.start()
        caches.client.start_migration(ServerlessCacheName="taker")
        assert reached(caches, "taker", "in-sync")["CutoverMode"] == "manual"
        wait_until(lambda: writer.count > 50, what="some was written meanwhile")
        before = writer.count
        answer = caches.client.complete_migration(ServerlessCacheName="taker")["ServerlessCache"]
        assert answer["Status"] == "modifying"
        wait_until(lambda: not migration(caches, "taker"), what="the migration is over")
        assert caches.settled("taker")["Status"] == "available"
        wait_until(lambda: writer.count > before + 50, what="it goes on")
        count = writer.stop()
        assert writer.failures == [], "no client saw anything of it"
        assert [n for n in range(KEYS) if client.get(f"k:{n}") != str(n)] == []
        assert [n for n in range(count) if client.get(f"n:{n}") != str(n)] == []
        assert sum(int(client.get(f"total:{n}") or 0) for n in range(7)) == count
        assert client.hgetall("hash") == {"a": "1", "b": "2"}
        assert 0 < client.ttl("short") <= 3600
        client.set("after", "1")
        assert there.get("after") is None
        assert there.get(f"n:{count - 1}") is None, "the source is on its own"
    assert "Migration into cache taker is complete." in caches.events("taker")


def told(caches: Caches, name: str, text: str) -> None:
    wait_until(
        lambda: [message for message in caches.events(name) if text in message],
        what=f"an event of {name} says {text}",
    )


def test_stopped_begun_again_and_cut_over_by_itself(caches: Caches, source: OutsideCluster) -> None:
    caches.create("again")
    caches.connect("again").set("own", "data")
    prepare(caches, "again", source)
    with contextlib.closing(source.client()) as there:
        there.set("first", "1")
        # It is not empty: the sync fails, the migration stays open, and clients where they are.
        caches.client.start_migration(ServerlessCacheName="again")
        told(caches, "again", "ClearTargetCacheData was not given")
        reached(caches, "again", "stopped")
        client = caches.connect("again")
        assert client.get("first") == "1"
        caches.client.start_migration(ServerlessCacheName="again", ClearTargetCacheData=True)
        reached(caches, "again", "in-sync")
        caches.client.stop_migration(ServerlessCacheName="again")
        reached(caches, "again", "stopped")
        there.set("second", "2")
        assert client.get("second") == "2"
        with pytest.raises(caches.client.exceptions.InvalidParameterCombinationException):
            caches.client.start_migration(ServerlessCacheName="again")
        with pytest.raises(caches.client.exceptions.MigrationHealthFault):
            caches.client.complete_migration(ServerlessCacheName="again")
        caches.client.start_migration(
            ServerlessCacheName="again", ClearTargetCacheData=True, AutoCutover=True
        )
        assert migration(caches, "again").get("CutoverMode") in ("auto", None)
        wait_until(lambda: not migration(caches, "again"), what="it cuts over by itself")
        assert client.get("first") == "1"
        assert client.get("second") == "2"
        assert client.get("own") is None
        client.set("here", "only")
        assert there.get("here") is None


def test_what_cannot_be_taken_over_is_told_and_nothing_has_changed(
    caches: Caches, source: OutsideCluster
) -> None:
    caches.create("keeps")
    caches.connect("keeps").set("own", "data")
    with OutsideServer(Engine.REDIS) as plain, OutsideCluster(1, Engine.VALKEY) as newer:
        cases: tuple[tuple[Any, str], ...] = (
            (plain.endpoints, "cluster mode is disabled on the source"),
            (newer.endpoints, "it has to be between"),
            ([{"Address": "127.0.0.1", "Port": 1}], "nothing that speaks the protocol answers"),
        )
        for endpoints, words in cases:
            caches.client.prepare_migration(
                ServerlessCacheName="keeps", CustomerNodeEndpointList=endpoints
            )
            told(caches, "keeps", words)
            assert caches.settled("keeps")["Status"] == "available"
            assert not migration(caches, "keeps")
    assert caches.connect("keeps").get("own") == "data"
    # One that was prepared is ended by force: the cache serves what it has.
    prepare(caches, "keeps", source)
    assert caches.connect("keeps").get("own") is None
    with pytest.raises(caches.client.exceptions.InvalidServerlessCacheStateFault):
        caches.client.delete_serverless_cache(ServerlessCacheName="keeps")
    caches.client.complete_migration(ServerlessCacheName="keeps", Force=True)
    wait_until(lambda: not migration(caches, "keeps"), what="it has ended")
    assert caches.connect("keeps").get("own") == "data"


@at_length
def test_a_source_with_tls_and_a_password(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = new_authority(fleet="outside", now=now)
    identity = Identity(common_name="source", addresses=("127.0.0.1",))
    pair = issue(authority, identity, now=now)
    for name, data in (("crt", pair.certificate), ("key", pair.key)):
        (tmp_path / f"source.{name}").write_bytes(data)
    secured = own_port()
    options = {
        "tls-port": str(secured),
        "tls-cert-file": str(tmp_path / "source.crt"),
        "tls-key-file": str(tmp_path / "source.key"),
        "tls-auth-clients": "no",
        "requirepass": PASSWORD,
    }
    with (
        running_cloud() as cloud,
        OutsideCluster(1, Engine.REDIS, **options) as source,
        Server(tmp_path / "data", secretsmanager_endpoint_url=cloud.url) as server,
    ):
        found = Caches(server)
        secret: str = cloud.client("secretsmanager").create_secret(
            Name="login", SecretString=json.dumps({"username": "default", "password": PASSWORD})
        )["ARN"]
        found.create("safe")
        params: Any = {
            "ServerlessCacheName": "safe",
            "CustomerNodeEndpointList": [{"Address": "127.0.0.1", "Port": secured}],
            "SourceTlsConfiguration": {
                "SourceTlsMode": "verify-ca",
                "SourceTlsCertificate": authority.certificate.decode(),
            },
        }
        found.client.prepare_migration(**params)
        told(found, "safe", "asks for a password")
        found.settled("safe")
        params["SourceAuthenticationConfiguration"] = {
            "SecretManagerConfig": {"SecretArn": f"{secret[:-6]}nobody"}
        }
        found.client.prepare_migration(**params)
        told(found, "safe", "cannot be read: ResourceNotFoundException")
        found.settled("safe")
        params["SourceAuthenticationConfiguration"]["SecretManagerConfig"]["SecretArn"] = secret
        found.client.prepare_migration(**params)
        reached(found, "safe", "ready")
        with pytest.raises(redis.AuthenticationError):
            found.connect("safe").get("k")
        client = found.connect("safe", password=PASSWORD, single_connection_client=True)
        client.set("k", "v")
        assert PASSWORD not in (server.data_dir / "cachefleet.db").read_bytes().decode("latin-1")
        found.client.start_migration(ServerlessCacheName="safe", AutoCutover=True)
        wait_until(lambda: not migration(found, "safe"), what="it cuts over by itself")
        assert client.get("k") == "v"
        source.nodes[0].kill()
        assert client.get("k") == "v"
        found.close()
