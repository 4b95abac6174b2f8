"""The only module with sockets: one thread, one poll loop, one receive and one send a turn.

asyncio would cost a third of the throughput and most of the start-up time, and this loop
needs nothing that it offers. Back-pressure: while a reply waits for a slow client, nothing
is read from it, so what it can occupy is one turn's replies.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

from cachefleet.engine.memserver.connection import Connection
from cachefleet.engine.memserver.control import control_commands
from cachefleet.engine.memserver.crawler import walk
from cachefleet.engine.memserver.host import Host
from cachefleet.engine.memserver.listener import (
    READ,
    CannotListen,
    Listener,
    PollAdapter,
    bind_tcp,
    bind_udp,
    bind_unix,
)
from cachefleet.engine.memserver.lru import NEVER, Item
from cachefleet.engine.memserver.session import CommandTable, Session
from cachefleet.engine.memserver.settings import Settings
from cachefleet.engine.memserver.store import Store
from cachefleet.engine.memserver.text import text_commands
from cachefleet.engine.memserver.watching import Watchers

TYPE_CHECKING = False  # importing typing for it would take longer than the rest
if TYPE_CHECKING:
    from ssl import SSLContext
    from types import ModuleType

    from cachefleet.engine.memserver.auth import Credentials
    from cachefleet.engine.memserver.binary import BinarySession
    from cachefleet.engine.memserver.udp import UdpSocket

CHORES_PERIOD_S = 0.25
CRAWL_PERIOD_S = 60
CRAWL_TURN_S = 0.001
SHELLS_MAX = 10_000  # so many queue entries without an item are not worth a walk
BALANCE_STEPS = 64
SHED_STEPS = 64
RESIDENT_SLACK_BYTES = 16 << 20  # the process without items, and room for buffers
PURE_VARIABLE = "CACHEFLEET_PURE"  # set to anything: no C module, everything in Python
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """What of this process is in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def quick_module() -> ModuleType | None:
    """The C module, where it was built and nobody asked to do without it."""
    if os.environ.get(PURE_VARIABLE):
        return None
    try:
        from cachefleet.engine.memserver import _quick
    except ImportError:
        return None
    return _quick


