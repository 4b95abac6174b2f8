"""IAM authentication on the wire: ``AUTH`` and ``HELLO`` read, and tokens swapped. Sans-IO.

A client says who it is with a token in the place of a password. Where the token is good, the
engine is sent the user's internal password instead; where it is not, a password that cannot be
right, so that the engine itself answers ``WRONGPASS``. Nothing is ever answered here.

Requests are followed for as long as the connection lasts, because clients authenticate anew before
their time is up; all but ``AUTH`` and ``HELLO`` pass as they arrive. What does not look as clients
write it is left to the engine, and from there on nothing is swapped: a password must never reach
the engine as part of something that a client could read back.
"""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from cachefleet.engine.gateway.interception import WireViolation

NAME_BYTES_MAX: Final = 16  # longer names are of no interest
HELD_BYTES_MAX: Final = 32 * 1024  # of one AUTH or HELLO; tokens have 8 KiB at most
HELD_WORDS_MAX: Final = 16
INLINE_BYTES_MAX: Final = 64 * 1024  # the engine's own limit
NUMBER_BYTES_MAX: Final = 12

_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,9}")
_SIMPLE_LINE: Final = re.compile(rb"[^\"'\\]*")
_AUTH, _HELLO = b"AUTH", b"HELLO"
_OF_INTEREST: Final = (_AUTH, _HELLO)
_BEGIN, _ENDS = b"MULTI", (b"EXEC", b"DISCARD", b"RESET")

# (user name, token) -> internal password; None where the token is not good. Raises LookupError for
# a user that does not authenticate with IAM.
Swap = Callable[[bytes, bytes], bytes | None]


class _State(enum.Enum):
    START = enum.auto()  # of a request
    LENGTH = enum.auto()  # a bulk string's length comes
    WORD = enum.auto()  # a bulk string that is kept comes
    PASSING = enum.auto()  # a bulk string that passes comes
    DEAF = enum.auto()  # everything passes, for ever


