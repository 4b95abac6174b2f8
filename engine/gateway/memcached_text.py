"""memcached's text protocol, read as far as auto discovery needs it. Sans-IO, no clock.

:class:`TextRequests` follows requests and the data blocks behind them, passes them on
untouched, and puts the marker ``version`` where the client asked for the cluster's
configuration. :class:`TextReplies` follows replies and the values in them, and puts the answer
where the marker's reply stands. Framing mirrors memcached to the byte, mistakes included: a
malformed ``set`` has no data block there, so it has none here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final

from cachefleet.engine.gateway.interception import WireViolation

# memcached reads lines into 16 KiB, or more for a long ``get``; what does not end within this is
# passed on unread, and memcached closes the connection or serves a get of very many keys.
LINE_BYTES_MAX: Final = 64 * 1024
KEY_BYTES_MAX: Final = 250
PENDING_MAX: Final = 65_536  # markers that the backend has not answered
# An answer is far larger than its request: a client that asks and never reads is stopped here.
PENDING_BYTES_MAX: Final = 4 * 1024 * 1024
INT32_MAX: Final = 2**31 - 1
UINT32_MAX: Final = 2**32 - 1
UINT64_MAX: Final = 2**64 - 1

LEGACY_KEY: Final = b"AmazonElastiCache:cluster"
CONFIG_KEY: Final = b"cluster"
MARKER: Final = b"version\r\n"

_STORAGE_WORDS: Final = {
    b"set": (5, 6),
    b"add": (5, 6),
    b"replace": (5, 6),
    b"append": (5, 6),
    b"prepend": (5, 6),
    b"cas": (6, 7),
}
_RETRIEVAL_SKIP: Final = {b"get": 1, b"gets": 1, b"gat": 2, b"gats": 2}  # words before the keys
# Every other line starts with none of these letters and needs no look at its words.
_FIRST_LETTERS: Final = frozenset(b" \0acgmprsv")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,20}")


class Pending:
    """What the replies to markers turn into, oldest first; ``None`` is the client's own."""

    __slots__ = ("_answers", "_byte_count")

    def __init__(self) -> None:
        self._answers: deque[bytes | None] = deque()
        self._byte_count = 0

    def push(self, answer: bytes | None) -> None:
        self._byte_count += len(answer or b"")
        if len(self._answers) >= PENDING_MAX or self._byte_count > PENDING_BYTES_MAX:
            raise WireViolation("too many unanswered requests")
        self._answers.append(answer)

    def pop(self) -> bytes | None:
        answer = self._answers.popleft() if self._answers else None
        self._byte_count -= len(answer or b"")
        return answer

    def __len__(self) -> int:
        return len(self._answers)


