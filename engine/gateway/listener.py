"""One bound address: accepts clients and gives each to the route, in plain or through TLS.

The route behind an address, and its TLS mode, may change while the socket stays open. Where
TLS is wanted, the first byte decides: it is looked at, not read, so that the handshake finds
it still there. Clients of every engine here speak first.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import socket
import ssl

from cachefleet.engine.gateway.routes import Address, TlsMode
from cachefleet.engine.gateway.serving import ClientSide, Serving
from cachefleet.engine.gateway.tls import HANDSHAKE_BYTE
from cachefleet.engine.gateway.tls_stream import TlsConnection

CLIENT_KEEPALIVE_S = 300  # what the engines use
BACKLOG = 1024  # connections the kernel holds until they are accepted; it may allow fewer
ACCEPTS_PER_TURN = 64  # then the loop serves others
ACCEPT_PAUSE_S = 0.5  # when the process or the system is out of descriptors
WELCOME_S_MAX = 10.0  # from accept to the end of the handshake
WELCOMES_MAX = 1024  # clients of one address that are not through with it

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

log = logging.getLogger(__name__)


class Listener:
    """Listens on *address* for *service*, which may be exchanged at any time."""

    def __init__(self, address: Address, service: Serving) -> None:
        self.address = address
        self.service = service
        self._sock: socket.socket | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._welcomes: set[asyncio.Task[None]] = set()
        self._ours: set[socket.socket] = set()  # accepted, and not yet a transport's to close

    def open(self) -> None:
        """Raises OSError."""
        self._sock = listening_socket(self.address)
        self._start_accepting()

    async def close(self) -> None:
        """Stop listening; clients that are not through the handshake are sent away."""
        assert self._sock is not None
        if self._resume is not None:
            self._resume.cancel()
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
        for task in self._welcomes:
            task.cancel()
        await asyncio.gather(*self._welcomes, return_exceptions=True)

    def _start_accepting(self) -> None:
        assert self._sock is not None
        self._resume = None
        asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        assert self._sock is not None
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("accept_paused address=%s reason=%s", self.address, error)
                    loop.remove_reader(self._sock)
                    self._resume = loop.call_later(ACCEPT_PAUSE_S, self._start_accepting)
                    return
                continue  # that client left before it was accepted
            if not self.service.admits(peer[0]) or len(self._welcomes) >= WELCOMES_MAX:
                self.service.note_refused()
                client.close()
                continue
            client.setblocking(False)
            task = loop.create_task(self._welcome(client))
            self._welcomes.add(task)
            self._ours.add(client)
            task.add_done_callback(functools.partial(self._welcomed, client))

    def _welcomed(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._welcomes.discard(task)
        # A task that is cancelled before its first step runs no finally of its own.
        if client in self._ours:
            self._ours.discard(client)
            client.close()

    async def _welcome(self, client: socket.socket) -> None:
        try:
            async with asyncio.timeout(WELCOME_S_MAX):
                first = None
                if self.service.route.options.tls is not None:
                    first = await _first_byte(client)
                # Asked only now: a reload may have changed this while the client was silent.
                if not self.service.admits(client.getpeername()[0]):
                    self.service.note_refused()
                    return
                context = None
                if (tls := self.service.route.options.tls) is not None:
                    if first == HANDSHAKE_BYTE:
                        context = self.service.tls_context
                        assert context is not None, "a route without one is not listened for"
                    elif first is None or tls.mode is TlsMode.REQUIRED:
                        self.service.note_refused()
                        return
                self._ours.discard(client)
                await self._hand_over(client, context)
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.service.note_refused()
            log.info("client_refused route=%s reason=%s", self.service.route.name, error)

    async def _hand_over(self, client: socket.socket, context: ssl.SSLContext | None) -> None:
        """Do the handshake, if any, and let the route serve the client; raises OSError."""
        loop = asyncio.get_running_loop()
        sides: list[ClientSide] = []

        def client_side() -> ClientSide:
            sides.append(self.service.client_side())
            return sides[-1]

        try:
            if context is None:
                await loop.connect_accepted_socket(client_side, client)
                return
            tls = TlsConnection(context, client_side, loop=loop)
            try:
                await loop.connect_accepted_socket(lambda: tls, client)
                await tls.handshake()
            except BaseException:
                tls.forsake()
                raise
        except BaseException:
            for side in sides:
                side.forsake()
            raise


async def _first_byte(client: socket.socket) -> int | None:
    """Look at what the client says first, and leave it there; None when it says nothing.

    Raises OSError.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(client, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(client)
    seen = client.recv(1, socket.MSG_PEEK)
    return seen[0] if seen else None


def listening_socket(address: Address) -> socket.socket:
    """Bind and listen; raises OSError. Accepted connections inherit the options set here."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The engine's own keepalive ends at the gateway; a client that vanished without a word
        # must be noticed here.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, CLIENT_KEEPALIVE_S)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(tuple(address))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
