"""What clients do with items: expiry, CAS numbers, updates. No sockets; the clock is given.

``now`` is a number of seconds that only ``tick`` moves, as memcached's is: within a second
nothing expires half way through a batch. Replies are the protocols' business, not ours.
"""

from __future__ import annotations

from bisect import bisect_left

from cachefleet.engine.memserver.discovery import LEGACY_KEY, SHADOW_S_MAX
from cachefleet.engine.memserver.lru import (
    ACTIVE,
    FETCHED,
    HOT,
    NEVER,
    SEGMENT_MASK,
    STALE,
    TOKEN_SENT,
    Item,
)
from cachefleet.engine.memserver.memory import ITEM_COST_BYTES, Memory
from cachefleet.engine.memserver.slabs import (
    FLAGS_BYTES,
    item_bytes,
)
from cachefleet.engine.memserver.wire import U64, parse_u64

RELATIVE_S_MAX = 60 * 60 * 24 * 30  # above this an exptime is a date

# How an update treats what is there already
SET = 0
ADD = 1
REPLACE = 2
APPEND = 3
PREPEND = 4
CAS = 5

# What became of it
STORED = 0
NOT_STORED = 1
EXISTS = 2
NOT_FOUND = 3
NO_MEMORY = 4
NOT_NUMERIC = 5

# The outcomes as watchers are told of them; what is counted in, they are not told of.
STATUSES = (b"stored", b"not_stored", b"exists", b"not_found", b"no_memory")


