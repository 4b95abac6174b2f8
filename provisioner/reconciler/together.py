"""Serves calls together that ask for the same work while it is being done for somebody else.

For work that reads the record of the whole fleet: what a call wants is in what is read after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Round:
    """Those who are served by the same work."""

    names: set[str] = field(default_factory=set)
    is_done: bool = False


class Together:
    """Does *work* once for all who called before it began; it is given what they named."""

    def __init__(self, work: Callable[[Set[str]], Awaitable[None]]) -> None:
        self._work = work
        self._turn = asyncio.Lock()
        self._next = _Round()

    async def ask(self, name: str | None = None) -> None:
        """Return once the work was done that began after this call.

        Raises:
            whatever the work raises. The others of its round then do it themselves.
        """
        mine = self._next
        if name is not None:
            mine.names.add(name)
        async with self._turn:
            if mine.is_done:
                return
            if self._next is mine:
                self._next = _Round()
            await self._work(mine.names)
            mine.is_done = True
