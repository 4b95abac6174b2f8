"""How many shards a serverless cache has, and how its limits are spread over them. Pure.

A minimum is capacity that is there from the start; beyond it a cache grows with its data. It does
not shrink by itself: keys that move cost more than shards that wait.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SHARD_GB: Final = 10  # what one shard is meant to hold
SHARD_ECPU_PER_S: Final = 100_000  # what one engine process does a second, with some to spare
FULL: Final = 0.8  # of a shard's share: then there are to be more
FILLED: Final = 0.5  # how full shards are to be after they have become more
SHARDS_MAX: Final = 16  # on one machine
DATA_GB_MAX: Final = 5_000  # of a cache without a limit of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """CacheUsageLimits as numbers; None where nothing was said. *gb_bytes* is what a GB is."""

    data_min_gb: int | None = None
    data_max_gb: int | None = None
    ecpu_min: int | None = None
    gb_bytes: int = 1 << 30

    @classmethod
    def of(cls, limits: Mapping[str, Any], *, gb_bytes: int) -> Limits:
        """Read them as they are recorded."""
        data, ecpu = limits.get("DataStorage") or {}, limits.get("ECPUPerSecond") or {}
        return cls(
            data_min_gb=data.get("Minimum"),
            data_max_gb=data.get("Maximum"),
            ecpu_min=ecpu.get("Minimum"),
            gb_bytes=gb_bytes,
        )

    @property
    def shard_bytes(self) -> int:
        """What one shard is meant to hold."""
        return SHARD_GB * self.gb_bytes


def shards_at_least(limits: Limits) -> int:
    """Return how many shards the minimum asks for."""
    for_data = math.ceil((limits.data_min_gb or 0) / SHARD_GB)
    for_units = math.ceil((limits.ecpu_min or 0) / SHARD_ECPU_PER_S)
    return min(max(1, for_data, for_units), SHARDS_MAX)


def shards_wanted(limits: Limits, used_bytes: Sequence[int]) -> int:
    """Return how many shards there are to be, where each of those there are uses *used_bytes*."""
    present = len(used_bytes)
    wanted = max(present, shards_at_least(limits))
    if any(used > FULL * limits.shard_bytes for used in used_bytes):
        for_data = math.ceil(sum(used_bytes) / (FILLED * limits.shard_bytes))
        wanted = max(wanted, present + 1, for_data)
    return min(wanted, max(SHARDS_MAX, present))


def shards_for_data(limits: Limits, size_bytes: int) -> int:
    """Return how many shards a new cache has that begins with so much data."""
    for_data = math.ceil(size_bytes / (FILLED * limits.shard_bytes))
    return min(max(shards_at_least(limits), for_data), SHARDS_MAX)


def node_memory_bytes(limits: Limits, shard_count: int) -> int:
    """Return how much data each node may hold: together, what the cache may."""
    whole_gb = limits.data_max_gb or DATA_GB_MAX
    return max(1, whole_gb * limits.gb_bytes // shard_count)
