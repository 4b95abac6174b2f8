"""The control plane's side of the gateway's control socket.

Each call is one connection, one request, one answer within the deadline. "It refused" is
:class:`CommandRefused`; everything else, a half answer included, is :class:`NodeUnreachable`:
what the gateway did, if anything, is not known, and every call may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.gateway.commands import ANSWER_BYTES_MAX, Command, Verb, render_command
from cachefleet.engine.gateway.reports import (
    GatewayStatus,
    ReloadReport,
    UnreadableReport,
    parse_reload,
    parse_status,
)
from cachefleet.engine.gateway.routes import Address


class GatewayControl:
    """Speaks to the gateway that owns *socket_path*."""

    def __init__(self, socket_path: Path, timeout_s: float) -> None:
        assert timeout_s > 0
        self._path = socket_path
        self._timeout_s = timeout_s

    async def ping(self) -> int:
        """Return the gateway's pid."""
        return _whole(await self._ask(Command(verb=Verb.PING)), "pid")

    async def reload(self) -> ReloadReport:
        """Have the routes file read and served. Addresses that could not be bound are in the
        report; a file that is not served at all is a refusal."""
        try:
            return parse_reload(await self._ask(Command(verb=Verb.RELOAD)))
        except UnreadableReport as error:
            raise NodeUnreachable(f"reload at {self._path}: unreadable answer {error}") from error

    async def status(self) -> GatewayStatus:
        answer = await self._ask(Command(verb=Verb.STATUS))
        try:
            return parse_status(answer)
        except UnreadableReport as error:
            raise NodeUnreachable(f"status at {self._path}: unreadable answer {error}") from error

    async def cut(self, route: str, backend: Address | None = None) -> int:
        """Close the connections of *route*, or to one backend of it; return how many."""
        answer = await self._ask(Command(verb=Verb.CUT, route=route, backend=backend))
        return _whole(answer, "cut")

    async def stop(self) -> None:
        """Ask for an orderly end; the process exits soon after the answer."""
        await self._ask(Command(verb=Verb.STOP))

    async def _ask(self, command: Command) -> dict[str, Any]:
        """Return the answer's members but ``ok``."""
        what = f"{command.verb.value} at {self._path}"
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._exchange(render_command(command))
        except (OSError, ValueError, TimeoutError) as error:
            raise NodeUnreachable(f"{what}: {error or 'no answer in time'}") from error
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise NodeUnreachable(f"{what}: half an answer") from error
        if isinstance(answer, dict) and answer.pop("ok", None) is True:
            return answer
        if isinstance(answer, dict) and isinstance(answer.get("error"), str):
            raise CommandRefused(f"{what}: {answer['error']}")
        raise NodeUnreachable(f"{what}: an answer that no gateway gives")

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self._path), limit=ANSWER_BYTES_MAX)
        try:
            writer.write(request)
            return await reader.readline()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _whole(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name)
    if type(value) is not int:
        raise NodeUnreachable(f"the gateway's answer has no {name}")
    return value
