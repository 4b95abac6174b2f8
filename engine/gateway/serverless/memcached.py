"""The endpoint of a serverless memcached cache: the text protocol, less what it does not have.

Implements :class:`~cachefleet.engine.gateway.interception.Interceptor`. What is refused is refused
in the order of the requests, by the marker that auto discovery uses (:mod:`..memcached_text`).
"""

from __future__ import annotations

from typing import Final

from cachefleet.engine.gateway.interception import WireViolation
from cachefleet.engine.gateway.memcached_binary import MAGIC_REQUEST
from cachefleet.engine.gateway.memcached_text import (
    LEGACY_KEY,
    MARKER,
    Pending,
    TextReplies,
    TextRequests,
)

GET_BYTES_MAX: Final = 16 * 1024  # of a request for keys
ERROR: Final = b"ERROR\r\n"
DELAYED: Final = b"CLIENT_ERROR delayed flush_all is not supported\r\n"
TOO_LONG: Final = b"CLIENT_ERROR line too long\r\n"

_RETRIEVAL: Final = frozenset((b"get", b"gets", b"gat", b"gats"))
_KNOWN: Final = _RETRIEVAL | frozenset(
    (b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"incr", b"decr", b"delete",
     b"touch", b"version", b"quit", b"flush_all", b"stats", b"mg", b"ms", b"md", b"ma", b"mn")
)  # fmt: skip


class _Requests(TextRequests):
    def _replacement(self, data: bytes, start: int, end: int) -> bytes | None:
        line = data[start:end].removesuffix(b"\r")
        words = [word for word in line.partition(b"\0")[0].split(b" ") if word]
        if not words:
            return None
        answer = _refusal(words, len(line))
        if answer is None:
            return super()._replacement(data, start, end)
        self._pending.push(answer)
        return MARKER


def _refusal(words: list[bytes], line_bytes: int) -> bytes | None:
    """Return the answer to a request that is not passed on; None where it is."""
    verb = words[0]
    if verb not in _KNOWN or (verb == b"stats" and words[1:] not in ([], [b"reset"])):
        return ERROR
    if verb == b"flush_all" and len(words) > 1 and words[1] not in (b"0", b"noreply"):
        return b"" if words[-1] == b"noreply" else DELAYED
    if verb in _RETRIEVAL:
        if LEGACY_KEY in words:
            return ERROR  # there are no nodes to be discovered
        return TOO_LONG if line_bytes > GET_BYTES_MAX else None
    return None


class ServerlessMemcached:
    """The state of one connection."""

    def __init__(self) -> None:
        pending = Pending()
        self._requests = _Requests(lambda: b"", pending)
        self._replies = TextReplies(pending)
        self._begun = False

    def client_sent(self, data: bytes) -> bytes:
        """Return what the server gets.

        Raises:
            WireViolation: the client speaks the binary protocol.
        """
        if not self._begun:
            self._begun = True
            if data[0] == MAGIC_REQUEST:
                raise WireViolation("the binary protocol is not supported")
        return self._requests.feed(data)

    def backend_sent(self, data: bytes) -> bytes:
        """Return what the client gets."""
        return self._replies.feed(data)

    def client_finished(self) -> bytes:
        """Return a line that did not end."""
        return self._requests.finish()

    def backend_finished(self) -> bytes:
        """Return a reply that did not end."""
        return self._replies.finish()
