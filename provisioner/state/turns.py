"""Lets those go first whom a client waits for.

With SQLite a transaction runs on the event loop, for some milliseconds without giving way. Where
fifty nodes are made at once, dozens of pieces of work are ready at every round of the loop, and a
request that comes meanwhile would wait for all of them, and again at every step of its own. So
work that nobody waits for goes in one at a time, when no request is being answered, or when it has
given way for long enough; one that reads for longer does so again between two of its statements.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

GIVES_WAY_S = 0.02  # at most, to requests that never end; a failover has to go on
LOOK_S = 0.001

_awaited: ContextVar[bool] = ContextVar("awaited", default=False)


class _Requests:
    """Those that are being answered by this process."""

    count = 0


_requests = _Requests()


@contextlib.contextmanager
def awaited() -> Iterator[None]:
    """Mark what this task does as what a client waits for."""
    token = _awaited.set(True)
    _requests.count += 1
    try:
        yield
    finally:
        _requests.count -= 1
        _awaited.reset(token)


class Turns:
    """Takes in one piece of work at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()

    async def give_way(self) -> None:
        """Wait until no client waits, for so long as is fair; return at once for who has one."""
        if _awaited.get():
            return
        async with self._door:
            await asyncio.sleep(0)
            for _ in range(round(GIVES_WAY_S / LOOK_S)):
                if not _requests.count:
                    break
                await asyncio.sleep(LOOK_S)
