"""``watch evictions``: a line an evicted item, to every client that asked.

A client that does not keep up misses lines, as memcached's watchers do: nothing here waits
for anybody, and what a watcher holds is bounded.
"""

from __future__ import annotations

from cachefleet.engine.memserver.crawler import uri_encode
from cachefleet.engine.memserver.lru import FETCHED, NEVER, Item

TYPE_CHECKING = False  # importing typing for it would take longer than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

    from cachefleet.engine.memserver.connection import Connection
    from cachefleet.engine.memserver.store import Store

LINES_MAX = 1000  # that wait for one watcher


def eviction_line(key: bytes, item: Item, now: int, time_s: float, number: int) -> bytes:
    """memcached's line for an item that had to go; *now* is the store's second."""
    seconds = int(time_s)
    return (b"ts=%d.%d gid=%d type=eviction key=%b fetch=%b ttl=%d la=%d clsid=%d size=%d\n") % (
        seconds,
        int((time_s - seconds) * 1_000_000),
        number,
        uri_encode(key),
        b"yes" if item.bits & FETCHED else b"no",
        -1 if item.exp == NEVER else item.exp - now,
        now - item.time,
        item.slab,
        item.value_len,
    )


class Watchers:
    """The connections that watch one store. While there are none, the store tells nobody."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._number = 0
        self.conns: list[Connection] = []

    def add(self, conn: Connection) -> None:
        """Tell *conn* from now on; twice is no error."""
        if conn not in self.conns:
            self.conns.append(conn)
        self._store.on_evict = self._tell

    def remove(self, conn: Connection) -> None:
        """Tell *conn* no more."""
        if conn in self.conns:
            self.conns.remove(conn)
        if not self.conns:
            self._store.on_evict = None

    def _tell(self, key: bytes, item: Item) -> None:
        self._number += 1
        line = eviction_line(key, item, self._store.now, self._clock(), self._number)
        for conn in self.conns:
            if not conn.unsent and len(conn.session.out) < LINES_MAX:
                conn.session.out.append(line)

    def send(self) -> None:
        """Send what this round has brought."""
        for conn in self.conns[:]:
            if not conn.unsent:
                conn.flush()