class TextRequests:
    """The client's half of one connection."""

    def __init__(self, payload: Callable[[], bytes], pending: Pending) -> None:
        self._payload = payload
        self._pending = pending
        self._held = bytearray()  # a line without its end
        self._block = 0  # bytes of a data block still to come
        self._dropping = False  # the block belongs to a refused ``config set``
        self._passing_line = False  # within a line too long to hold

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive; return what the backend gets."""
        if self._held:
            searched = len(self._held)
            self._held += data
            if self._held.find(b"\n", searched) < 0 and len(self._held) <= LINE_BYTES_MAX:
                return b""
            data = bytes(self._held)
            self._held.clear()
        out: list[bytes] = []
        position, untouched, size = 0, 0, len(data)
        while position < size:
            if self._block:
                step = min(self._block, size - position)
                self._block -= step
                if self._dropping:
                    out.append(data[untouched:position])
                    untouched = position + step
                    self._dropping = self._block > 0
                position += step
                continue
            end = data.find(b"\n", position)
            if self._passing_line:
                self._passing_line = end < 0
                position = size if end < 0 else end + 1
                continue
            if end < 0:
                if size - position > LINE_BYTES_MAX:
                    self._passing_line = True
                    break
                out.append(data[untouched:position])
                self._held += data[position:]
                return b"".join(out)
            replacement = self._replacement(data, position, end)
            if replacement is not None:
                out.append(data[untouched:position])
                out.append(replacement)
                untouched = end + 1
            position = end + 1
        if not out and not untouched:
            return data
        out.append(data[untouched:])
        return b"".join(out)

    def finish(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held

    def _replacement(self, data: bytes, start: int, end: int) -> bytes | None:
        """Note what the line data[start:end] brings; return what replaces it, if anything."""
        if end > start and data[start] not in _FIRST_LETTERS:
            return None
        line = data[start:end]
        if line.endswith(b"\r"):
            line = line[:-1]
        # As memcached does: a NUL ends the line, and only spaces part words.
        words = [word for word in line.partition(b"\0")[0].split(b" ") if word]
        if not words:
            return None
        verb = words[0]
        if verb in _RETRIEVAL_SKIP:
            return self._retrieval(words) if LEGACY_KEY in words else None
        if verb in _STORAGE_WORDS:
            self._block = storage_block_bytes(words)
        elif verb == b"ms":
            self._block = meta_set_block_bytes(words)
        elif verb == b"version":
            self._pending.push(None)
            # Words behind it would let some versions answer ERROR instead.
            return None if len(words) == 1 else MARKER
        elif verb == b"config":
            return self._config(words)
        return None

    def _retrieval(self, words: list[bytes]) -> bytes:
        """Answer the legacy key from here, and let the backend answer the others and END."""
        skip = _RETRIEVAL_SKIP[words[0]]
        others = [word for word in words[skip:] if word != LEGACY_KEY]
        payload = self._payload()
        head = b"VALUE %b 0 %d" % (LEGACY_KEY, len(payload))
        if words[0] in (b"gets", b"gats"):
            head += b" %d" % cluster_config_version(payload)
        value = b"%b\r\n%b\r\n" % (head, payload)
        if not others:
            self._pending.push(value + b"END\r\n")
            return MARKER
        self._pending.push(value)
        return MARKER + b" ".join([*words[:skip], *others]) + b"\r\n"

    def _config(self, words: list[bytes]) -> bytes:
        if len(words) >= 3 and words[1] == b"get":
            payload = self._payload()
            answer = b"CONFIG cluster 0 %d\r\n%b\r\n" % (len(payload), payload)
            found = words[2:].count(CONFIG_KEY)
            if len(answer) * found > LINE_BYTES_MAX + len(answer):
                raise WireViolation("config get asks for the same key too many times")
            self._pending.push(answer * found + b"END\r\n")
            return MARKER
        if len(words) == 5 and words[1] == b"set":
            size = _integer(words[4], low=0, high=INT32_MAX - 2)
            if size is not None:
                self._block = size + 2
                self._dropping = True
        self._pending.push(b"ERROR\r\n")
        return MARKER


class TextReplies:
    """The backend's half of one connection."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._held = bytearray()
        self._block = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive; return what the client gets."""
        if self._held:
            self._held += data
            data = bytes(self._held)
            self._held.clear()
        out: list[bytes] = []
        position, untouched, size = 0, 0, len(data)
        while position < size:
            if self._block:
                step = min(self._block, size - position)
                self._block -= step
                position += step
                continue
            end = data.find(b"\n", position)
            if end < 0:
                if size - position > LINE_BYTES_MAX:
                    raise WireViolation("the backend sent an endless line")
                out.append(data[untouched:position])
                self._held += data[position:]
                return b"".join(out)
            if data[position] == 0x56:  # V: VALUE, VA, VERSION; no other reply has it first
                if data.startswith(b"VERSION ", position):
                    answer = self._pending.pop()
                    if answer is not None:
                        out.append(data[untouched:position])
                        out.append(answer)
                        untouched = end + 1
                else:
                    self._block = value_block_bytes(data[position:end])
            position = end + 1
        if not out and not untouched:
            return data
        out.append(data[untouched:])
        return b"".join(out)

    def finish(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held


def storage_block_bytes(words: list[bytes]) -> int:
    """Bytes of data that follow a storage command's line, its line end included; 0 for none."""
    if len(words) not in _STORAGE_WORDS[words[0]] or len(words[1]) > KEY_BYTES_MAX:
        return 0
    size = _integer(words[4], low=0, high=INT32_MAX - 2)
    if (
        size is None
        or _integer(words[2], low=0, high=UINT32_MAX) is None
        or _integer(words[3], low=-INT32_MAX - 1, high=INT32_MAX) is None
        or (words[0] == b"cas" and _integer(words[5], low=0, high=UINT64_MAX) is None)
    ):
        return 0
    return size + 2


def meta_set_block_bytes(words: list[bytes]) -> int:
    """The same for ``ms <key> <bytes> <flags>*``."""
    if len(words) < 3 or len(words[1]) > KEY_BYTES_MAX:
        return 0
    size = _integer(words[2], low=0, high=INT32_MAX - 2)
    return 0 if size is None else size + 2


def value_block_bytes(line: bytes) -> int:
    """Bytes that follow a ``VALUE`` or ``VA`` reply line; 0 for any other line."""
    words = line.split()
    place = {b"VALUE": 3, b"VA": 1}.get(words[0])
    if place is None or len(words) <= place:
        return 0
    size = _integer(words[place], low=0, high=INT32_MAX - 2)
    return 0 if size is None else size + 2


def cluster_config_version(payload: bytes) -> int:
    """The number in the payload's first line."""
    return int(payload.partition(b"\n")[0])


def _integer(word: bytes, *, low: int, high: int) -> int | None:
    # int() alone would take underscores and other scripts' digits.
    if not _INTEGER.fullmatch(word):
        return None
    number = int(word)
    return number if low <= number <= high else None
