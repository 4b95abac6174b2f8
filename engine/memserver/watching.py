"""``watch``: lines about items and connections, to every client that asked for their kind.

Kinds are memcached's: ``fetchers`` (whenever an item is looked up), ``mutations`` (whenever one is
to be stored), ``evictions``, ``connevents``; its other kinds have nothing to tell here. A client
that does not keep up misses lines, as memcached's watchers do: nothing here waits for anybody, and
what a watcher holds is bounded.
"""

from __future__ import annotations

from cachefleet.engine.memserver.crawler import uri_encode
from cachefleet.engine.memserver.lru import FETCHED, NEVER, Item

TYPE_CHECKING = False  # importing typing for it would take longer than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cachefleet.engine.memserver.connection import Connection
    from cachefleet.engine.memserver.store import Store

LINES_MAX = 1000  # that wait for one watcher
FETCHERS, MUTATIONS = b"fetchers", b"mutations"
EVICTIONS, CONNEVENTS = b"evictions", b"connevents"
COMMANDS = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")  # by the store's modes
U32 = 0xFFFFFFFF


def eviction(key: bytes, item: Item, now: int) -> bytes:
    """What is told of an item that had to go; *now* is the store's second."""
    return b"type=eviction key=%b fetch=%b ttl=%d la=%d clsid=%d size=%d" % (
        uri_encode(key),
        b"yes" if item.bits & FETCHED else b"no",
        -1 if item.exp == NEVER else item.exp - now,
        now - item.time,
        item.slab,
        item.value_len,
    )


def fetched(key: bytes, item: Item | None, status: bytes, descriptor: int) -> bytes:
    """What is told of a look-up."""
    return b"type=item_get key=%b status=%b clsid=%d cfd=%d size=%d" % (
        uri_encode(key),
        status,
        0 if item is None else item.slab,
        descriptor,
        0 if item is None else item.value_len,
    )


def stored(key: bytes, status: bytes, mode: int, ttl: int, slab: int, size: int, fd: int) -> bytes:
    """What is told of a store, whatever became of it."""
    return b"type=item_store key=%b status=%b cmd=%b ttl=%d clsid=%d cfd=%d size=%d" % (
        uri_encode(key),
        status,
        COMMANDS[mode],
        ttl & U32,
        slab,
        fd,
        size,
    )


class Watchers:
    """The connections that watch one store. While there are none, the store tells nobody."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._number = 0
        self._kinds: dict[Connection, set[bytes]] = {}
        self.conns: list[Connection] = []  # one list for good: the loop has it in hand

    @property
    def follows_items(self) -> bool:
        """Whether somebody is to be told of every request, which then takes no short way."""
        return self._wanted(FETCHERS) or self._wanted(MUTATIONS)

    def add(self, conn: Connection, kinds: Collection[bytes]) -> None:
        """Tell *conn* of *kinds* as well from now on; twice is no error."""
        self._kinds.setdefault(conn, set()).update(kinds)
        self._arrange()

    def remove(self, conn: Connection) -> None:
        """Tell *conn* no more."""
        if self._kinds.pop(conn, None) is not None:
            self._arrange()

    def _wanted(self, kind: bytes) -> bool:
        return any(kind in kinds for kinds in self._kinds.values())

    def _arrange(self) -> None:
        """Have the store tell us what anybody wants to hear, and nothing else."""
        store = self._store
        self.conns[:] = self._kinds
        store.on_evict = self._evicted if self._wanted(EVICTIONS) else None
        store.on_fetch = self._fetched if self._wanted(FETCHERS) else None
        store.on_store = self._stored if self._wanted(MUTATIONS) else None

    def _evicted(self, key: bytes, item: Item) -> None:
        self._tell(EVICTIONS, eviction(key, item, self._store.now))

    def _fetched(self, key: bytes, item: Item | None, status: bytes) -> None:
        self._tell(FETCHERS, fetched(key, item, status, self._store.acting))

    def _stored(self, key: bytes, status: bytes, mode: int, exp: int, slab: int, size: int) -> None:
        ttl = 0 if exp == NEVER else exp - self._store.now
        self._tell(MUTATIONS, stored(key, status, mode, ttl, slab, size, self._store.acting))

    def tell_connection(self, what: bytes) -> None:
        """Tell of a connection that has come or gone; *what* is the line behind its number."""
        if self._kinds:
            self._tell(CONNEVENTS, what)

    def _tell(self, kind: bytes, what: bytes) -> None:
        self._number += 1
        time_s = self._clock()
        seconds = int(time_s)
        micros = int((time_s - seconds) * 1_000_000)
        line = b"ts=%d.%d gid=%d %b\n" % (seconds, micros, self._number, what)
        for conn, kinds in self._kinds.items():
            if kind in kinds and not conn.unsent and len(conn.session.out) < LINES_MAX:
                conn.session.out.append(line)

    def send(self) -> None:
        """Send what this round has brought."""
        for conn in self.conns[:]:
            if not conn.unsent:
                conn.flush()
