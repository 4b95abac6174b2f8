"""The serverless caches of one account, with clients of them."""

from __future__ import annotations

import functools
import ssl
from typing import TYPE_CHECKING, Any

import redis
from pymemcache.client.base import Client as MemcacheClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.server import Server, own_account
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient


class Caches:
    """The serverless caches of one account."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client: ElastiCacheClient = server.client(own_account())
        self.trusted = str(server.data_dir / "tls" / "ca.crt")
        self._open: list[Any] = []

    def begin(self, name: str, engine: str = "valkey", **more: Any) -> None:
        """Ask for a cache, and do not wait for it."""
        self.client.create_serverless_cache(ServerlessCacheName=name, Engine=engine, **more)

    def create(self, name: str, engine: str = "valkey", **more: Any) -> dict[str, Any]:
        """Create a cache, and return it once it serves."""
        self.begin(name, engine, **more)
        cache = self.settled(name)
        assert cache["Status"] == "available", self.client.describe_events()["Events"]
        return cache

    def shown(self, name: str) -> dict[str, Any]:
        """Return a cache as it is described."""
        answer = self.client.describe_serverless_caches(ServerlessCacheName=name)
        return dict(answer["ServerlessCaches"][0])

    def settled(self, name: str) -> dict[str, Any]:
        """Return a cache once nothing is being done to it."""
        return wait_until(
            lambda: self.shown(name),
            lambda cache: cache["Status"] not in ("creating", "modifying"),
            what=f"{name} is settled",
        )

    def modify(self, name: str, **more: Any) -> dict[str, Any]:
        """Change a cache, and return it as it is then."""
        answer = self.client.modify_serverless_cache(ServerlessCacheName=name, **more)
        assert answer["ServerlessCache"]["Status"] == "modifying"
        return self.settled(name)

    def names(self) -> list[str]:
        """Return the names of all caches."""
        return list(self.statuses())

    def statuses(self) -> dict[str, str]:
        """Return the status of each cache."""
        answer = self.client.describe_serverless_caches()
        return {
            cache["ServerlessCacheName"]: cache["Status"] for cache in answer["ServerlessCaches"]
        }

    def snapshots(self) -> dict[str, dict[str, Any]]:
        """Return all snapshots by name."""
        answer = self.client.describe_serverless_cache_snapshots()
        found = answer["ServerlessCacheSnapshots"]
        return {one["ServerlessCacheSnapshotName"]: dict(one) for one in found}

    def snapshot_made(self, name: str) -> dict[str, Any]:
        """Return a snapshot once it is available."""
        return wait_until(
            lambda: self.snapshots()[name],
            lambda snapshot: snapshot["Status"] == "available",
            what=f"{name} is available",
        )

    def connect(self, name: str, *, reads: bool = False, **more: Any) -> Any:
        """Return a client of a cache that knows nothing of clusters."""
        cache = self.shown(name)
        endpoint = cache["ReaderEndpoint" if reads else "Endpoint"]
        client = redis.Redis(
            host=endpoint["Address"],
            port=endpoint["Port"],
            ssl=True,
            ssl_ca_certs=self.trusted,
            decode_responses=True,
            socket_timeout=20,
            retry=Retry(NoBackoff(), 0),
            **more,
        )
        self._open.append(client)
        return client

    def memcached(self, name: str) -> MemcacheClient:
        """Return a client of a memcached cache."""
        endpoint = self.shown(name)["Endpoint"]
        client = MemcacheClient(
            (endpoint["Address"], endpoint["Port"]),
            tls_context=ssl.create_default_context(cafile=self.trusted),
            timeout=20,
        )
        self._open.append(client)
        return client

    def snapshot(self, cache: str, name: str) -> dict[str, Any]:
        """Take a snapshot, and return it once it is available."""
        self.client.create_serverless_cache_snapshot(
            ServerlessCacheName=cache, ServerlessCacheSnapshotName=name
        )
        return self.snapshot_made(name)

    def events(self, name: str) -> list[str]:
        """Return what was told of a cache or a snapshot."""
        found = self.client.describe_events(Duration=60)["Events"]
        return [event["Message"] for event in found if event["SourceIdentifier"] == name]

    def delete(self, name: str) -> None:
        """Have a cache deleted."""
        # What repairs itself just now can be deleted in a moment.
        wait_until(
            functools.partial(self.client.delete_serverless_cache, ServerlessCacheName=name),
            what=f"{name} is being deleted",
            passing=(self.client.exceptions.InvalidServerlessCacheStateFault,),
        )

    def close(self) -> None:
        """Close the clients, and delete what there is."""
        for client in self._open:
            client.close()
        for name, status in self.statuses().items():
            if status != "deleting":
                self.delete(name)
