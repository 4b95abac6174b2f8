"""A token bucket for each account: how many requests it may send. Pure but for its own counters."""

from __future__ import annotations

from collections import OrderedDict

from cachefleet.provisioner.clock import Clock

ACCOUNT_COUNT_MAX = 1024  # the account that was quiet for longest is forgotten, and starts full


class Throttle:
    """Lets each account send ``burst_max`` requests at once and ``rate_max`` a second."""

    def __init__(self, *, rate_max: float, burst_max: int, clock: Clock) -> None:
        assert rate_max > 0
        assert burst_max > 0
        self._rate_max = rate_max
        self._burst_max = float(burst_max)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, account: str) -> bool:
        """Count one request of *account*; False where it has none left."""
        now_s = self._clock.monotonic_s()
        tokens, counted_at_s = self._buckets.pop(account, (self._burst_max, now_s))
        tokens = min(self._burst_max, tokens + (now_s - counted_at_s) * self._rate_max)
        admitted = tokens >= 1.0
        self._buckets[account] = (tokens - 1.0 if admitted else tokens, now_s)
        if len(self._buckets) > ACCOUNT_COUNT_MAX:
            self._buckets.popitem(last=False)
        return admitted
