"""Lets clients that know nothing of clusters read from replicas in cluster mode.

Such a replica sends whoever reads on to its primary, unless the connection said ``READONLY``. It is
said here in the client's stead, before its first request, and the answer is kept from it. Where
that first request logs in, so do we, ahead of ``READONLY``: an engine that asks for a password
would refuse it otherwise. A client that logs in later than that is sent on. Sans-IO.
"""

from __future__ import annotations

from cachefleet.engine.gateway.interception import WireViolation
from cachefleet.engine.gateway.opening import COMMAND_BYTES_MAX, Unreadable, encode, next_command

REQUEST = b"READONLY\r\n"
ANSWER_BYTES_MAX = 1024  # "+OK", or what a user that may not is told; of all that are ours


class ReadOnly:
    """The state of one connection."""

    def __init__(self) -> None:
        self._first = bytearray()  # of the client, until its first request is whole
        self._asked = False
        self._answer = bytearray()
        self._answers_left = 0  # each is one line

    def client_sent(self, data: bytes) -> bytes:
        """Pass on *data*, the first of it behind our requests."""
        if self._asked:
            return data
        self._first += data
        try:
            end, words = next_command(self._first)
        except Unreadable:
            end, words = len(self._first), []
        if end == 0 and len(self._first) <= COMMAND_BYTES_MAX:
            return b""
        return self._ask(words)

    def backend_sent(self, data: bytes) -> bytes:
        """Pass on all but the answers to our requests."""
        if not self._answers_left:
            return data
        self._answer += data
        while self._answers_left:
            end = self._answer.find(b"\r\n")
            if end < 0:
                if len(self._answer) > ANSWER_BYTES_MAX:
                    raise WireViolation("the answer to READONLY does not end")
                return b""
            del self._answer[: end + 2]
            self._answers_left -= 1
        return bytes(self._answer)

    def client_finished(self) -> bytes:
        """Return what is left of a request that did not end."""
        return b"" if self._asked else self._ask([])

    def backend_finished(self) -> bytes:
        """What is held back is not the client's."""
        return b""

    def _ask(self, words: list[bytes]) -> bytes:
        login = login_in(words)
        self._asked = True
        self._answers_left = 2 if login else 1
        first, self._first = bytes(self._first), bytearray()
        return (encode(login) if login else b"") + REQUEST + first


def login_in(words: list[bytes]) -> list[bytes]:
    """Return the ``AUTH`` that a command amounts to, or is a part of; empty where it is none."""
    if not words:
        return []
    match words[0].upper(), words:
        case b"AUTH", [_, *rest] if 1 <= len(rest) <= 2:
            return words
        case b"HELLO", [_, _, *options]:
            for at, word in enumerate(options[:-2]):
                if word.upper() == b"AUTH":
                    return [b"AUTH", options[at + 1], options[at + 2]]
    return []