class Store(Memory):
    """The items of one server, and the clock that they live by."""

    __slots__ = ()

    # -- time ---------------------------------------------------------------------------

    def expiry(self, exptime: int) -> int:
        """The second of ``now`` at which something with this *exptime* is gone."""
        if exptime == 0:
            return NEVER
        if exptime < 0:
            return 1
        if exptime > RELATIVE_S_MAX:
            return max(exptime - self.process_started, 1)
        return exptime + self.now

    def tick(self, time_s: int) -> None:
        """Move the clock to the Unix time *time_s*; what was to be flushed by then goes."""
        self.now = max(self.now, time_s - self.process_started)
        if self.flush_at and self.now >= self.flush_at:
            self.flush_at = 0
            self._flush_now()
        self._restore_legacy_key()

    def _restore_legacy_key(self) -> None:
        if self.config.get(b"cluster") is None or LEGACY_KEY not in self.table:
            self.shadow_since = 0
        elif not self.shadow_since:
            self.shadow_since = self.now
        elif self.now - self.shadow_since >= SHADOW_S_MAX - 1:
            self.unlink(LEGACY_KEY, self.table[LEGACY_KEY])
            self.shadow_since = 0

    # -- reading ------------------------------------------------------------------------

    def find(self, key: bytes) -> Item | None:
        """The living item under *key*; moves nothing, counts what has expired."""
        item = self.table.get(key)
        status = b"found"
        if item is not None and item.exp <= self.now:
            self.stats.get_expired += 1
            status = b"expired"
            self.unlink(key, item)
            item = None
        elif item is None:
            status = b"flushed" if self.trash and self._meet_flushed(key) else b"not_found"
        if self.on_fetch is not None:
            self.on_fetch(key, item, status)
        return item

    def _meet_flushed(self, key: bytes) -> bool:
        """Tell whether *key* was flushed a moment ago: who asks for it is counted, once."""
        for table, _ in self.trash:
            item = table.pop(key, None)
            if item is not None:
                self._trash_bytes -= len(item.blob) + ITEM_COST_BYTES
                self.stats.get_flushed += 1
                return True
        return False

    def note_hit(self, item: Item) -> None:
        """Count a reader's hit in the class and segment that *item* is in."""
        self.hits[(item.bits & SEGMENT_MASK) << 6 | item.slab] += 1

    def fetch(self, key: bytes) -> Item | None:
        """As ``find``, for readers: the key under which discovery answers is there, too."""
        item = self.find(key)
        if item is None and key == LEGACY_KEY:
            return self._discovery_item(key)
        return item

    def _discovery_item(self, key: bytes) -> Item | None:
        """The cluster configuration as old clients read it: an item nobody stored."""
        value = self.config.get(b"cluster")
        if value is None:
            return None
        head = b"VALUE %b %d %d\r\n" % (key, value[0], len(value[1]))
        blob = head + value[1] + b"\r\n"
        return Item(blob, NEVER, self.config.cas, self.now, HOT | ACTIVE)

    def bump(self, item: Item) -> None:
        """Note that *item* was read: the second time makes it active."""
        bits = item.bits
        if not bits & FETCHED:
            item.bits = bits | FETCHED
        elif not bits & ACTIVE:
            item.bits = bits | ACTIVE
            item.time = self.now

    # -- writing ------------------------------------------------------------------------

    def count_set(self, key: bytes, flags: int, chunk: bytes) -> None:
        """Count a storage command by the class of what it brought, whatever becomes of that."""
        size = self._item_base + len(key) + len(chunk) + (FLAGS_BYTES if flags else 0)
        self.stats.cmd_set += 1
        self.class_sets[bisect_left(self._class_limits, size) + 1] += 1

    def note_too_large(self, key: bytes, mode: int) -> None:
        """Count a value that exceeds the limit, and tell of it."""
        self.stats.store_too_large += 1
        if self.on_store is not None:
            self.on_store(key, b"too_large", mode, NEVER, 0, 0)

    def fits(self, key: bytes, flags: int, value_len: int) -> bool:
        """Whether memcached would take an item of this size at all."""
        size = item_bytes(len(key), flags, value_len, cas=self.settings.cas)
        return size <= self.settings.item_size_max

    def renew(self, words: list[bytes], chunk: bytes) -> bool:
        """Carry out a ``set`` over an item of the same size and flags; False where it is not one.

        *words* are the five of its line, *chunk* all that came after it. Most sets are of this
        kind: no sum changes, no room is needed, and what the item is like says that the line
        was well-formed.
        """
        _, key, flags, exptime, size = words
        item = self.table.get(key)
        if item is None or exptime != b"0" or not self.with_cas or not self.plain_keys:
            return False
        old, value_len = item.blob, len(chunk) - 2
        blob = b"VALUE %b %b %b\r\n%b" % (key, flags, size, chunk)
        if (
            len(old) != len(blob)
            or size != b"%d" % value_len
            or not old.startswith(blob[: -2 - value_len])
            or chunk[-2:] != b"\r\n"
        ):
            return False
        item.blob = blob
        item.exp = NEVER
        item.cas = self.cas_id = self.cas_id + 1
        item.time = self.now
        item.bits &= SEGMENT_MASK
        self.class_sets[item.slab] += 1
        stats = self.stats
        stats.total_items += 1
        stats.cmd_set += 1
        return True

    def update(
        self,
        mode: int,
        key: bytes,
        flags: int,
        exp: int,
        chunk: bytes,
        *,
        cas: int = 0,
        bits: int = 0,
        set_stale: bool = False,
    ) -> int:
        """Carry out one storage command; *cas* is compared where it is not 0."""
        outcome = self._update(mode, key, flags, exp, chunk, cas, bits, set_stale=set_stale)
        if self.on_store is not None:
            item = self.table.get(key) if outcome == STORED else None
            if item is None:
                size = len(chunk) - 2
                slab = self.classes.class_of(
                    item_bytes(len(key), flags, size, cas=self.settings.cas)
                )
            else:
                size, slab, exp = item.value_len, item.slab, item.exp
            self.on_store(key, STATUSES[outcome], mode, exp, slab, size)
        return outcome

    def _update(
        self,
        mode: int,
        key: bytes,
        flags: int,
        exp: int,
        chunk: bytes,
        cas: int,
        bits: int,
        *,
        set_stale: bool,
    ) -> int:
        old = self.find(key)
        self.count_set(key, flags, chunk)
        if old is None:
            if mode == CAS:
                self.stats.cas_misses += 1
                return NOT_FOUND
            if mode in (REPLACE, APPEND, PREPEND):
                return NOT_STORED
        elif mode == ADD:
            return NOT_STORED
        elif mode == CAS:
            if cas == old.cas:
                self.stats.cas_hits += 1
                self.by_class.cas_hits[old.slab] += 1
            elif set_stale and 0 < cas < old.cas:
                # An older value takes the place for as long as the newer one would have had it.
                self.stats.cas_hits += 1
                self.by_class.cas_hits[old.slab] += 1
                bits |= STALE | (old.bits & TOKEN_SENT)
                exp = old.exp
            else:
                self.stats.cas_badval += 1
                self.by_class.cas_badval[old.slab] += 1
                return EXISTS
        elif mode in (APPEND, PREPEND):
            if cas and cas != old.cas:
                return EXISTS
            value = old.value
            chunk = value + chunk if mode == APPEND else chunk[:-2] + value + b"\r\n"
            flags, exp = old.flags, old.exp
            if not self.fits(key, flags, len(chunk) - 2):
                return NOT_STORED
        return STORED if self.put(key, flags, exp, chunk, bits) is not None else NO_MEMORY

    def add_delta(
        self, key: bytes, amount: int, *, incr: bool, cas: int = 0
    ) -> tuple[int, int, Item | None]:
        """Count up (wrapping at 64 bits) or down (stopping at 0): outcome, value, item."""
        item = self.find(key)
        if item is None:
            return NOT_FOUND, 0, None
        if cas and cas != item.cas:
            return EXISTS, 0, None
        # memcached keeps what exceeds a chunk in pieces, and counts in none of those.
        whole = item.value_len > 0 and self.size_of(key, item) <= self.settings.slab_chunk_max
        number = parse_u64(item.value) if whole else None
        if number is None:
            return NOT_NUMERIC, 0, None
        if incr:
            self.stats.incr_hits += 1
            self.by_class.incr_hits[item.slab] += 1
            number = (number + amount) & U64
        else:
            self.stats.decr_hits += 1
            self.by_class.decr_hits[item.slab] += 1
            number = max(number - amount, 0)
        text = b"%d" % number
        if len(text) <= item.value_len:
            # In place: the length stays and blanks fill it up, as clients of memcached know.
            head = item.blob[: item.head]
            item.blob = head + text.ljust(item.value_len) + b"\r\n"
            item.cas = self.next_cas()
        else:
            bits = item.bits & ~SEGMENT_MASK & ~(FETCHED | ACTIVE)
            grown = self.put(key, item.flags, item.exp, text + b"\r\n", bits)
            if grown is None:
                return NO_MEMORY, 0, None
            item = grown
        return STORED, number, item

    def mark_stale(self, item: Item) -> None:
        """Keep *item* but let the next reader know that it wants renewing."""
        item.bits = item.bits & ~TOKEN_SENT | STALE
        item.cas = self.next_cas()

    # -- flushing -----------------------------------------------------------------------

    def flush(self, exptime: int) -> None:
        """Drop everything, now or (*exptime* > 0) when that time has come."""
        if exptime > 0:
            due = self.expiry(exptime)
            self.oldest_live = due - 1
            if due > self.now:
                self.flush_at = due
                return
        else:
            self.oldest_live = self.now - 1
        self.flush_at = 0
        self.next_cas()
        self._flush_now()
