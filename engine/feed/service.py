"""All links of a fleet: begun and ended as the links file says, and reported on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

from cachefleet.engine.feed.link import FeedLink
from cachefleet.engine.feed.links import IllegalLinks, Link, parse_links
from cachefleet.engine.feed.marks import Mark, parse_state, render_state

KEEP_EVERY_S = 1.0
STOP_TIMEOUT_S = 2.0

log = logging.getLogger(__name__)


class FeedService:
    """Runs the links of *links_path*; where targets are is kept in *state_path*."""

    def __init__(self, links_path: Path, state_path: Path) -> None:
        self._links_path = links_path
        self._state_path = state_path
        self._links: dict[str, FeedLink] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._kept = ""
        self._remembered: dict[str, Mark] = {}
        with contextlib.suppress(OSError, UnicodeDecodeError):
            self._remembered = parse_state(state_path.read_text())

    async def reload(self) -> int:
        """Make the links those of the file; return how many there are.

        A link whose token stays goes on, also where one of its sides is another node now.

        Raises:
            IllegalLinks: the file cannot be used; nothing was changed.
        """
        try:
            wanted = {link.token: link for link in parse_links(self._links_path.read_text())}
        except (OSError, UnicodeDecodeError) as error:
            raise IllegalLinks(f"{self._links_path}: {error}") from error
        for token in [*self._links]:
            if wanted.get(token) != self._links[token].link:
                await self._end(token)
            if token not in wanted:
                del self._links[token]
                self._remembered.pop(token, None)
        for token, link in wanted.items():
            if token not in self._tasks:
                self._begin(link)
        return len(self._links)

    def _begin(self, link: Link) -> None:
        known = self._links.get(link.token)
        if known is None:
            known = FeedLink(link, remembered=self._remembered.pop(link.token, None))
            self._links[link.token] = known
        known.link = link
        self._tasks[link.token] = asyncio.create_task(known.run())

    async def _end(self, token: str) -> None:
        task = self._tasks.pop(token, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def status(self) -> list[dict[str, Any]]:
        """Return what each link is at; the longest lag is that of the last 15 seconds."""
        return [
            {
                "token": link.link.token,
                "name": link.link.name,
                "state": link.state.value,
                "reason": link.reason,
                "applied": link.applied,
                "commands": link.commands,
                "copies": link.copies,
                "lag_s": round(link.lag_s(), 6),
                "lag_max_s": round(link.lag_max_s(), 6),
            }
            for link in self._links.values()
        ]

    async def keep(self) -> None:
        """Write down where targets are, again and again, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            self._keep()

    def _keep(self) -> None:
        marks = {token: mark for token, link in self._links.items() if (mark := link.marks.newest)}
        text = render_state({**self._remembered, **marks})
        if text == self._kept:
            return
        aside = self._state_path.with_name(self._state_path.name + ".aside")
        try:
            aside.write_text(text)
            aside.replace(self._state_path)
        except OSError as error:  # without it, an end of ours costs copies
            log.warning("state_not_kept reason=%s", error)
            return
        self._kept = text

    async def stop(self) -> None:
        """End all links and write down where they were."""
        for token in [*self._tasks]:
            await self._end(token)
        self._keep()
