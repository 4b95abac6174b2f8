"""The metrics of a Valkey or Redis node, from ``INFO`` and ``INFO commandstats``. Pure.

Which command belongs to which group is asked of the engine (``ACL CAT``), so that a command that a
newer version brings is counted where it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cachefleet.engine.metrics.samples import (
    PERCENT,
    CommandCount,
    Sample,
    host_metrics,
    number,
    plain_metrics,
    since,
)

_STAT: Final = re.compile(r"calls=(\d+),usec=(\d+)", re.ASCII)
_KEYSPACE: Final = re.compile(r"db\d+", re.ASCII)

# The groups of the service by the categories of the engine; a group without one is by name.
CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "GeoSpatialBased": ("geo",),
    "HashBased": ("hash",),
    "HyperLogLogBased": ("hyperloglog",),
    "KeyBased": ("keyspace",),
    "ListBased": ("list",),
    "PubSubBased": ("pubsub",),
    "SetBased": ("set",),
    "SortedSetBased": ("sortedset",),
    "StreamBased": ("stream",),
    "StringBased": ("string", "bitmap"),
    "GetType": ("read",),
    "SetType": ("write",),
}
ASKED: Final = tuple(sorted({one for names in CATEGORIES.values() for one in names}))
_EVAL: Final = frozenset({"eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"})
_OVERLAPPING: Final = frozenset({"GetType", "SetType"})
_LATENCIES: Final = (
    ("SuccessfulReadRequestLatency", "GetType"),
    ("SuccessfulWriteRequestLatency", "SetType"),
)


@dataclass(frozen=True, slots=True)
class CommandGroups:
    """Which commands each category of the engine has; lower case, sub-commands with ``|``."""

    categories: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def groups_of(self, command: str) -> frozenset[str]:
        """Return the groups that a command counts in."""
        if command.partition("|")[0] == "cluster":
            return frozenset({"ClusterBased"})
        if command in _EVAL:
            return frozenset({"EvalBased"})
        groups = {
            group
            for group, names in CATEGORIES.items()
            if any(command in self.categories.get(name, ()) for name in names)
        }
        if "KeyBased" in groups and groups - _OVERLAPPING - {"KeyBased"}:
            groups.discard("KeyBased")  # of a type: @keyspace overlaps with nothing that has one
        if not groups - _OVERLAPPING:
            groups.add("NonKeyType")
        return frozenset(groups)


def parse_command_stats(info: Mapping[str, str]) -> dict[str, CommandCount]:
    """Return how often each command was run, by name."""
    found = {}
    for name, text in info.items():
        match = _STAT.match(text) if name.startswith("cmdstat_") else None
        if match is not None:
            found[name.removeprefix("cmdstat_")] = CommandCount(int(match[1]), int(match[2]))
    return found


def valkey_metrics(before: Sample | None, after: Sample, groups: CommandGroups) -> dict[str, float]:
    """Return every metric that *after*, and what was added since *before*, allow."""
    fields = after.fields
    found = {**plain_metrics(before, after), **host_metrics(after)}
    _copy(
        found,
        fields,
        (("BytesUsedForCache", "used_memory"), ("KeysTracked", "tracking_total_keys")),
    )
    _copy(found, fields, (("CurrConnections", "connected_clients"),))
    found["IsMaster"] = float(fields.get("role") == "master")
    if "master_link_status" in fields:
        found["MasterLinkHealthStatus"] = float(fields["master_link_status"] == "up")
    elif fields.get("role") == "master":
        found["MasterLinkHealthStatus"] = 1.0
    if after.lag_s is not None:
        found["ReplicationLag"] = after.lag_s
    if after.global_lag_s is not None:
        found["GlobalDatastoreReplicationLag"] = after.global_lag_s
    found.update(_memory(fields))
    found.update(_keyspace(fields))
    if before is not None:
        found.update(_rates(before, after))
        found.update(_command_metrics(before, after, groups))
    return found


def _copy(
    found: dict[str, float], fields: Mapping[str, str], names: Iterable[tuple[str, str]]
) -> None:
    for name, source in names:
        value = number(fields, source)
        if value is not None:
            found[name] = value


def _memory(fields: Mapping[str, str]) -> dict[str, float]:
    used, limit = number(fields, "used_memory"), number(fields, "maxmemory")
    if used is None or not limit:
        return {}
    counted = used - (number(fields, "mem_not_counted_for_evict") or 0.0)
    share, share_counted = PERCENT * used / limit, PERCENT * counted / limit
    return {
        "DatabaseMemoryUsagePercentage": share,
        "DatabaseCapacityUsagePercentage": share,
        "DatabaseMemoryUsageCountedForEvictPercentage": share_counted,
        "DatabaseCapacityUsageCountedForEvictPercentage": share_counted,
    }


def _keyspace(fields: Mapping[str, str]) -> dict[str, float]:
    databases = {
        name: dict(pair.partition("=")[::2] for pair in text.split(","))
        for name, text in fields.items()
        if _KEYSPACE.fullmatch(name)
    }
    found = {
        "CurrItems": sum(number(one, "keys") or 0.0 for one in databases.values()),
        "CurrVolatileItems": sum(number(one, "expires") or 0.0 for one in databases.values()),
    }
    if fields.get("role") == "master":
        found["DB0AverageTTL"] = number(databases.get("db0", {}), "avg_ttl") or 0.0
    return found


def _rates(before: Sample, after: Sample) -> dict[str, float]:
    found: dict[str, float] = {}
    hits, misses = since(before, after, "keyspace_hits"), since(before, after, "keyspace_misses")
    if hits is not None and misses is not None and hits + misses > 0:
        found["CacheHitRate"] = PERCENT * hits / (hits + misses)
    for name, source in (
        ("NetworkBytesIn", "total_net_input_bytes"),
        ("NetworkBytesOut", "total_net_output_bytes"),
    ):
        value = since(before, after, source)
        if value is not None:
            found[name] = value
    elapsed_s = after.at_s - before.at_s
    for suffix in ("_main_thread", ""):  # older engines count the whole process only
        busy = [since(before, after, f"used_cpu_{part}{suffix}") for part in ("user", "sys")]
        if elapsed_s > 0 and busy[0] is not None and busy[1] is not None:
            found["EngineCPUUtilization"] = PERCENT * (busy[0] + busy[1]) / elapsed_s
            break
    return found


def _command_metrics(before: Sample, after: Sample, groups: CommandGroups) -> dict[str, float]:
    calls = dict.fromkeys(_group_names(), 0)
    usec = dict.fromkeys(calls, 0)
    earlier = before.commands if before.pid == after.pid else {}
    for name, count in after.commands.items():
        was = earlier.get(name, CommandCount(0, 0))
        if was.calls > count.calls:
            was = CommandCount(0, 0)
        if count.calls > was.calls:
            for group in groups.groups_of(name):
                calls[group] += count.calls - was.calls
                usec[group] += count.usec - was.usec
    found: dict[str, float] = {}
    for group, added in calls.items():
        found[f"{group}Cmds"] = float(added)
        if added:
            found[f"{group}CmdsLatency"] = usec[group] / added
    for name, group in _LATENCIES:
        if calls[group]:
            found[name] = usec[group] / calls[group]
    return found


def _group_names() -> Collection[str]:
    return (*CATEGORIES, "ClusterBased", "EvalBased", "NonKeyType")
