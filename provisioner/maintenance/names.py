"""Makes the names of all endpoints known: in a hosts file, or to the DNS server that asks here.

What is recorded is read again after every change; a name is known before anybody is told it.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.names.hosts import write_block
from cachefleet.provisioner.state.endpoint_names import EVERYBODY, read_names
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store

LOOK_EVERY_S: Final = 1.0  # for changes that another process made

log = structlog.get_logger(__name__)


class NameDirectory:
    """The names of everybody's endpoints, kept up to date by :meth:`run`."""

    def __init__(self, store: Store, domain: str, *, hosts_file: Path | None = None) -> None:
        self._store = store
        self._domain = domain
        self._hosts_file = hosts_file
        self._changed = asyncio.Event()
        self._names: dict[str, str] = {}

    def lookup(self, name: str) -> str | None:
        """Return the address of a name in lower case; None where it is not one of ours."""
        return self._names.get(name)

    async def refresh(self) -> None:
        """Read the names once, and write them where that is asked for.

        Raises:
            OSError: the hosts file cannot be written.
        """
        async with self._store.read(EVERYBODY) as tx:
            found = await read_names(tx, EVERYBODY, self._domain)
        names = {name: host for (host, _), name in found.items()}
        if names != self._names and self._hosts_file is not None:
            write_block(self._hosts_file, names)
        self._names = names

    async def run(self) -> None:
        """Follow what is recorded, until cancelled; then take our block away."""
        try:
            with self._store.listening(self._note):
                while True:
                    self._changed.clear()
                    try:
                        await self.refresh()
                    except (DBAPIError, OSError) as error:
                        log.warning("names_not_written", reason=str(error))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_EVERY_S):
                            await self._changed.wait()
        finally:
            if self._hosts_file is not None:
                write_block(self._hosts_file, {})

    def _note(self, _: Scope) -> None:
        self._changed.set()
