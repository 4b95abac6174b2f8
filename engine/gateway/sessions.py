"""When a token is good, and when the connection that it opened ends; tests bring their clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


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