class Server(Host):
    """Store, listeners, connections and the loop that drives them."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.settings = settings
        self.verbosity = settings.verbosity
        self._clock = clock
        self.store = Store(settings, started_at=int(clock()))
        self.stats = self.store.stats
        self.poller = select.epoll() if hasattr(select, "epoll") else PollAdapter()
        self.handlers: dict[int, Callable[[int], None]] = {}
        quick = quick_module()
        self._channel = quick.Channel if quick is not None else None
        self._pump = quick.Pump(self.store, NEVER, Item, Connection, Session) if quick else None
        self.listeners: dict[str, Listener] = {}
        self.conns: dict[int, Connection] = {}
        self.waiting: list[Connection] = []  # have complete requests left from their last turn
        self._watchers = Watchers(self.store, clock)
        self._following = False
        self._stopping = False
        self._save_at_stop = False
        self.commands: CommandTable = text_commands(settings)
        self._control_commands = control_commands(self.commands)
        self._first_commands = self.commands
        self._credentials: Credentials | None = None
        self._tls: SSLContext | None = None
        self._udp: list[UdpSocket] = []
        self._paused_at = 0.0
        self._crawl: Iterator[object] | None = None
        self._copier: int | None = None  # the process that sends a copy of all items
        self._next_crawl = self.store.now + CRAWL_PERIOD_S
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._attach(self._wake_read, self._on_wake)

    # -- listening ----------------------------------------------------------------------

    def open(self) -> None:
        """Bind everything the settings ask for; raises CannotListen."""
        settings = self.settings
        if settings.tls:
            self._load_certificates()
        if settings.auth_file is not None or settings.sasl:
            self._load_credentials()
        if settings.logins_file is not None:
            failure = self.reload_logins()
            if failure is not None:
                raise CannotListen(failure)
        if settings.unix_path is not None:
            self.listen_unix(settings.unix_path, "unix", settings.unix_mask)
        else:
            for address in settings.listen or ["0.0.0.0"]:
                self._listen_tcp(address)
                if settings.udp_port:
                    self._listen_udp(address)
        if settings.control_path is not None:
            self.listen_unix(settings.control_path, "control", 0o600)

    def _listen_tcp(self, text: str) -> Listener:
        kind = "tls" if self.settings.tls and not text.startswith("notls:") else "tcp"
        sock = bind_tcp(text.removeprefix("notls:"), self.settings.port, self.settings.backlog)
        host, port = sock.getsockname()[:2]
        self.settings.port = self.settings.port or port
        shown = f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"
        return self._add_listener(sock, shown, kind)

    def _listen_udp(self, text: str) -> None:
        from cachefleet.engine.memserver.udp import UdpSocket

        sock = bind_udp(text.removeprefix("notls:"), self.settings.udp_port)
        udp = UdpSocket(self, sock)
        self._udp.append(udp)
        self._attach(sock.fileno(), udp.on_ready)

    def _load_certificates(self) -> None:
        from cachefleet.engine.memserver.tls import BadCertificates, server_context

        try:
            self._tls = server_context(self.settings)
        except BadCertificates as error:
            raise CannotListen(str(error)) from None

    def refresh_certs(self) -> str | None:
        """Load the certificates again for connections to come; None, or why that failed."""
        if self._tls is None:
            return "Error TLS not enabled"
        try:
            self._load_certificates()
        except CannotListen as error:
            return str(error)
        return None

    def _load_credentials(self) -> None:
        from cachefleet.engine.memserver.auth import (
            BadAuthFile,
            Credentials,
            login_commands,
            read_credentials,
        )

        settings = self.settings
        path = settings.sasl_password_file if settings.sasl else settings.auth_file
        try:
            self._credentials = read_credentials(path) if path is not None else Credentials({})
        except BadAuthFile as error:
            raise CannotListen(str(error)) from None
        if settings.auth_file is not None:
            self._first_commands = login_commands(self._credentials, self.commands)

    def reload_logins(self) -> str | None:
        """Let in whom the file of logins names, in both protocols; everybody where it is empty.

        Who is not in it any more is disconnected, and so is who came while there was no file.
        """
        from cachefleet.engine.memserver.auth import (
            BadAuthFile,
            Credentials,
            login_commands,
            read_logins,
        )

        if self.settings.logins_file is None:
            return "no file of logins"
        try:
            known = read_logins(self.settings.logins_file)
        except BadAuthFile as error:
            return str(error)
        was_open = not self.settings.sasl
        self.settings.sasl = bool(known)
        credentials = self._credentials = self._credentials or Credentials({})
        credentials.replace(known)
        guarded = login_commands(credentials, self.commands)
        self._first_commands = guarded if known else self.commands
        for conn in [c for c in self.conns.values() if known and c.listener.kind != "control"]:
            user = conn.session.user
            if was_open if user is None else user not in credentials:
                conn.close()
        return None

    def listen_unix(self, path: str, kind: str, mode: int) -> Listener:
        """Bind a Unix socket at *path*, in place of a dead one; raises CannotListen."""
        return self._add_listener(bind_unix(path, mode, self.settings.backlog), path, kind)

    def _add_listener(self, sock: socket.socket, address: str, kind: str) -> Listener:
        listener = Listener(self, sock, address, kind)
        self.listeners[address] = listener
        self._attach(sock.fileno(), listener.on_ready)
        return listener

    def _attach(self, descriptor: int, handler: Callable[[int], None]) -> None:
        self.handlers[descriptor] = handler
        self.poller.register(descriptor, READ)

    def listen(self, address: str) -> str | None:
        """Bind one more address while running; binding it twice is no error."""
        if address in self.listeners:
            return None
        try:
            self._listen_tcp(address)
        except CannotListen as error:
            return f"cannot bind {error}"
        return None

    def addresses(self) -> list[str]:
        return [a for a, listener in self.listeners.items() if listener.kind in ("tcp", "tls")]

    def unlisten(self, address: str, *, drop: bool) -> str | None:
        """Let go of an address; with *drop* close the connections accepted there."""
        listener = self.listeners.pop(address, None)
        if listener is None or listener.kind == "control":
            return f"not listening on {address}"
        self._detach(listener)
        if drop:
            for conn in [c for c in self.conns.values() if c.listener is listener]:
                conn.close()
        return None

    def _detach(self, listener: Listener) -> None:
        descriptor = listener.sock.fileno()
        if descriptor in self.handlers:
            self.poller.unregister(descriptor)
            del self.handlers[descriptor]
        listener.sock.close()

    # -- connections --------------------------------------------------------------------

    def accepted(self, listener: Listener, sock: socket.socket, peer: object) -> None:
        """Make a connection of a socket, or turn it away when there are too many."""
        control = listener.kind == "control"
        self.stats.total_connections += 1
        if not control and self.curr_connections >= self.settings.connections_max:
            self.stats.rejected_connections += 1
            sock.setblocking(False)
            try:
                sock.send(b"ERROR Too many open connections\r\n")
            except OSError as error:
                self.log(2, f"turning away: {error}")
            sock.close()
            return
        sock.setblocking(False)
        session = Session(self.store, self, self.commands)
        conn = Connection(self, listener, sock, session)
        if listener.kind == "tls":
            self._encrypt(conn)
        self.conns[conn.fd] = conn
        self.connection_structures = max(self.connection_structures, len(self.conns) + 1)
        if not control:
            self.curr_connections += 1
            full = self.curr_connections >= self.settings.connections_max
            if full and not self.settings.maxconns_fast:
                self.pause_accepting()
        self._attach(conn.fd, conn.on_first)
        if not control:
            self._watchers.tell_connection(b"type=conn_new %b cfd=%d" % (conn.where, conn.fd))

    def _encrypt(self, conn: Connection) -> None:
        from cachefleet.engine.memserver.tls import TlsChannel

        assert self._tls is not None
        channel = TlsChannel(self._tls, conn.sock)
        conn.sock, conn.recv, conn.send = channel.sock, channel.recv, channel.send

    def negotiate(self, conn: Connection, first: bytes) -> Session | BinarySession | None:
        """The session that the first byte asks for; None where it may not have it."""
        control = conn.listener.kind == "control"
        protocol = self.settings.protocol
        if first == b"\x80" and protocol != "ascii":
            from cachefleet.engine.memserver.binary import BinarySession

            credentials = None if control or not self.settings.sasl else self._credentials
            return BinarySession(self.store, self, privileged=control, credentials=credentials)
        if control:
            return Session(self.store, self, self._control_commands, privileged=True)
        if protocol == "binary":
            return None
        return Session(self.store, self, self._first_commands)

    def quick_way(self, conn: Connection) -> Callable[[int], None] | None:
        """What takes a connection's plain requests off Python's hands; None where nothing may."""
        if self._channel is None or self._pump is None or conn.listener.kind == "tls":
            return None
        on_ready: Callable[[int], None] = self._channel(self._pump, conn, conn.fd).on_ready
        return on_ready

    def watch(self, session: object, kinds: list[bytes]) -> None:
        """Tell the client of *session* of what *kinds* name from now on."""
        for conn in self.conns.values():
            if conn.session is session:
                self._watchers.add(conn, kinds)
                self._follow()
                return

    def _follow(self) -> None:
        """Take every connection off the short ways while its requests are to be told of."""
        following = self._watchers.follows_items
        if following == self._following:
            return
        self._following = following
        for conn in self.conns.values():
            if self.handlers[conn.fd] != conn.on_first:
                self.handlers[conn.fd] = self.way_of(conn)
                conn.session.take_short_ways(not following)

    def way_of(self, conn: Connection) -> Callable[[int], None]:
        """What is called when *conn*, whose protocol is known, has something to read."""
        if self._following:
            conn.session.take_short_ways(False)
            return conn.on_followed
        return self.quick_way(conn) or conn.on_ready

    def pause_accepting(self) -> None:
        """Let who else comes wait in the backlog until somebody leaves."""
        if not self.accepting:
            return
        self.accepting = False
        self.stats.listen_disabled_num += 1
        self._paused_at = time.monotonic()
        for listener in self.listeners.values():
            if listener.kind != "control":
                self.poller.modify(listener.sock.fileno(), 0)

    def _go_on_accepting(self) -> None:
        self.accepting = True
        waited_s = time.monotonic() - self._paused_at
        self.stats.time_in_listen_disabled_us += int(waited_s * 1_000_000)
        for listener in self.listeners.values():
            self.poller.modify(listener.sock.fileno(), READ)

    def forget(self, conn: Connection) -> None:
        """Drop a connection that is about to close its socket."""
        del self.conns[conn.fd]
        del self.handlers[conn.fd]
        self.poller.unregister(conn.fd)
        self._watchers.remove(conn)
        self._follow()
        if conn.listener.kind != "control":
            self._watchers.tell_connection(
                b"type=conn_close %b reason=%b cfd=%d" % (conn.where, conn.reason, conn.fd)
            )
        if conn.listener.kind != "control":
            self.curr_connections -= 1
            if not self.accepting:
                self._go_on_accepting()

    # -- the loop -----------------------------------------------------------------------

    def run(self) -> None:
        """Serve until stopped."""
        handlers, poll = self.handlers, self.poller.poll
        clock, watchers = self._clock, self._watchers.conns
        next_tick = next_chores = next_look = 0.0
        while not self._stopping:
            now = clock()
            if now >= next_chores or now < next_chores - 2:
                if now >= next_tick or now < next_tick - 2:
                    self._tick(now)
                    next_tick = int(now) + 1.0
                if now >= next_look or now < next_look - 2:
                    self._watch_memory()
                    next_look = now + CHORES_PERIOD_S
                next_chores = 0.0 if self._housekeeping() else min(next_tick, now + CHORES_PERIOD_S)
            idle_s = 0.0 if self.waiting else max(next_chores - now, 0.0)
            for descriptor, events in poll(idle_s):
                handler = handlers.get(descriptor)
                if handler is not None:  # else closed earlier in this very round
                    handler(events)
            if self.waiting:
                turn, self.waiting = self.waiting, []
                for conn in turn:
                    conn.go_on()
            if watchers:
                self._watchers.send()
        self._close()

    def _tick(self, now: float) -> None:
        self.store.tick(int(now))
        if self.settings.idle_timeout_s:
            self._kick_idle()
        if not self.accepting and self.curr_connections < self.settings.connections_max:
            self._go_on_accepting()
        if self._copier is not None:
            from cachefleet.engine.memserver import dumping

            if dumping.is_over(self._copier):
                self._copier = None
        store = self.store
        due = store.timed_sets and store.now >= self._next_crawl
        crowded = store.dead > SHELLS_MAX and store.dead * 4 > len(store.table)
        if (due or crowded) and not store.crawling and self.settings.lru_crawler:
            store.timed_sets = 0
            self._next_crawl = store.now + CRAWL_PERIOD_S
            self._crawl = walk(store)

    def _watch_memory(self) -> None:
        """Lower the store's limit when the process is larger than its items explain.

        Python's allocator keeps what sizes nobody asks for any more have left behind. What
        counts for the machine is the process, so the items have to make room for that.
        """
        store = self.store
        self.resident_bytes = resident = resident_bytes()
        asked = self.settings.memory_bytes
        allowed = asked + asked // 8 + RESIDENT_SLACK_BYTES
        if resident > allowed:
            store.limit = max(store.limit - (resident - allowed), asked // 4)
        elif store.limit < asked and resident < allowed - allowed // 16:
            store.limit = min(store.limit + asked // 256, asked)

    def _kick_idle(self) -> None:
        oldest = self.store.now - self.settings.idle_timeout_s
        for conn in list(self.conns.values()):
            if conn.last_at < oldest and conn.listener.kind != "control":
                self.stats.idle_kicks += 1
                conn.reason = b"idle_timeout"
                conn.close()

    def _housekeeping(self) -> bool:
        """A little of what can wait, a millisecond of it; True when there is more."""
        store = self.store
        if store.free_trash():
            return True
        if self._crawl is not None:
            stop = time.perf_counter() + CRAWL_TURN_S
            for _ in self._crawl:
                if time.perf_counter() > stop:
                    return True
            self._crawl = None
        if not store.crawling:
            self.stats.lru_maintainer_juggles += 1
            return not store.balance(BALANCE_STEPS) or not store.shed(SHED_STEPS)
        return False

    def _on_wake(self, events: int) -> None:
        for number in os.read(self._wake_read, 64):
            self.stop(save=number == signal.SIGUSR1)

    def catch_signals(self) -> None:
        """TERM and INT stop at once, USR1 stops with the memory file written."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def stop(self, *, save: bool) -> None:
        """Leave the loop after this round."""
        self._stopping = True
        self._save_at_stop = self._save_at_stop or save

    def _close(self) -> None:
        for listener in list(self.listeners.values()):
            self._detach(listener)
            if listener.kind in ("unix", "control") and os.path.exists(listener.address):
                os.unlink(listener.address)
        self.listeners.clear()
        for udp in self._udp:
            self.poller.unregister(udp.sock.fileno())
            udp.sock.close()
        for conn in list(self.conns.values()):
            conn.flush()
            if not conn.closed:
                conn.close()
        if self._save_at_stop and self.settings.memory_file is not None:
            failure = self.save()
            if failure is not None:
                self.log(0, failure)
        self.poller.unregister(self._wake_read)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def save(self) -> str | None:
        """Write the memory file; None, or why it failed."""
        from cachefleet.engine.memserver import memfile

        path = self.settings.memory_file
        if path is None:
            return "no memory file"
        try:
            memfile.save(self.store, path)
        except OSError as error:
            return f"cannot write the memory file: {error}"
        return None

    def dump(self, session: object) -> str | None:
        """Hand the connection of *session* to a copy of all items; None, or why there is none."""
        from cachefleet.engine.memserver import dumping

        conn = next((one for one in self.conns.values() if one.session is session), None)
        if conn is None:
            return "no connection to send it through"
        if self._copier is not None and not dumping.is_over(self._copier):
            return "another copy is being made"
        try:
            self._copier = dumping.begin(self.store, conn.sock)
        except OSError as error:
            return f"cannot fork: {error}"
        conn.close()  # here: the other process has it
        return None

    def load(self) -> None:
        """Read the memory file if there is one; a bad one means starting empty."""
        path = self.settings.memory_file
        if path is None or not os.path.exists(path):
            return
        from cachefleet.engine.memserver import memfile

        self.store.tick(int(self._clock()))
        try:
            memfile.load(self.store, path)
        except (memfile.Corrupt, OSError) as error:
            self.log(0, f"starting empty: {error}")

    def load_cluster_config(self) -> None:
        """Read what discovery answers until the control plane says otherwise."""
        path = self.settings.cluster_config_path
        if path is None:
            return
        try:
            with open(path, "rb") as file:
                self.store.config.set(b"cluster", 0, file.read())
        except OSError as error:
            self.log(0, f"no cluster configuration: {error}")

    def connections(self) -> list[tuple[int, list[tuple[str, object]]]]:
        """For ``stats conns``."""
        rows: list[tuple[int, list[tuple[str, object]]]] = []
        for listener in self.listeners.values():
            if listener.kind == "control":
                continue
            scheme = "unix" if listener.kind == "unix" else "tcp"
            lines: list[tuple[str, object]] = [
                ("addr", f"{scheme}:{listener.address}"),
                ("state", "conn_listening"),
                ("secs_since_last_cmd", self.store.now - 60),
            ]
            rows.append((listener.sock.fileno(), lines))
        shown = [conn for conn in self.conns.values() if conn.listener.kind != "control"]
        return rows + [(conn.fd, conn.describe()) for conn in shown]

    def log(self, level: int, line: str) -> None:
        """A line on stderr, from verbosity *level* on."""
        if self.verbosity >= level:
            print(line, file=sys.stderr, flush=True)
