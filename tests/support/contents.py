"""What a cache holds, in a form that can be compared: every type, with what has an end."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import redis
from redis.cluster import RedisCluster

from cachefleet.engine.discovery import discover
from cachefleet.engine.types import Engine
from tests.support.waiting import wait_until

LATER_S = 36_000
LIBRARY = "#!lua name=kept\nredis.register_function('seven', function() return 7 end)"


def fill(client: Any, *, tag: str = "") -> None:
    """Write keys of every type; *tag* makes them keys of one slot."""
    for number in range(60):
        key = f"{tag}{number}"
        client.set(f"s{key}", f"text {number} " * number)
        client.set(f"n{key}", number)
        client.set(f"e{key}", "mortal", ex=LATER_S)
        client.rpush(f"l{key}", *[f"item {n}" for n in range(number * 5 + 1)])
        client.sadd(f"i{key}", *range(number + 1))
        client.sadd(f"t{key}", *[f"member {n}" for n in range(number * 3 + 1)])
        client.zadd(f"z{key}", {f"m{n}": n / 7 for n in range(number * 3 + 1)})
        client.hset(f"h{key}", mapping={f"f{n}": f"v{n}" for n in range(number * 3 + 1)})
        for n in range(number % 7 + 1):
            client.xadd(f"x{key}", {"field": n}, id=f"{n + 1}-1")
    client.xgroup_create(f"x{tag}5", "readers", id="0")
    client.xreadgroup("readers", "one", {f"x{tag}5": ">"}, count=2)
    client.setbit(f"b{tag}", 70_001, 1)
    client.pfadd(f"p{tag}", *range(500))
    client.set(f"k{tag}" + "long" * 100, b"\x00\xff\x80 bytes")


def contents(client: Any) -> str:
    """Return a digest of every key with its value, and of which keys have an end."""
    total = hashlib.sha256()
    for key in sorted(client.scan_iter(count=1000)):
        total.update(repr((key, _value(client, key), client.pttl(key) > 0)).encode())
    return total.hexdigest()


def _value(client: Any, key: bytes) -> Any:
    kind = client.type(key)
    match kind:
        case b"string":
            return client.get(key)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"set":
            return sorted(client.smembers(key))
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
        case b"hash":
            return sorted(client.hgetall(key).items())
        case b"stream":
            return client.xrange(key), [
                (g["name"], g["pending"], g["last-delivered-id"]) for g in client.xinfo_groups(key)
            ]
    raise AssertionError(kind)


def connect(group: dict[str, Any]) -> Any:
    """Return a client of a replication group, with or without cluster mode."""
    if group["ClusterEnabled"]:
        told = group["ConfigurationEndpoint"]
        return RedisCluster(host=told["Address"], port=told["Port"])
    told = group["NodeGroups"][0]["PrimaryEndpoint"]
    return redis.Redis(host=told["Address"], port=told["Port"])


class BareEngine:
    """A server that knows nothing of us, on a socket, with an RDB to begin with where given."""

    def __init__(self, directory: Path, engine: Engine, rdb: bytes | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self.file = directory / "dump.rdb"
        if rdb is not None:
            self.file.write_bytes(rdb)
        binary = next(one for one in discover().binaries if one.kind is engine)
        socket_path = directory / "s"
        words = [*binary.argv, "--port", "0", "--unixsocket", str(socket_path), "--save", ""]
        self._process = subprocess.Popen(
            [*words, "--dir", str(directory)], stdout=subprocess.DEVNULL
        )
        self.client = redis.Redis(unix_socket_path=str(socket_path))
        wait_until(
            self.client.ping, what="the bare engine serves", passing=(redis.ConnectionError,)
        )

    def saved(self) -> bytes:
        """Have it write its data, and return that."""
        self.client.save()
        return self.file.read_bytes()

    def __enter__(self) -> BareEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()


def has_engine(engine: Engine) -> bool:
    """Tell whether this machine has a binary of an engine."""
    return any(one.kind is engine for one in discover().binaries)
