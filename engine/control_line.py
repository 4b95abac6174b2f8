"""Asks a worker at its control socket: a line for a request, a line of JSON for the answer.

Each call is one connection, one request, one answer within the deadline. "It refused" is
:class:`CommandRefused`; everything else, half an answer included, is :class:`NodeUnreachable`:
what the worker did, if anything, is not known, and every call may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from cachefleet.engine.errors import CommandRefused, NodeUnreachable


class ControlLine:
    """Speaks to the worker that owns *path*; *worker* is what it is called in errors."""

    def __init__(self, path: Path, *, timeout_s: float, answer_bytes_max: int, worker: str) -> None:
        assert timeout_s > 0
        self.path = path
        self._timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max
        self._worker = worker

    async def ask(self, verb: str, request: bytes) -> dict[str, Any]:
        """Return the answer's members but ``ok``; *verb* is what the request is called in errors.

        Raises:
            CommandRefused: the worker says no.
            NodeUnreachable: there was no answer, or none that a worker gives.
        """
        what = f"{verb} at {self.path}"
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._exchange(request)
            answer = json.loads(line)
        except (OSError, ValueError, TimeoutError) as error:
            raise NodeUnreachable(f"{what}: {error or 'no answer in time'}") from error
        if isinstance(answer, dict) and answer.pop("ok", None) is True:
            return answer
        if isinstance(answer, dict) and isinstance(answer.get("error"), str):
            raise CommandRefused(f"{what}: {answer['error']}")
        raise NodeUnreachable(f"{what}: an answer that no {self._worker} gives")

    async def _exchange(self, request: bytes) -> bytes:
        limit = self._answer_bytes_max
        reader, writer = await asyncio.open_unix_connection(str(self.path), limit=limit)
        try:
            writer.write(request)
            return await reader.readline()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
