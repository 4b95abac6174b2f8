"""Queues of items by age, as memcached's segmented LRU has them: hot, warm, cold, temp.

Reading an item moves nothing; it sets a bit (see ``store``). Items move when room is
needed or when the crawler comes by. Removing an item leaves its shell in the queue, to be
dropped when a walk or an eviction reaches it: taking it out of the middle would cost more.
"""

from __future__ import annotations

from collections import deque

HOT = 0
WARM = 1
COLD = 2
TEMP = 3
SEGMENT_MASK = 3
FETCHED = 4  # read at least once since it was stored
STALE = 8  # marked by ``md .. I``
TOKEN_SENT = 16  # one client was told to recache
BINARY_KEY = 32  # the key came in base64 and goes out in base64
ACTIVE = 128  # read twice or more since it was last moved; the highest bit

NEVER = 1 << 62  # the expiry of what does not expire: one comparison tells


class Item:
    """One stored value, rendered as ``get`` sends it: ``VALUE key flags len``, data, CRLF.

    An empty ``blob`` is a shell whose item is gone. Six fields and no more: at a million
    items every one of them is eight megabytes.
    """

    __slots__ = ("bits", "blob", "cas", "exp", "slab", "time")

    def __init__(self, blob: bytes, exp: int, cas: int, time: int, bits: int) -> None:
        self.blob = blob
        self.exp = exp
        self.cas = cas
        self.time = time
        self.bits = bits
        self.slab = 0

    @property
    def head(self) -> int:
        """How long the line before the data is."""
        return self.blob.index(b"\n") + 1

    @property
    def value(self) -> bytes:
        """The data alone."""
        return self.blob[self.head : -2]

    @property
    def flags(self) -> int:
        """The client's flags, read back from the rendered line."""
        return int(self.blob[: self.head].rsplit(b" ", 2)[1])

    @property
    def key(self) -> bytes:
        """The key, read back from the rendered line."""
        return self.blob[6 : self.head].rsplit(b" ", 2)[0]

    @property
    def value_len(self) -> int:
        """Bytes of data."""
        return len(self.blob) - self.head - 2


class OddItem(Item):
    """An item whose key may hold a line end: where its first line ends has to be written down."""

    __slots__ = ("head_len",)

    def __init__(
        self, blob: bytes, exp: int, cas: int, time: int, bits: int, head_len: int
    ) -> None:
        super().__init__(blob, exp, cas, time, bits)
        self.head_len = head_len

    @property
    def head(self) -> int:
        """How long the line before the data is."""
        return self.head_len


class Segment:
    """A queue, oldest first, that can be walked from end to end without losing its order.

    ``front`` holds what a running walk has passed, ``back`` what it has not. Without a walk
    ``front`` is empty.
    """

    __slots__ = ("back", "front")

    def __init__(self) -> None:
        self.front: deque[Item] = deque()
        self.back: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self.front) + len(self.back)

    def pop_oldest(self) -> Item:
        """Take the oldest item or shell; IndexError when empty."""
        return self.front.popleft() if self.front else self.back.popleft()

    def oldest(self) -> Item | None:
        """The oldest item or shell, None when empty."""
        if self.front:
            return self.front[0]
        return self.back[0] if self.back else None

    def end_walk(self) -> None:
        """Put both halves together again; what is in ``back`` came in during the walk."""
        self.front.extend(self.back)
        self.front, self.back = self.back, self.front
        self.front.clear()
