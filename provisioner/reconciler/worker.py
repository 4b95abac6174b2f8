"""A worker process of the fleet's own, under the same driver as the nodes: the gateway, the feed.

There is one of a kind in a fleet. It is started when it is first needed, goes on without us, and is
found again after a crash of the control plane. What it has to do is in files that are written aside
and renamed before it is told, so whatever instant either process dies at, a file is whole.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.provisioner.drivers.base import LaunchFailed, ProcessSpec
from cachefleet.provisioner.reconciler.fleet import Fleet

READY_POLL_S = 0.01
CONTROL_TIMEOUT_S = 5.0


class Worker:
    """One such process: *module* is what Python runs, *name* what it is called in errors."""

    def __init__(self, fleet: Fleet, uid: str, *, module: str, name: str) -> None:
        self._fleet = fleet
        self._uid = uid
        self._module = module
        self._name = name

    @property
    def directory(self) -> Path:
        """Where its files lie; it may not be there yet."""
        return self._fleet.driver.directory(self._uid)

    @property
    def control_path(self) -> Path:
        """The socket at which it is asked."""
        return self._fleet.driver.socket_path(self._uid)

    def write(self, name: str, text: str) -> None:
        """Write one of its files, whole or not at all."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        aside = self.directory / (name + ".aside")
        aside.touch(mode=0o600)
        aside.write_text(text)
        aside.replace(self.directory / name)

    async def is_running(self) -> bool:
        """Tell whether its process is there."""
        return await self._fleet.driver.find(self._uid) is not None

    async def ensure(self, files: Mapping[str, str], ping: Callable[[], Awaitable[object]]) -> None:
        """Return once it answers *ping*; *files* are options and the names of what they lead to.

        Raises:
            LaunchFailed: it ended, or did not answer in time.
        """
        fresh = not await self.is_running()
        options = [word for option, name in files.items() for word in (option, self._path(name))]
        await self._fleet.driver.ensure(
            ProcessSpec(
                uid=self._uid,
                argv=(
                    *(sys.executable, "-m", self._module, *options),
                    *("--control", str(self.control_path)),
                ),
            )
        )
        if fresh:
            await self._ready(ping)

    def _path(self, name: str) -> str:
        return str(self.directory / name)

    async def _ready(self, ping: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(self._fleet.settings.start_timeout_s):
                while True:
                    try:
                        await ping()
                    except NodeUnreachable:
                        if not await self.is_running():
                            reason = self._fleet.driver.explain(self._uid)
                            raise LaunchFailed(f"the {self._name} ended: {reason}") from None
                        await asyncio.sleep(READY_POLL_S)
                    else:
                        return
        except TimeoutError:
            raise LaunchFailed(f"the {self._name} did not answer in time") from None
