"""Lets those go first whom a client waits for.

With SQLite a transaction runs from its beginning to its end without giving way: a few
milliseconds. Where fifty nodes are made at once, dozens of pieces of work are ready at every
round of the event loop, and a request that comes meanwhile would wait for all of them. So work
that nobody waits for gets one transaction a round, and all requests that are there run in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_awaited: ContextVar[bool] = ContextVar("awaited", default=False)


@contextlib.contextmanager
def awaited() -> Iterator[None]:
    """Mark what this task does as what a client waits for."""
    token = _awaited.set(True)
    try:
        yield
    finally:
        _awaited.reset(token)


class Turns:
    """Takes in one piece of work a round of the loop, in the order in which they came."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()

    async def give_way(self) -> None:
        """Wait for the next free round; return at once for what a client waits for."""
        if _awaited.get():
            return
        async with self._door:
            await asyncio.sleep(0)
