"""What may read and change the bytes of a connection on their way. Sans-IO.

An interceptor turns what the client sent into what the backend gets, and the reverse. It never
answers the client past the backend: whatever it wants to say takes the place of a reply of the
backend, so replies stay in the order of the requests however deep the client pipelines, and
back-pressure needs no second path.
"""

from __future__ import annotations

from typing import Protocol


class WireViolation(Exception):
    """One side broke the protocol beyond repair; the connection is closed."""


class Interceptor(Protocol):
    """The state of one connection; each method may raise :class:`WireViolation`."""

    def client_sent(self, data: bytes) -> bytes:
        """Take what arrived from the client; return what the backend gets now."""
        ...

    def backend_sent(self, data: bytes) -> bytes:
        """Take what arrived from the backend; return what the client gets now."""
        ...

    def client_finished(self) -> bytes:
        """The client sends no more; return what was held back for the backend."""
        ...

    def backend_finished(self) -> bytes:
        """The backend sends no more; return what was held back for the client."""
        ...


class Chain:
    """Two interceptors, *outer* next to the client, *inner* next to the backend."""

    def __init__(self, outer: Interceptor, inner: Interceptor) -> None:
        self._outer = outer
        self._inner = inner

    def client_sent(self, data: bytes) -> bytes:
        passed = self._outer.client_sent(data)
        return self._inner.client_sent(passed) if passed else b""

    def backend_sent(self, data: bytes) -> bytes:
        passed = self._inner.backend_sent(data)
        return self._outer.backend_sent(passed) if passed else b""

    def client_finished(self) -> bytes:
        rest = self._outer.client_finished()
        passed = self._inner.client_sent(rest) if rest else b""
        return passed + self._inner.client_finished()

    def backend_finished(self) -> bytes:
        rest = self._inner.backend_finished()
        passed = self._outer.backend_sent(rest) if rest else b""
        return passed + self._outer.backend_finished()
