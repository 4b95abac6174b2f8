"""A great many keys of every type through a snapshot into another number of shards, and compared.

Prints what each step took, and ends with a status of 1 where what came back is not what was there.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import redis
from redis.cluster import ClusterNode, RedisCluster

from bench.fleet import client, running

KEYS = 200_000
SHARDS, SHARDS_AFTER = 3, 5
BATCH = 2_000
LARGE = 700
SCAN_COUNT = 2_000
WRITERS = 2
DIGEST_BITS = 256
LATER_MS = 10**10  # from 2001: some three months, and none of it ends while we look
LIBRARIES = [
    f"#!lua name=lib{number}\nredis.register_function('f{number}', function() return {number} end)"
    for number in range(3)
]
DONE_WITHIN_S = 3_600.0
POLL_S = 0.5

# How a value of each type is asked for, in an order that does not depend on where it lies.
READS = {
    b"string": lambda pipe, key: pipe.get(key),
    b"list": lambda pipe, key: pipe.lrange(key, 0, -1),
    b"set": lambda pipe, key: pipe.smembers(key),
    b"zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
    b"hash": lambda pipe, key: pipe.hgetall(key),
    b"stream": lambda pipe, key: pipe.xrange(key),
}


def endpoints(row: dict[str, Any]) -> tuple[str, int]:
    """Return where a group in cluster mode is."""
    told = row["ConfigurationEndpoint"]
    return told["Address"], told["Port"]


def write(address: tuple[str, int], first: int, last: int) -> None:
    """Write the keys of some numbers, each of them the same whoever writes it."""
    dice = random.Random(first)
    ends_ms = int(time.time() * 1000) + LATER_MS
    engine = RedisCluster(startup_nodes=[ClusterNode(*address)])
    for start in range(first, last, BATCH):
        pipe = engine.pipeline()
        for number in range(start, min(start + BATCH, last)):
            put(pipe, number, dice, ends_ms)
        pipe.execute()
    engine.close()


def put(pipe: Any, number: int, dice: random.Random, ends_ms: int) -> None:
    """Write one key of the type that its number says; one of seven has an end."""
    # Some are large enough for the engine to keep them in another shape.
    key, size = f"key:{number}", LARGE if number % 1009 < 10 else number % 5 + 1
    match number % 10:
        case 0 | 1 | 2:
            pipe.set(key, dice.randbytes(20 * size))
        case 3:
            pipe.set(key, number)
        case 4:
            pipe.rpush(key, *[f"item {n}" for n in range(size)])
        case 5:
            pipe.sadd(key, *range(number, number + size))
        case 6:
            pipe.sadd(key, *[f"member {n}" for n in range(size)])
        case 7:
            pipe.zadd(key, {f"member {n}": n / 7 for n in range(size)})
        case 8:
            pipe.hset(key, mapping={f"field {n}": f"value {number}" for n in range(size)})
        case _:
            for n in range(size):
                pipe.xadd(key, {"field": n}, id=f"{n + 1}-1")
    if number % 7 == 0:
        pipe.pexpireat(key, ends_ms + number)


def digest(address: tuple[str, int]) -> tuple[int, int, str]:
    """Return how many keys a node has, how many of them end, and the sum of their digests.

    A sum, because no two nodes have their keys in one order.
    """
    engine = redis.Redis(host=address[0], port=address[1])
    count, ending, total = 0, 0, 0
    for keys in batches(engine):
        pipe = engine.pipeline(transaction=False)
        for key in keys:
            pipe.type(key)
            pipe.pexpiretime(key)
        told = pipe.execute()
        kinds, ends = told[::2], told[1::2]
        for key, kind in zip(keys, kinds, strict=True):
            READS[kind](pipe, key)
        values = pipe.execute()
        for key, kind, end, value in zip(keys, kinds, ends, values, strict=True):
            shown = sorted(value) if kind == b"set" else value
            shown = sorted(value.items()) if kind == b"hash" else shown
            whole = hashlib.sha256(repr((key, kind, end, shown)).encode()).digest()
            total = (total + int.from_bytes(whole, "big")) % (1 << DIGEST_BITS)
            ending += end > 0
        count += len(keys)
    libraries = sorted(row[1] for row in engine.function_list())
    assert len(libraries) == len(LIBRARIES), f"{address} has the functions {libraries}"
    engine.close()
    return count, ending, f"{total:064x}"


def batches(engine: redis.Redis) -> Iterator[list[bytes]]:
    """Give every key of a node once."""
    seen: set[bytes] = set()
    cursor = 0
    while True:
        answer: Any = engine.scan(cursor, count=SCAN_COUNT)
        cursor, found = answer
        fresh = [key for key in dict.fromkeys(found) if key not in seen]
        seen.update(fresh)
        if fresh:
            yield fresh
        if not cursor:
            return


def digest_of(address: tuple[str, int], pool: ProcessPoolExecutor) -> tuple[int, int, str]:
    """Return the same of a whole cluster."""
    cluster = RedisCluster(startup_nodes=[ClusterNode(*address)])
    nodes = [(str(node.host), int(node.port)) for node in cluster.get_primaries()]
    cluster.close()
    parts = list(pool.map(digest, nodes))
    total = sum(int(part[2], 16) for part in parts) % (1 << DIGEST_BITS)
    return sum(p[0] for p in parts), sum(p[1] for p in parts), f"{total:064x}"


def settled(ask: Any, status: str, busy: str) -> dict[str, Any]:
    """Wait until what *ask* returns is no longer *busy*, and insist that it is available."""
    deadline_s = time.monotonic() + DONE_WITHIN_S
    while (row := ask())[status] == busy and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    if row[status] != "available":
        raise SystemExit(f"it is {row[status]}: {row}")
    return dict(row)


def group(api: Any, name: str, shards: int, **options: Any) -> dict[str, Any]:
    """Create a group in cluster mode, and wait for it."""
    api.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="round trip",
        NumNodeGroups=shards,
        ReplicasPerNodeGroup=0,
        AutomaticFailoverEnabled=True,
        **options,
    )
    return settled(
        lambda: api.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0],
        "Status",
        "creating",
    )


class Steps:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def done(self, what: str, more: str = "") -> None:
        """Print a step that has ended."""
        now = time.perf_counter()
        print(f"| {what} | {now - self._began:.1f} s | {more} |", flush=True)
        self._began = now


def main() -> None:
    """Fill, take, restore, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--shards-after", type=int, default=SHARDS_AFTER)
    options = parser.parse_args()
    print("| step | took | |\n|---|---|---|")
    with running() as (url, _), ProcessPoolExecutor(WRITERS) as pool:
        api, steps = client(url), Steps()
        row = group(api, "before", options.shards, Engine="valkey", CacheNodeType="cache.r6g.large")
        share = -(-options.keys // WRITERS)
        firsts = range(0, options.keys, share)
        work = [
            pool.submit(write, endpoints(row), first, min(first + share, options.keys))
            for first in firsts
        ]
        for one in work:
            one.result()
        cluster = RedisCluster(startup_nodes=[ClusterNode(*endpoints(row))])
        for node in cluster.get_primaries():
            for library in LIBRARIES:
                cluster.execute_command("FUNCTION", "LOAD", library, target_nodes=node)
        cluster.close()
        steps.done("written", f"{options.keys} keys")
        before = digest_of(endpoints(row), pool)
        steps.done("read", f"{before[0]} keys, {before[1]} with an end")
        api.create_snapshot(SnapshotName="all", ReplicationGroupId="before")
        taken = settled(
            lambda: api.describe_snapshots(SnapshotName="all")["Snapshots"][0],
            "SnapshotStatus",
            "creating",
        )
        sizes = ", ".join(node["CacheSize"] for node in taken["NodeSnapshots"])
        steps.done(f"snapshot of {options.shards} shards", sizes)
        back = group(api, "after", options.shards_after, SnapshotName="all")
        steps.done(f"restored into {options.shards_after} shards")
        after = digest_of(endpoints(back), pool)
        steps.done("read again", f"{after[0]} keys, {after[1]} with an end")
    print(f"\nbefore {before[2]}\nafter  {after[2]}")
    if before != after or before[0] != options.keys:
        sys.exit("what came back is not what was there")
    print("the same")


if __name__ == "__main__":
    main()
