"""Which span of time DescribeEvents is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cachefleet.api.actions.events import choose_span
from cachefleet.api.faults import Fault

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
