"""How fast memcached nodes take a new node type."""

from __future__ import annotations

import pytest

from cachefleet.provisioner.reconciler.modify import Pace, pace_of


@pytest.mark.parametrize(
    ("scale", "nodes", "pace"),
    [
        pytest.param(None, 4, None, id="nothing-said"),
        pytest.param({"ScalePercentage": 50}, 4, None, id="no-pause"),
        pytest.param({"ScaleIntervalMinutes": 2}, 4, Pace(4, 120.0), id="all-at-once"),
        pytest.param(
            {"ScalePercentage": 50, "ScaleIntervalMinutes": 1}, 5, Pace(2, 60.0), id="rounded-down"
        ),
        pytest.param(
            {"ScalePercentage": 1, "ScaleIntervalMinutes": 1}, 5, Pace(1, 60.0), id="at-least-one"
        ),
    ],
)
def test_pace(scale: dict[str, int] | None, nodes: int, pace: Pace | None) -> None:
    assert pace_of(scale, nodes) == pace
