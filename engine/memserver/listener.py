"""Bound sockets: what an address is, and taking connections from one."""

from __future__ import annotations

import select
import socket

TYPE_CHECKING = False  # importing typing for it would take longer than the rest
if TYPE_CHECKING:
    from cachefleet.engine.memserver.server import Server

READ: int = select.POLLIN
ACCEPTS_PER_TURN = 64


class CannotListen(Exception):
    """An address could not be bound; ``args[0]`` says which and why."""


class PollAdapter:
    """``poll`` in the shape of ``epoll``, for systems without the latter."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        return self._poll.poll(int(timeout_s * 1000) + 1 if timeout_s > 0 else 0)


class Listener:
    """A bound socket that accepts connections of one kind."""

    def __init__(self, server: Server, sock: socket.socket, address: str, kind: str) -> None:
        self.server = server
        self.sock = sock
        self.address = address
        self.kind = kind  # tcp, tls, unix, control

    def on_ready(self, events: int) -> None:
        """Take what waits to be accepted, a bounded number at a time."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = self.sock.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                # Out of descriptors: the rest stays in the backlog until some are free.
                self.server.log(1, f"accept: {error}")
                self.server.pause_accepting()
                return
            self.server.accepted(self, sock, peer)


def parse_address(text: str, port: int) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest.startswith(":") else port
    if text.count(":") == 1:
        host, _, rest = text.partition(":")
        return host, int(rest)
    return text, port
