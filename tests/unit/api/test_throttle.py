"""The token bucket: a burst, then the rate, for each account alone."""

from __future__ import annotations

from cachefleet.api.throttle import ACCOUNT_COUNT_MAX, Throttle
from tests.unit.api.driver import SteppedClock


def test_admits_a_burst_then_the_rate() -> None:
    clock = SteppedClock()
    throttle = Throttle(rate_max=2.0, burst_max=3, clock=clock)
    assert [throttle.admit("a") for _ in range(5)] == [True, True, True, False, False]
    clock.advance(0.5)
    assert [throttle.admit("a") for _ in range(2)] == [True, False]
    clock.advance(100.0)
    assert [throttle.admit("a") for _ in range(4)] == [True, True, True, False]


def test_accounts_do_not_share() -> None:
    throttle = Throttle(rate_max=1.0, burst_max=1, clock=SteppedClock())
    assert throttle.admit("a")
    assert throttle.admit("b")
    assert not throttle.admit("a")


def test_remembers_a_bounded_number_of_accounts() -> None:
    throttle = Throttle(rate_max=1.0, burst_max=1, clock=SteppedClock())
    assert throttle.admit("first")
    for number in range(ACCOUNT_COUNT_MAX):
        throttle.admit(str(number))
    assert throttle.admit("first")
    assert not throttle.admit(str(ACCOUNT_COUNT_MAX - 1))
