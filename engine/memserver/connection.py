"""One accepted socket: what it receives goes to its session, what that answers goes out."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from cachefleet.engine.memserver.session import Session

TYPE_CHECKING = False  # importing typing for it would take longer than the rest
if TYPE_CHECKING:
    from cachefleet.engine.memserver.binary import BinarySession
    from cachefleet.engine.memserver.listener import Listener
    from cachefleet.engine.memserver.server import Server

READ: int = select.POLLIN
WRITE: int = select.POLLOUT
READ_BYTES = 16 << 10  # as memcached reads; more at a time only once it has been filled
READ_BYTES_LARGE = 256 << 10
JOIN_BYTES_MAX = 256 << 10  # up to here one copy is cheaper than many pieces
PIECES_MAX = 512  # per sendmsg; the system allows 1024


class Connection:
    """A client's socket. Reading stops while a reply waits to be taken."""

    __slots__ = (
        "closed",
        "fd",
        "last_at",
        "listener",
        "peer",
        "read_bytes",
        "reason",
        "recv",
        "send",
        "server",
        "session",
        "sock",
        "stats",
        "store",
        "unsent",
        "where",
    )

    def __init__(
        self,
        server: Server,
        listener: Listener,
        sock: socket.socket,
        session: Session | BinarySession,
    ) -> None:
        self.server = server
        self.stats = server.stats
        self.store = server.store
        self.listener = listener
        self.sock = sock
        self.fd = sock.fileno()
        # Bound here once: looking them up on every request is a tenth of its cost.
        self.recv: Callable[[int], bytes] = sock.recv
        self.send: Callable[[bytes | memoryview], int] = sock.send
        self.session = session
        self.unsent: list[memoryview | bytes] = []
        self.read_bytes = READ_BYTES
        self.last_at = server.store.now
        self.closed = False
        self.reason = b"normal"  # of its end, as watchers are told
        self.where = where_from(sock, listener.kind)

    def on_first(self, events: int) -> None:
        """The first bytes tell the protocol; from then on ``on_ready`` has it."""
        try:
            data = self.recv(self.read_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.reason = b"error"
            self.close()
            return
        session = self.server.negotiate(self, data[:1]) if data else None
        if session is None:
            self.close()
            return
        self.session = session
        self.server.handlers[self.fd] = self.server.way_of(self)
        self.store.acting = self.fd
        self.stats.bytes_read += len(data)
        session.receive(data)
        self._turn_done(len(data))

    def on_followed(self, events: int) -> None:
        """As ``on_ready``, where somebody is to be told who asks for what."""
        self.store.acting = self.fd
        self.on_ready(events)

    def on_ready(self, events: int) -> None:
        """Receive and answer, or go on sending."""
        session = self.session
        if self.unsent:
            self._drain()
            return
        if session.more:
            return  # it is in line for its next turn; what it sent meanwhile can wait
        try:
            data = self.recv(self.read_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.reason = b"error"
            self.close()
            return
        if not data:
            self.close()
            return
        self.stats.bytes_read += len(data)
        self.last_at = self.store.now
        self.on_data(data)

    def on_data(self, data: bytes) -> None:
        """Answer what was received."""
        session = self.session
        if session.idle:
            reply = session.answer(data)
            if reply:
                try:
                    sent = self.send(reply)
                except (BlockingIOError, InterruptedError):
                    sent = 0
                except OSError:
                    self.close()
                    return
                self.stats.bytes_written += sent
                if sent != len(reply):
                    self.keep(reply, sent)
                return
            if reply is None:
                session.receive(data)
        else:
            session.receive(data)
        self._turn_done(len(data))

    def _turn_done(self, size: int) -> None:
        """Send what a turn has brought, or line up for the next one."""
        session = self.session
        if size == self.read_bytes:
            self.read_bytes = READ_BYTES_LARGE
        if session.more:
            self.server.waiting.append(self)
        elif session.out:
            self.flush()
        if session.closing and not self.unsent and not self.closed:
            self.close()

    def go_on(self) -> None:
        """The next turn of a session that had more to do."""
        if self.closed or self.unsent:
            return
        session = self.session
        self.store.acting = self.fd
        session.resume()
        if session.more:
            self.server.waiting.append(self)
            if sum(map(len, session.out)) < JOIN_BYTES_MAX:
                return
        self.flush()
        if session.closing and not self.unsent and not self.closed:
            self.close()

    def flush(self) -> None:
        """Send what the session has answered; what does not fit waits."""
        out = self.session.out
        if not out or self.closed:
            return
        if len(out) == 1:
            payload = out[0]
        elif len(out) <= PIECES_MAX or sum(map(len, out)) <= JOIN_BYTES_MAX:
            payload = b"".join(out)
        else:
            self.unsent += out
            self.session.out = []
            self._drain()
            return
        out.clear()
        if payload:
            self._send(payload)

    def _send(self, payload: bytes) -> None:
        try:
            sent = self.send(payload)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.reason = b"error"
            self.close()
            return
        self.stats.bytes_written += sent
        if sent < len(payload):
            self.keep(payload, sent)

    def keep(self, payload: bytes, sent: int) -> None:
        """Hold what was not taken, and read no more until it is."""
        self.unsent.append(memoryview(payload)[sent:])
        self.server.poller.modify(self.fd, WRITE)

    def _drain(self) -> None:
        unsent = self.unsent
        try:
            while unsent:
                sent = self.send_some(unsent)
                self.stats.bytes_written += sent
                done = 0
                while done < len(unsent) and sent >= len(unsent[done]):
                    sent -= len(unsent[done])
                    done += 1
                del unsent[:done]
                if sent:
                    unsent[0] = memoryview(unsent[0])[sent:]
        except (BlockingIOError, InterruptedError):
            self.server.poller.modify(self.fd, WRITE)
            return
        except OSError:
            self.reason = b"error"
            self.close()
            return
        self.server.poller.modify(self.fd, READ)
        if self.session.closing:
            self.close()
        elif self.session.more:
            self.server.waiting.append(self)

    def send_some(self, pieces: list[memoryview | bytes]) -> int:
        """Send the first of *pieces*, or several where the socket can."""
        if self.listener.kind == "tls":
            return self.send(pieces[0])
        return self.sock.sendmsg(pieces[:PIECES_MAX])

    def close(self) -> None:
        """Close at once; safe to call for one that is closed."""
        if self.closed:
            return
        self.closed = True
        self.server.forget(self)
        self.session.streaming = None  # ends a walk that nobody listens to any more
        self.sock.close()

    def describe(self) -> list[tuple[str, object]]:
        """Its lines in ``stats conns``."""
        if self.listener.kind == "unix":
            return [
                ("addr", f"unix:{self.listener.address}"),
                ("state", "conn_parse_cmd"),
                ("secs_since_last_cmd", self.server.store.now - self.last_at),
            ]
        name = self.sock.getpeername()
        peer = f"[{name[0]}]:{name[1]}" if len(name) == 4 else f"{name[0]}:{name[1]}"
        scheme = "tcp6" if len(name) == 4 else "tcp"
        return [
            ("addr", f"{scheme}:{peer}"),
            ("listen_addr", f"{scheme}:{self.listener.address}"),
            ("state", "conn_parse_cmd"),
            ("secs_since_last_cmd", self.server.store.now - self.last_at),
        ]


def where_from(sock: socket.socket, kind: str) -> bytes:
    """How watchers are told where a connection comes from."""
    if kind in ("unix", "control"):
        return b"rip=localhost rport=0 transport=local"
    try:
        name = sock.getpeername()
    except OSError:  # it has gone already
        name = None
    if not isinstance(name, tuple):
        return b"rip=unknown rport=0 transport=tcp"
    return b"rip=%b rport=%d transport=tcp" % (str(name[0]).encode(), name[1])
