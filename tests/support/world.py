"""A small fleet that tests may ask but not change: one of each kind of cache, settled.

Made once a module. ``ask`` is synchronous, so that a table of requests is an ordinary table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from tests.builders.snapshots import snapshot_of
from tests.support.api import SCOPE, Api, open_api
from tests.support.settled import put_status, settle

NODE = "cache.t3.micro"
TOKEN = "the-token-of-keyed!"


class World:
    """A front-end over the fleet, and the loop that it runs on."""

    def __init__(self, api: Api, loop: asyncio.AbstractEventLoop) -> None:
        self._api = api
        self._loop = loop

    def ask(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """Call an operation; a refusal is raised as ``Refused``."""
        return self._loop.run_until_complete(self._api(operation, **params))

    def revision(self) -> int:
        """Return a number that grows with every change of the records."""
        return self._loop.run_until_complete(self._api.store.revision(SCOPE))


@contextlib.contextmanager
def open_world(directory: Path) -> Iterator[World]:
    """Give a fleet in a database in *directory*."""
    loop = asyncio.new_event_loop()
    stack = contextlib.AsyncExitStack()
    try:
        api = loop.run_until_complete(stack.enter_async_context(open_api(directory)))
        loop.run_until_complete(_populate(api))
        yield World(api, loop)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


async def _populate(api: Api) -> None:
    for name, family in (
        ("on7", "redis7"),
        ("off7", "redis7"),
        ("four7", "redis7"),
        ("pg6", "redis6.x"),
        ("valk8", "valkey8"),
        ("mem16", "memcached1.6"),
        ("memchunk", "memcached1.6"),
        ("membig", "memcached1.6"),
    ):
        await api(
            "CreateCacheParameterGroup",
            CacheParameterGroupName=name,
            CacheParameterGroupFamily=family,
            Description="d",
        )
    await _set(api, "on7", "cluster-enabled", "yes")
    await _set(api, "four7", "databases", "4")
    await _set(api, "mem16", "max_item_size", "1048577")
    await _set(api, "memchunk", "slab_chunk_max", "2097152")
    await _set(api, "membig", "max_item_size", "134217728")
    await api(
        "CreateCacheSubnetGroup",
        CacheSubnetGroupName="one-zone",
        CacheSubnetGroupDescription="d",
        SubnetIds=["subnet-1"],
    )
    for name, options in _GROUPS.items():
        await api(
            "CreateReplicationGroup",
            **{
                "ReplicationGroupId": name,
                "ReplicationGroupDescription": name,
                "CacheNodeType": NODE,
                **options,
            },
        )
    for name, options in _CLUSTERS.items():
        await api(
            "CreateCacheCluster", **{"CacheClusterId": name, "CacheNodeType": NODE, **options}
        )
    await settle(api)
    await _add_snapshots(api)
    async with api.store.begin(SCOPE) as tx:
        compatible = await tx.get(ReplicationGroup, "compat")
        compatible.cluster_mode = "compatible"
        compatible.parameter_group_name = "default.redis7.cluster.on"
    await put_status(api, ReplicationGroup, "busy", "modifying")
    await put_status(api, ReplicationGroup, "leaving", "deleting")
    await put_status(api, CacheCluster, "stuck-002", "modifying")
    await put_status(api, CacheCluster, "starting", "creating")


async def _set(api: Api, group: str, name: str, value: str) -> None:
    await api(
        "ModifyCacheParameterGroup",
        CacheParameterGroupName=group,
        ParameterNameValues=[{"ParameterName": name, "ParameterValue": value}],
    )


async def _add_snapshots(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        single = await tx.get(CacheCluster, "single")
        valkey = await tx.get(ReplicationGroup, "valkey72")
        shards = await tx.get(ReplicationGroup, "shards")
        for status in ("available", "creating", "restoring", "copying", "exporting", "deleting"):
            await snapshot_of(tx, f"{status}-1", member=single, status=status)
        await snapshot_of(tx, "sharded", group=shards)
        await snapshot_of(
            tx, "of-valkey", member=valkey.members[0], engine="valkey", engine_version="8.0.1"
        )
        for number in range(20):
            name = f"full-{number}"
            tx.enqueue(
                "snapshot",
                subject_uid=shards.uid,
                payload={"of": "multi-001", "kind": "manual", "snapshot": name, "final": False},
            ).state = "done"


_GROUPS: dict[str, dict[str, Any]] = {
    "auto": {"NumCacheClusters": 2, "AutomaticFailoverEnabled": True},
    "multi": {"NumCacheClusters": 3, "AutomaticFailoverEnabled": True, "MultiAZEnabled": True},
    "solo": {},
    "pair": {"NumCacheClusters": 2},
    "full": {"NumCacheClusters": 6},
    "busy": {"NumCacheClusters": 2},
    "leaving": {"NumCacheClusters": 2},
    "stuck": {"NumCacheClusters": 2},
    "custom": {"NumCacheClusters": 2, "CacheParameterGroupName": "off7"},
    "compat": {"NumCacheClusters": 2, "AutomaticFailoverEnabled": True},
    "own": {
        "NumCacheClusters": 2,
        "AutomaticFailoverEnabled": True,
        "CacheParameterGroupName": "off7",
    },
    "sixes": {"NumCacheClusters": 2, "EngineVersion": "6.2", "AutomaticFailoverEnabled": True},
    "valkey": {"Engine": "valkey", "EngineVersion": "8.0", "NumCacheClusters": 2},
    "valkey72": {"Engine": "valkey", "EngineVersion": "7.2", "NumCacheClusters": 2},
    "shards": {
        "NumNodeGroups": 2,
        "ReplicasPerNodeGroup": 1,
        "AutomaticFailoverEnabled": True,
    },
    "sealed": {"TransitEncryptionEnabled": True},
    "either": {"TransitEncryptionEnabled": True, "TransitEncryptionMode": "preferred"},
    "keyed": {"TransitEncryptionEnabled": True, "AuthToken": TOKEN},
    "ancient": {
        "EngineVersion": "4.0.10",
        "TransitEncryptionEnabled": True,
        "AuthToken": TOKEN,
    },
    "bare": {"NumNodeGroups": 2, "ReplicasPerNodeGroup": 0, "AutomaticFailoverEnabled": True},
}
_CLUSTERS: dict[str, dict[str, Any]] = {
    "mem": {"Engine": "memcached", "NumCacheNodes": 3},
    "memx": {"Engine": "memcached", "NumCacheNodes": 2, "AZMode": "cross-az"},
    "single": {"Engine": "redis"},
    "old5": {"Engine": "redis", "EngineVersion": "5.0.6"},
    "starting": {"Engine": "redis"},
}
