"""Which events are shown, and in which order."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cachefleet.api.actions.events import choose_span
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import MARKER_VERSION, encode_marker
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
OLDEST = NOW - timedelta(days=14)
DAWN = datetime(1, 1, 1, tzinfo=UTC)
DUSK = datetime(9999, 12, 31, tzinfo=UTC)


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


@pytest.mark.parametrize(
    ("start", "end", "minutes", "span"),
    [
        pytest.param(None, None, None, (ago(hours=1), NOW), id="last-hour"),
        pytest.param(None, None, 20160, (OLDEST, NOW), id="all-that-is-kept"),
        pytest.param(None, ago(days=1), None, (ago(days=1, hours=1), ago(days=1)), id="end"),
        pytest.param(None, ago(days=1), 5, (ago(days=1, minutes=5), ago(days=1)), id="end-and"),
        pytest.param(ago(days=2), None, None, (ago(days=2), NOW), id="start"),
        pytest.param(ago(days=2), None, 60, (ago(days=2), ago(days=2, hours=-1)), id="start-and"),
        pytest.param(ago(days=2), ago(days=1), None, (ago(days=2), ago(days=1)), id="both"),
        pytest.param(ago(days=2), ago(days=2), None, (ago(days=2), ago(days=2)), id="an-instant"),
        pytest.param(ago(days=15), None, None, (OLDEST, NOW), id="start-is-clipped"),
        pytest.param(None, ago(days=13.99), 600, (OLDEST, ago(days=13.99)), id="reach-is-clipped"),
        pytest.param(None, DAWN, 20160, (OLDEST, DAWN), id="an-end-before-everything"),
        pytest.param(DUSK, None, 20160, (DUSK, NOW), id="a-start-after-everything"),
    ],
)
def test_chooses(
    start: datetime | None,
    end: datetime | None,
    minutes: int | None,
    span: tuple[datetime, datetime],
) -> None:
    assert choose_span(start=start, end=end, duration_minutes=minutes, now=NOW) == span


@pytest.mark.parametrize(
    ("start", "end", "minutes", "code"),
    [
        pytest.param(None, None, 0, "InvalidParameterValue", id="no-duration"),
        pytest.param(None, None, 20161, "InvalidParameterValue", id="duration-beyond-retention"),
        pytest.param(NOW, ago(hours=1), None, "InvalidParameterCombination", id="end-first"),
        pytest.param(ago(hours=1), NOW, 60, "InvalidParameterCombination", id="all-three"),
    ],
)
def test_refuses(
    start: datetime | None, end: datetime | None, minutes: int | None, code: str
) -> None:
    with pytest.raises(Fault) as refusal:
        choose_span(start=start, end=end, duration_minutes=minutes, now=NOW)
    assert refusal.value.code == code


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def messages(api: Api, **filters: Any) -> list[str]:
    return [one["Message"] for one in await api.listed("DescribeEvents", "Events", **filters)]


async def happen(api: Api, *events: tuple[str, float], **changes: str) -> None:
    """Write events, each a message and how many minutes ago it was."""
    async with api.store.begin(SCOPE) as tx:
        for message, minutes in events:
            at = api.clock.now() - timedelta(minutes=minutes)
            groups.event(tx, at, message=message, **changes)


async def test_shows_the_last_hour_newest_first(api: Api) -> None:
    await happen(api, ("old", 61), ("first", 60), ("second", 1), ("third", 1), ("now", 0))
    assert await messages(api) == ["now", "third", "second", "first"]
    assert await messages(api, Duration=61) == ["now", "third", "second", "first", "old"]
    assert await messages(api, Duration=1) == ["now", "third", "second"]


async def test_an_event_is_shown_with_all_its_fields(api: Api) -> None:
    await happen(api, ("Cache cluster created", 0))
    (event,) = (await api("DescribeEvents"))["Events"]
    assert event == {
        "SourceIdentifier": "demo",
        "SourceType": "cache-cluster",
        "Message": "Cache cluster created",
        "Date": api.clock.now(),
    }


async def test_filters_by_source(api: Api) -> None:
    await happen(api, ("mine", 0))
    await happen(api, ("other", 0), source_identifier="demo2")
    await happen(api, ("group", 0), source_type="replication-group")
    of_type = {"SourceType": "cache-cluster"}
    assert await messages(api, **of_type) == ["other", "mine"]
    assert await messages(api, **of_type, SourceIdentifier="DEMO") == ["mine"]
    assert await messages(api, **of_type, SourceIdentifier="none") == []
    assert await messages(api, SourceType="user") == []


async def test_filters_by_time(api: Api) -> None:
    await happen(api, ("three", 180), ("two", 120), ("one", 60))
    now = api.clock.now()
    span = {"StartTime": now - timedelta(hours=3), "EndTime": now - timedelta(hours=2)}
    assert await messages(api, **span) == ["two", "three"]
    assert await messages(api, StartTime=now - timedelta(hours=2)) == ["one", "two"]
    assert await messages(api, EndTime=now - timedelta(hours=2)) == ["two", "three"]


async def test_shows_nothing_older_than_fourteen_days(api: Api) -> None:
    days = 24 * 60
    await happen(api, ("gone", 14 * days + 1), ("kept", 14 * days))
    assert await messages(api, Duration=20160) == ["kept"]
    assert await messages(api, StartTime=api.clock.now() - timedelta(days=30)) == ["kept"]


async def test_pages_go_on_where_the_last_one_ended(api: Api) -> None:
    # Several at the same instant, across the end of a page, and one more between two pages.
    await happen(api, *[(f"event {n}", n // 7) for n in range(50)])
    whole = await messages(api)
    first = await api("DescribeEvents", MaxRecords=20)
    await happen(api, ("meanwhile", 0))
    second = await api("DescribeEvents", MaxRecords=20, Marker=first["Marker"])
    third = await api("DescribeEvents", MaxRecords=20, Marker=second["Marker"])
    assert "Marker" not in third
    paged = [one["Message"] for page in (first, second, third) for one in page["Events"]]
    assert paged == whole


@pytest.mark.parametrize("key", [(-(2**63) + 1, -1), (2**63 - 1, 1)])
async def test_a_forged_marker_outside_of_the_calendar_is_refused(
    api: Api, key: tuple[int, int]
) -> None:
    await happen(api, *[(f"event {n}", 0) for n in range(21)])
    page = await api("DescribeEvents", MaxRecords=20)
    text = page["Marker"]
    version, binding, _ = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert version == MARKER_VERSION
    with pytest.raises(Refused) as refusal:
        await api("DescribeEvents", MaxRecords=20, Marker=encode_marker(key, binding))
    assert refusal.value.code == "InvalidParameterValue"
