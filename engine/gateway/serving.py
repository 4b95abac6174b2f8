"""What listeners and the gateway need of whoever serves a route."""

from __future__ import annotations

import abc
import asyncio
import ssl
from typing import Protocol

from cachefleet.engine.gateway.iam_keys import KeyRing
from cachefleet.engine.gateway.reports import ListenFailure, RouteStatus
from cachefleet.engine.gateway.routes import Address, Route


class ClientSide(asyncio.Protocol, abc.ABC):
    """One client's connection."""

    __slots__ = ()

    @abc.abstractmethod
    def forsake(self) -> None:
        """Give the connection up when the loop may not say that it is lost."""


class Serving(Protocol):
    """One route at work."""

    route: Route
    tls_context: ssl.SSLContext | None
    iam_keys: KeyRing

    def client_side(self) -> ClientSide: ...

    def change(self, route: Route) -> int: ...

    def admits(self, host: str) -> bool: ...

    def note_refused(self) -> None: ...

    def cut(self, backend: Address | None) -> int: ...

    def close(self) -> None: ...

    async def ended(self) -> None: ...

    @property
    def connections(self) -> int: ...

    def status(
        self, *, listening: tuple[Address, ...], failures: tuple[ListenFailure, ...]
    ) -> RouteStatus: ...
