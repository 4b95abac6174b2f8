"""Windows: what is refused is in the table of refusals; here are overlaps and defaults."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.api.faults import Fault
from cachefleet.api.validation.windows import choose_windows, overlap

REGIONS = st.sampled_from(["us-east-1", "eu-west-1", "eu-west-3", "ap-south-1", "xx-new-1"])


def choose(**options: object) -> tuple[str, str | None]:
    wanted = {"region": "us-east-1", "name": "demo", "maintenance": None, "snapshot": None}
    windows = choose_windows(**{"has_snapshots": True, **wanted, **options})  # type: ignore[arg-type]
    return windows.maintenance, windows.snapshot


@pytest.mark.parametrize(
    ("maintenance", "snapshot", "shared"),
    [
        pytest.param("mon:05:00-mon:06:00", "06:00-07:00", False, id="behind"),
        pytest.param("mon:05:00-mon:06:00", "04:00-05:00", False, id="before"),
        pytest.param("mon:05:00-mon:06:00", "05:59-06:59", True, id="last-minute"),
        pytest.param("mon:05:00-mon:06:00", "04:01-05:01", True, id="first-minute"),
        pytest.param("mon:05:00-mon:08:00", "06:00-07:00", True, id="inside"),
        pytest.param("mon:06:00-mon:07:00", "05:00-08:00", True, id="around"),
        pytest.param("sun:23:30-mon:00:30", "00:00-01:00", True, id="over-the-week"),
        pytest.param("mon:00:00-mon:01:00", "23:30-00:30", True, id="over-midnight"),
        pytest.param("sun:23:30-mon:00:30", "00:30-23:30", False, id="all-but"),
        pytest.param("mon:05:00-tue:05:00", "12:00-13:00", True, id="all-day"),
    ],
)
def test_overlap(maintenance: str, snapshot: str, shared: bool) -> None:
    assert overlap(maintenance, snapshot) is shared


@given(region=REGIONS, name=st.text("abc-1", min_size=1, max_size=8))
def test_defaults_are_an_hour_each_and_apart(region: str, name: str) -> None:
    maintenance, snapshot = choose(region=region, name=name)
    assert snapshot is not None
    assert re.fullmatch(r"[a-z]{3}:\d\d:\d\d-[a-z]{3}:\d\d:\d\d", maintenance)
    assert not overlap(maintenance, snapshot)
    assert (maintenance, snapshot) == choose(region=region, name=name)


@given(name=st.text("abc-1", min_size=1, max_size=8))
def test_a_default_gives_way_to_what_was_chosen(name: str) -> None:
    maintenance, _ = choose(name=name, snapshot="03:00-09:00")
    assert not overlap(maintenance, "03:00-09:00")
    _, snapshot = choose(name=name, maintenance="mon:03:00-mon:10:00")
    assert snapshot is not None
    assert not overlap("mon:03:00-mon:10:00", snapshot)


def test_windows_are_kept_in_lower_case_and_memcached_has_one() -> None:
    assert choose(maintenance="SUN:05:00-Sun:06:00")[0] == "sun:05:00-sun:06:00"
    assert choose(has_snapshots=False)[1] is None


def test_a_whole_day_of_maintenance_leaves_snapshots_a_window() -> None:
    assert choose(maintenance="mon:00:00-tue:00:00")[1] is not None


def test_what_was_chosen_must_be_apart() -> None:
    with pytest.raises(Fault, match="overlap"):
        choose(maintenance="mon:05:00-mon:06:00", snapshot="05:30-06:30")
