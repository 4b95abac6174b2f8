"""Weekly windows: open and closed to the minute, over midnight and over the end of the week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.provisioner.maintenance.windows import (
    DAYS,
    WEEK,
    NotAWindow,
    Window,
    parse_window,
)

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def at(day: str, clock: str) -> datetime:
    hours, minutes = clock.split(":")
    return MONDAY + timedelta(days=DAYS.index(day), hours=int(hours), minutes=int(minutes))


@pytest.mark.parametrize(
    ("window", "day", "clock", "opened"),
    [
        pytest.param("sun:05:00-sun:06:00", "sun", "04:59", None, id="before"),
        pytest.param("sun:05:00-sun:06:00", "sun", "05:00", ("sun", "05:00"), id="first-minute"),
        pytest.param("sun:05:00-sun:06:00", "sun", "05:59", ("sun", "05:00"), id="last-minute"),
        pytest.param("sun:05:00-sun:06:00", "sun", "06:00", None, id="end-is-outside"),
        pytest.param("sun:05:00-sun:06:00", "sat", "05:30", None, id="other-day"),
        pytest.param("tue:23:30-wed:00:30", "tue", "23:45", ("tue", "23:30"), id="evening"),
        pytest.param("tue:23:30-wed:00:30", "wed", "00:15", ("tue", "23:30"), id="past-midnight"),
        pytest.param("tue:23:30-wed:00:30", "tue", "00:15", None, id="morning-of-the-day"),
        pytest.param("mon:00:00-mon:01:00", "mon", "00:00", ("mon", "00:00"), id="week-begins"),
    ],
)
def test_is_open(window: str, day: str, clock: str, opened: tuple[str, str] | None) -> None:
    instant = at(day, clock)
    found = parse_window(window).opened_at(instant)
    assert found == (None if opened is None else at(*opened))
    assert parse_window(window).is_open(instant) is (opened is not None)


def test_a_window_goes_over_the_end_of_the_week() -> None:
    window = parse_window("sun:23:30-mon:00:30")
    assert window.opened_at(at("mon", "00:15")) == at("sun", "23:30") - WEEK
    assert window.opened_at(at("sun", "23:45")) == at("sun", "23:30")
    assert window.opened_at(at("mon", "00:30")) is None


def test_the_next_start_is_always_ahead() -> None:
    window = parse_window("wed:10:00-wed:11:00")
    assert window.next_start(at("mon", "00:00")) == at("wed", "10:00")
    assert window.next_start(at("wed", "10:00")) == at("wed", "10:00") + WEEK
    assert window.next_start(at("sun", "00:00")) == at("wed", "10:00") + WEEK


def test_windows_are_in_utc_whatever_zone_the_instant_is_in() -> None:
    instant = at("sun", "05:30").astimezone(timezone(timedelta(hours=9)))
    assert instant.weekday() == 6
    assert parse_window("sun:05:00-sun:06:00").is_open(instant)
    assert not parse_window("sun:14:00-sun:15:00").is_open(instant)


@pytest.mark.parametrize(
    "text",
    ["", "sun:05:00", "SUN:05:00-sun:06:00", "sun:5:00-sun:06:00", "sun:24:00-mon:01:00",
     "sun:05:00-sun:05:00", "sun:05:00-sun:06:00 ", "05:00-06:00"],
)  # fmt: skip
def test_refuses_what_is_no_window(text: str) -> None:
    with pytest.raises(NotAWindow):
        parse_window(text)


@given(
    st.integers(0, 7 * 24 * 60 - 1),
    st.integers(1, 24 * 60),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_every_instant_is_in_one_occurrence_or_waits_for_the_next(
    opens: int, length: int, instant: datetime
) -> None:
    window = Window(timedelta(minutes=opens), timedelta(minutes=length))
    opened_at, following = window.opened_at(instant), window.next_start(instant)
    assert instant < following <= instant + WEEK
    assert window.opened_at(following) == following
    if opened_at is not None:
        assert opened_at <= instant < opened_at + window.length
        assert following - opened_at == WEEK
    else:
        assert instant >= following - WEEK + window.length
