"""Lets clients that know nothing of clusters read from replicas in cluster mode.

Such a replica sends whoever reads on to its primary, unless the connection said ``READONLY``. It is
said here in the client's stead, before its first request, and the answer is kept from it. Sans-IO.
"""

from __future__ import annotations

from cachefleet.engine.gateway.interception import WireViolation

REQUEST = b"READONLY\r\n"
ANSWER_BYTES_MAX = 1024  # "+OK", or what a user that may not is told


class ReadOnly:
    """The state of one connection."""

    def __init__(self) -> None:
        self._asked = False
        self._answer: bytearray | None = bytearray()  # None: it has come

    def client_sent(self, data: bytes) -> bytes:
        """Pass on *data*, the first of it behind our request."""
        if self._asked:
            return data
        self._asked = True
        return REQUEST + data

    def backend_sent(self, data: bytes) -> bytes:
        """Pass on all but the answer to our request."""
        if self._answer is None or not self._asked:
            return data
        self._answer += data
        end = self._answer.find(b"\r\n")
        if end < 0:
            if len(self._answer) > ANSWER_BYTES_MAX:
                raise WireViolation("the answer to READONLY does not end")
            return b""
        rest = bytes(self._answer[end + 2 :])
        self._answer = None
        return rest

    def client_finished(self) -> bytes:
        """Nothing of the client's is held back."""
        return b""

    def backend_finished(self) -> bytes:
        """What is held back is not the client's."""
        return b""
