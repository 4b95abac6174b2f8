"""Bound sockets: what an address is, binding one, and taking connections from it."""

from __future__ import annotations

import os
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


def bind_tcp(text: str, port: int, backlog: int) -> socket.socket:
    """Listen at *text*, with *port* where it names none; raises CannotListen."""
    try:
        host, port = parse_address(text, port)
        sock = socket.socket(_family(host), socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise CannotListen(f"{text}: {error}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
        sock.listen(backlog)
    except (OSError, OverflowError) as error:
        sock.close()
        raise CannotListen(f"{text}: {error}") from None
    sock.setblocking(False)
    return sock


def bind_udp(text: str, port: int) -> socket.socket:
    """Take datagrams for the host of *text* on *port*; raises CannotListen."""
    host, _ = parse_address(text, 0)
    sock = socket.socket(_family(host), socket.SOCK_DGRAM)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise CannotListen(f"udp {text}: {error}") from None
    sock.setblocking(False)
    return sock


def bind_unix(path: str, mode: int, backlog: int) -> socket.socket:
    """Listen on a Unix socket at *path*, in place of a dead one; raises CannotListen."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path):
            os.unlink(path)
        # memcached's -a is the mode of the socket; nobody may slip in before chmod.
        old = os.umask(0o777 & ~mode)
        try:
            sock.bind(path)
        finally:
            os.umask(old)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise CannotListen(f"{path}: {error}") from None
    sock.setblocking(False)
    return sock


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
