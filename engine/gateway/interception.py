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
