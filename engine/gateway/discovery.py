"""ElastiCache's auto discovery in front of a stock memcached. Sans-IO.

A stock memcached knows no ``config get cluster``. Where a client asks, the backend is asked for
something that it always answers with exactly one reply of its own kind (``version`` in text,
NOOP in binary), and that reply is replaced by the discovery answer. Quiet commands, ``noreply``
and errors therefore cannot shift the order: it is the backend's own order. The client's own
``version`` and NOOP are counted along, so each marker's reply goes to whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cachefleet.engine.gateway.memcached_binary import (
    MAGIC_REQUEST,
    BinaryReplies,
    BinaryRequests,
)
from cachefleet.engine.gateway.memcached_text import Pending, TextReplies, TextRequests


def render_cluster_config(version: int, nodes: Iterable[tuple[str, str, int]]) -> str:
    """The payload clients poll for: *nodes* are (host name, ip or "", port), sorted by name."""
    words = (f"{host}|{ip}|{port}" for host, ip, port in sorted(nodes))
    return f"{version}\n{' '.join(words)}\n"


class Discovery:
    """Implements :class:`~cachefleet.engine.gateway.interception.Interceptor`.

    *payload* is asked at each request, so that all connections change at the same moment.
    """

    def __init__(self, payload: Callable[[], bytes]) -> None:
        self._payload = payload
        self._requests: TextRequests | BinaryRequests | None = None
        self._replies: TextReplies | BinaryReplies | None = None

    def client_sent(self, data: bytes) -> bytes:
        if self._requests is None:
            # memcached, too, lets the first byte of a connection decide for good.
            pending: Pending = Pending()
            if data[0] == MAGIC_REQUEST:
                self._requests = BinaryRequests(self._payload, pending)
                self._replies = BinaryReplies(pending)
            else:
                self._requests = TextRequests(self._payload, pending)
                self._replies = TextReplies(pending)
        return self._requests.feed(data)

    def backend_sent(self, data: bytes) -> bytes:
        # A backend that speaks first is closing us out ("Too many open connections").
        return data if self._replies is None else self._replies.feed(data)

    def client_finished(self) -> bytes:
        return b"" if self._requests is None else self._requests.finish()

    def backend_finished(self) -> bytes:
        return b"" if self._replies is None else self._replies.finish()
