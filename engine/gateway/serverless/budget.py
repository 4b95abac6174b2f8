"""How much a cache may be used, in ElastiCache processing units a second. Pure.

One unit is a command of up to one kilobyte, in and out; a larger one costs a unit for each. What
is over the limit waits: the bucket holds a second's worth, and clients whose commands find it empty
are served later, in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

UNIT_BYTES: Final = 1024


class Budget:
    """A token bucket; *per_s* None is no limit."""

    def __init__(self, per_s: int | None, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.per_s = per_s
        self._tokens = float(per_s or 0)
        self._at_s = clock()
        self.spent_total = 0
        self.throttled_total = 0

    def change(self, per_s: int | None) -> None:
        """Set another limit; what is saved up stays within it."""
        self._refill()
        if self.per_s is None:
            self._tokens = float(per_s or 0)
        self.per_s = per_s
        self._tokens = min(self._tokens, float(per_s or 0))

    def take(self) -> bool:
        """Pay for a command; False where it has to wait."""
        if self.per_s is not None:
            if self._tokens < 1:
                self._refill()
                if self._tokens < 1:
                    return False
            self._tokens -= 1
        self.spent_total += 1
        return True

    def charge(self, size_bytes: int) -> None:
        """Pay for what a command moved beyond its first kilobyte; it may leave a debt."""
        more = (size_bytes - 1) // UNIT_BYTES
        if more > 0:
            self.spent_total += more
            if self.per_s is not None:
                self._tokens -= more

    def wait_s(self) -> float:
        """Return when the next command can be paid for, in seconds from now."""
        if self.per_s is None:
            return 0.0
        self._refill()
        return max(0.0, (1 - self._tokens) / self.per_s)

    def _refill(self) -> None:
        now_s = self._clock()
        if self.per_s is not None:
            earned = (now_s - self._at_s) * self.per_s
            self._tokens = min(self._tokens + earned, float(self.per_s))
        self._at_s = now_s
