"""The control plane's side of the gateway's control socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cachefleet.engine.control_line import ControlLine
from cachefleet.engine.errors import NodeUnreachable
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
        self._path = socket_path
        self._line = ControlLine(
            socket_path, timeout_s=timeout_s, answer_bytes_max=ANSWER_BYTES_MAX, worker="gateway"
        )

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
        return await self._line.ask(command.verb.value, render_command(command))


def _whole(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name)
    if type(value) is not int:
        raise NodeUnreachable(f"the gateway's answer has no {name}")
    return value
