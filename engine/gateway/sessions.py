"""When a token is good, and when the connection that it opened ends; tests bring their clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

T = TypeVar("T", bound=Hashable)


def utc_now() -> datetime:
    """Return the time by which tokens expire."""
    return datetime.now(UTC)


class Cancellable(Protocol):
    """A call that is to come."""

    def cancel(self) -> None: ...


# (seconds from now, what to call then): the hours that a session may last.
SessionTimer = Callable[[float, Callable[[], None]], Cancellable]


def loop_timer(delay_s: float, callback: Callable[[], None]) -> Cancellable:
    """Have the event loop call *callback*."""
    return asyncio.get_running_loop().call_later(delay_s, callback)


class Expiries(Generic[T]):
    """Connections that end at their hour, unless they authenticate anew before."""

    def __init__(self, timer: SessionTimer) -> None:
        self._timer = timer
        self._pending: dict[T, Cancellable] = {}

    def begin(self, connection: T, after_s: float, end: Callable[[], None]) -> None:
        """Have *end* called then, and not when it was to be before."""
        self.forget(connection)
        self._pending[connection] = self._timer(after_s, end)

    def forget(self, connection: T) -> None:
        """The connection is gone."""
        if (expiry := self._pending.pop(connection, None)) is not None:
            expiry.cancel()
