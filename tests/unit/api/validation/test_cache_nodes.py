"""Where nodes that are added to a memcached cluster go."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.api.validation.cache_nodes import check_growth

ZONES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("params", "az_mode", "now", "expected"),
    [
        pytest.param({}, "cross-az", "ab", ("cross-az", ["c", "a"]), id="spread"),
        pytest.param({}, "single-az", "bb", ("single-az", ["b", "b"]), id="stay-together"),
        pytest.param(
            {"AZMode": "cross-az"}, "single-az", "bb", ("cross-az", ["a", "c"]), id="new-mode"
        ),
        pytest.param(
            {"NewAvailabilityZones": ["c", "c"]},
            "cross-az",
            "ab",
            ("cross-az", ["c", "c"]),
            id="as-asked",
        ),
        pytest.param(
            {"NewAvailabilityZones": ["b", "b"]},
            "single-az",
            "b",
            ("single-az", ["b", "b"]),
            id="same-zone-as-asked",
        ),
    ],
)
def test_zones_of_new_nodes(
    params: dict[str, Any], az_mode: str, now: str, expected: tuple[str, list[str]]
) -> None:
    found = check_growth(params, az_mode=az_mode, zones_now=list(now), added=2, zones=ZONES)
    assert found == expected
