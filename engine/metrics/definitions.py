"""Which metrics there are: names, units and rules as the catalogue has them. Pure.

Only what the engines that we run can be asked for is defined: there is no metric without a number
behind it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cachefleet.engine.catalog.documents import document
from cachefleet.engine.types import Engine

_DELTA: Final = re.compile(r"delta ([a-z_]+)(;.*)?", re.ASCII)
_FIELD: Final = re.compile(r"[a-z_]+", re.ASCII)
_COMMANDS: Final = re.compile(r"(\w+?)Cmds(Latency)?", re.ASCII)

# Rules that are more than a field, or than what was added to it; worked out in ``valkey``.
WORKED_OUT: Final = frozenset(
    {
        "BytesUsedForCache",
        "CacheHitRate",
        "CurrConnections",
        "CurrItems",
        "CurrVolatileItems",
        "DB0AverageTTL",
        "DatabaseCapacityUsageCountedForEvictPercentage",
        "DatabaseCapacityUsagePercentage",
        "DatabaseMemoryUsageCountedForEvictPercentage",
        "DatabaseMemoryUsagePercentage",
        "EngineCPUUtilization",
        "IsMaster",
        "GlobalDatastoreReplicationLag",
        "KeysTracked",
        "MasterLinkHealthStatus",
        "ReplicationLag",
        "SuccessfulReadRequestLatency",
        "SuccessfulWriteRequestLatency",
    }
)
HOST: Final = ("CPUUtilization", "FreeableMemory", "SwapUsage", "NetworkBytesIn", "NetworkBytesOut")
# Command groups that ask for modules: no engine that we run has them.
_WITH_MODULES: Final = ("Json", "Search")


class Kind(StrEnum):
    """How a metric's numbers are put together over a period."""

    GAUGE = "gauge"  # as it was at the instant: averaged
    DELTA = "delta"  # what was added since the sample before: summed


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``source`` is the engine's own field, where the metric is that field."""

    name: str
    unit: str
    kind: Kind
    source: str | None = None

    @property
    def statistic(self) -> str:
        """The statistic that people want of it."""
        return "Sum" if self.kind is Kind.DELTA else "Average"


@functools.cache
def metrics_of(engine: Engine) -> Mapping[str, Metric]:
    """Return the metrics of an engine's nodes by name, in order of name."""
    found = _memcached() if engine is Engine.MEMCACHED else _valkey()
    host = _table("host")
    for name in HOST:
        kind = Kind.DELTA if name.startswith("Network") else Kind.GAUGE
        found[name] = Metric(name, host[name]["unit"], kind)
    return dict(sorted(found.items()))


def _table(name: str) -> dict[str, dict[str, str]]:
    """Return one table of the catalogue: for each metric, what its columns say."""
    table = dict(document("metrics")[name])
    columns = table.pop("columns")[1:]
    return {metric: dict(zip(columns, row, strict=True)) for metric, row in table.items()}


def _valkey() -> dict[str, Metric]:
    found = {}
    for name, row in _table("redis_valkey").items():
        unit, rule = row["unit"], row["derivation"]
        delta = _DELTA.fullmatch(rule)
        commands = _COMMANDS.fullmatch(name)
        if name in WORKED_OUT:
            found[name] = Metric(name, unit, Kind.GAUGE)
        elif commands:
            if not name.startswith(_WITH_MODULES):
                kind = Kind.GAUGE if commands[2] else Kind.DELTA
                found[name] = Metric(name, unit, kind)
        elif delta:
            found[name] = Metric(name, unit, Kind.DELTA, delta[1])
        elif _FIELD.fullmatch(rule):
            found[name] = Metric(name, unit, Kind.GAUGE, rule)
    return found


def _memcached() -> dict[str, Metric]:
    found = {}
    for name, row in _table("memcached").items():
        is_delta = row["derivation"].startswith("delta")
        source = row["stats_field"] if _FIELD.fullmatch(row["stats_field"]) else None
        kind = Kind.DELTA if is_delta else Kind.GAUGE
        found[name] = Metric(name, row["unit"], kind, source)
    found["EngineCPUUtilization"] = Metric("EngineCPUUtilization", "Percent", Kind.GAUGE)
    return found