class IamHandshake:
    """Implements :class:`~cachefleet.engine.gateway.interception.Interceptor`.

    *swap* says what a token is worth; *on_authenticated* is called when one was good.
    """

    def __init__(self, swap: Swap, *, on_authenticated: Callable[[], None]) -> None:
        self._swap = swap
        self._on_authenticated = on_authenticated
        self._wrong = secrets.token_hex(32).encode()
        self._state = _State.START
        self._unread = bytearray()
        self._held = bytearray()  # of the request as it arrived, while it may be of interest
        self._words: list[bytes] = []
        self._words_left = 0
        self._bytes_left = 0  # of a bulk string, its line end included
        self._name: bytes | None = None  # in capitals, of the request that is being read
        self._in_transaction = False

    def client_sent(self, data: bytes) -> bytes:
        """Return what the engine gets now.

        Raises:
            WireViolation: credentials that are larger than any can be.
        """
        if self._state is _State.DEAF:
            return data
        self._unread += data
        passed: list[bytes] = []
        while self._unread and self._step(passed):
            pass
        return b"".join(passed)

    def backend_sent(self, data: bytes) -> bytes:
        """Pass on what the engine says."""
        return data

    def client_finished(self) -> bytes:
        """Return what is left of a request that did not end: none of it was swapped."""
        self._state = _State.DEAF
        rest = bytes(self._held + self._unread)
        self._held.clear()
        self._unread.clear()
        return rest

    def backend_finished(self) -> bytes:
        """Hold nothing back."""
        return b""

    # Each step takes something from _unread and says whether the next may be tried.

    def _step(self, passed: list[bytes]) -> bool:
        match self._state:
            case _State.START:
                return self._start(passed)
            case _State.LENGTH:
                return self._length(passed)
            case _State.WORD:
                return self._word(passed)
            case _State.PASSING:
                return self._pass(passed)
            case _State.DEAF:
                passed.append(self.client_finished())
                return False

    def _start(self, passed: list[bytes]) -> bool:
        if self._unread[0] != ord("*"):
            return self._inline(passed)
        count = self._number()
        if count is None:
            return self._wait_or_go_deaf(passed)
        if count == 0:
            passed.append(self._take_held())
            return True
        self._words, self._words_left, self._name = [], count, None
        self._state = _State.LENGTH
        return True

    def _length(self, passed: list[bytes]) -> bool:
        if self._unread[0] != ord("$"):
            return self._go_deaf(passed)
        size = self._number()
        if size is None:
            return self._wait_or_go_deaf(passed)
        self._bytes_left = size + 2
        self._state = _State.WORD
        if self._name is None:
            if size > NAME_BYTES_MAX:
                self._name = b"?"
        elif self._name in _OF_INTEREST and (
            len(self._held) + size > HELD_BYTES_MAX
            or len(self._words) + self._words_left > HELD_WORDS_MAX
        ):
            raise WireViolation("credentials are larger than any can be")
        if self._name is not None and self._name not in _OF_INTEREST:
            self._state = _State.PASSING
            passed.append(self._take_held())
        return True

    def _word(self, passed: list[bytes]) -> bool:
        if len(self._unread) < self._bytes_left:
            return False
        # The engine does not look at the two bytes behind a word, so neither may we.
        word = bytes(self._unread[: self._bytes_left - 2])
        self._held += self._unread[: self._bytes_left]
        del self._unread[: self._bytes_left]
        self._words.append(word)
        if self._name is None:
            self._name = word.upper()
        return self._word_ended(passed)

    def _pass(self, passed: list[bytes]) -> bool:
        size = min(len(self._unread), self._bytes_left)
        passed.append(bytes(self._unread[:size]))
        del self._unread[:size]
        self._bytes_left -= size
        return self._word_ended(passed) if self._bytes_left == 0 else False

    def _word_ended(self, passed: list[bytes]) -> bool:
        self._words_left -= 1
        self._state = _State.LENGTH
        if self._words_left == 0:
            self._request_ended(passed)
        return True

    def _request_ended(self, passed: list[bytes]) -> None:
        assert self._name is not None
        self._state = _State.START
        raw = self._take_held()
        wanted = self._rewritten(self._words) if self._name in _OF_INTEREST else self._words
        passed.append(raw if wanted == self._words else encode(wanted))
        self._note_transaction(self._name)
        self._words = []

    # Inline requests: what a person types.

    def _inline(self, passed: list[bytes]) -> bool:
        end = self._unread.find(b"\n")
        if end < 0:
            if len(self._unread) <= INLINE_BYTES_MAX:
                return False
            return self._go_deaf(passed)
        line = bytes(self._unread[:end])
        if b"\x00" in line:
            return self._go_deaf(passed)  # the engine looks for the line's end elsewhere
        raw = bytes(self._unread[: end + 1])
        del self._unread[: end + 1]
        # Quotes have rules of their own: such a line is for the engine to read, and none of it
        # is swapped.
        words = line.split() if _SIMPLE_LINE.fullmatch(line) else []
        name = words[0].upper() if words else b""
        if name in _OF_INTEREST and len(words) <= HELD_WORDS_MAX:
            wanted = self._rewritten(words)
            passed.append(raw if wanted == words else encode(wanted))
        else:
            passed.append(raw)
        self._note_transaction(name)
        return True

    # Numbers, and what cannot be read.

    def _number(self) -> int | None:
        """Take a line ``*12`` or ``$12``; None while it is not whole, or no such line."""
        end = self._unread.find(b"\r", 1, NUMBER_BYTES_MAX + 2)
        if end < 0 or len(self._unread) < end + 2:
            return None
        digits = bytes(self._unread[1:end])
        if self._unread[end + 1] != ord("\n") or not _NUMBER.fullmatch(digits):
            return None
        self._held += self._unread[: end + 2]
        del self._unread[: end + 2]
        return int(digits)

    def _wait_or_go_deaf(self, passed: list[bytes]) -> bool:
        end = self._unread.find(b"\r", 1, NUMBER_BYTES_MAX + 2)
        is_whole = end >= 0 and len(self._unread) >= end + 2
        if is_whole or (end < 0 and len(self._unread) > NUMBER_BYTES_MAX + 1):
            return self._go_deaf(passed)
        return False

    def _go_deaf(self, passed: list[bytes]) -> bool:
        passed.append(self.client_finished())
        return False

    def _take_held(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held

    # What is said.

    def _note_transaction(self, name: bytes) -> None:
        if name == _BEGIN:
            self._in_transaction = True
        elif name in _ENDS:
            self._in_transaction = False

    def _rewritten(self, words: Sequence[bytes]) -> list[bytes]:
        match words[0].upper(), list(words):
            case b"AUTH", [name, user, token]:
                return [name, user, self._password(user, token)]
            case b"HELLO", [name, version, *options]:
                return [name, version, *self._options(options)]
        return list(words)

    def _options(self, options: list[bytes]) -> list[bytes]:
        """Swap the tokens in ``AUTH user token`` among the options of HELLO, as the engine reads
        them: left to right, up to the first that it does not know."""
        result = list(options)
        at = 0
        while at < len(options):
            option, behind = options[at].upper(), len(options) - at - 1
            if option == _AUTH and behind >= 2:
                result[at + 2] = self._password(options[at + 1], options[at + 2])
                at += 3
            elif option == b"SETNAME" and behind >= 1:
                at += 2
            else:
                break
        return result

    def _password(self, user: bytes, token: bytes) -> bytes:
        try:
            password = self._swap(user, token)
        except LookupError:
            return token  # a user with a password of its own
        if password is None or self._in_transaction:
            return self._wrong
        self._on_authenticated()
        return password


def encode(words: Sequence[bytes]) -> bytes:
    """Return a request as clients send it."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)
