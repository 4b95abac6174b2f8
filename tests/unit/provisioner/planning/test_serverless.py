"""How many shards a serverless cache has, and what each may hold."""

from __future__ import annotations

import pytest

from cachefleet.provisioner.maintenance.serverless import data_bytes
from cachefleet.provisioner.planning.serverless import (
    DATA_GB_MAX,
    SHARDS_MAX,
    Limits,
    node_memory_bytes,
    shards_at_least,
    shards_for_data,
    shards_wanted,
)

MB = 1 << 20
SHARD = 10 * MB  # what a shard holds where a GB is a megabyte


def limits(**given: int) -> Limits:
    return Limits(gb_bytes=MB, **given)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 1),
        ({"data_min_gb": 10}, 1),
        ({"data_min_gb": 11}, 2),
        ({"ecpu_min": 100_000}, 1),
        ({"ecpu_min": 250_000}, 3),
        ({"data_min_gb": 31, "ecpu_min": 100_001}, 4),
        ({"data_min_gb": 5000}, SHARDS_MAX),
    ],
)
def test_the_minimum_asks_for_shards(given: dict[str, int], count: int) -> None:
    assert shards_at_least(limits(**given)) == count


@pytest.mark.parametrize(
    ("used", "count"),
    [
        pytest.param([0], 1, id="empty"),
        pytest.param([SHARD * 8 // 10], 1, id="not-yet"),
        pytest.param([SHARD * 8 // 10 + 1], 2, id="full"),
        pytest.param([SHARD * 3], 6, id="far-beyond"),
        pytest.param([SHARD * 9 // 10, 0], 3, id="one-of-two-is-full"),
        pytest.param([0, 0, 0], 3, id="never-fewer"),
        pytest.param([SHARD * 100], SHARDS_MAX, id="as-many-as-there-may-be"),
        pytest.param([SHARD] * 20, 20, id="more-than-that-stay"),
    ],
)
def test_grows_with_the_data(used: list[int], count: int) -> None:
    assert shards_wanted(limits(), used) == count


def test_once_grown_it_is_at_rest() -> None:
    used = [SHARD * 9 // 10]
    wanted = shards_wanted(limits(), used)
    spread = [sum(used) // wanted] * wanted
    assert shards_wanted(limits(), spread) == wanted


def test_a_cache_that_begins_with_data_has_room() -> None:
    assert shards_for_data(limits(), 0) == 1
    assert shards_for_data(limits(), SHARD * 3) == 6
    assert shards_for_data(limits(data_min_gb=31), 1) == 4


def test_the_maximum_is_that_of_all_shards_together() -> None:
    assert node_memory_bytes(limits(data_max_gb=6), 4) * 4 == 6 * MB
    assert node_memory_bytes(limits(), 1) == DATA_GB_MAX * MB


def test_limits_are_read_as_they_are_recorded() -> None:
    recorded = {
        "DataStorage": {"Minimum": 2, "Maximum": 9, "Unit": "GB"},
        "ECPUPerSecond": {"Minimum": 5000},
    }
    assert Limits.of(recorded, gb_bytes=MB) == limits(data_min_gb=2, data_max_gb=9, ecpu_min=5000)
    assert Limits.of({}, gb_bytes=MB) == limits()


def test_what_is_not_data_is_taken_off() -> None:
    assert data_bytes({"used_memory": "500", "used_memory_overhead": "200"}) == 300
    fresh = {"used_memory": "200", "used_memory_overhead": "500", "used_memory_dataset": str(2**64)}
    assert data_bytes(fresh) == 0
