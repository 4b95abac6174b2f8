"""Items within a memory limit: linked, counted by class and segment, flushed, evicted.

What clients may do with items is the store's business (``store``). An item that goes leaves its
shell in its queue, see ``lru``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.discovery import ClusterConfig
from cachefleet.engine.memserver.lru import (
    ACTIVE,
    COLD,
    FETCHED,
    HOT,
    NEVER,
    SEGMENT_MASK,
    TEMP,
    WARM,
    Item,
    OddItem,
    Segment,
)
from cachefleet.engine.memserver.settings import Settings
from cachefleet.engine.memserver.slabs import (
    CAS_BYTES,
    FLAGS_BYTES,
    ITEM_HEADER_BYTES,
    SlabClasses,
)
from cachefleet.engine.memserver.stats import ClassCounters, Counters

ITEM_COST_BYTES = 224  # shell, CAS number, key object, table entry, queue entry, rounding
QUICK_MARGIN_BYTES = 512  # key and header at their largest: below it everything fits
TRASH_STEP = 400  # items freed at a time after a flush
START_S = 62  # where memcached's clock starts: no item may look older than the server


class Memory:
    """The items of one server, by key."""

    # Slots, because ``_quick.c`` reads them where they are.
    __slots__ = (
        "_class_limits",
        "_item_base",
        "_trash_bytes",
        "acting",
        "by_class",
        "bytes",
        "cas_id",
        "class_evicted",
        "class_mem",
        "class_seen",
        "class_sets",
        "classes",
        "config",
        "counts",
        "crawling",
        "dead",
        "flush_at",
        "hits",
        "limit",
        "now",
        "oldest_live",
        "on_evict",
        "on_fetch",
        "on_store",
        "plain_keys",
        "prefixes",
        "process_started",
        "quick_bytes_max",
        "segments",
        "settings",
        "shadow_since",
        "special_segments",
        "stats",
        "table",
        "timed_sets",
        "trash",
        "used",
        "with_cas",
    )

    def __init__(self, settings: Settings, *, started_at: int) -> None:
        self.settings = settings
        self.stats = Counters()
        self.config = ClusterConfig()
        self.process_started = started_at - START_S
        self.now = START_S
        self.table: dict[bytes, Item] = {}
        self.plain_keys = True  # no key holds a blank, zero or line end: fast parsing is safe
        self.segments = [Segment(), Segment(), Segment(), Segment()]
        self.classes = SlabClasses(
            item_size_max=settings.item_size_max,
            chunk_size=settings.chunk_size,
            growth_factor=settings.growth_factor,
            chunk_max=settings.slab_chunk_max,
        )
        self._class_limits = self.classes.sizes[:-1]  # what exceeds the others is in the last
        self._item_base = ITEM_HEADER_BYTES + 1 + (CAS_BYTES if settings.cas else 0)
        self.quick_bytes_max = settings.item_size_max - QUICK_MARGIN_BYTES
        self.with_cas = settings.cas
        self.special_segments = settings.temp_lru or not settings.lru_segmented
        self.counts = [0] * (4 << 6)  # items by segment and class
        self.class_mem = [0] * 65
        self.class_seen = 0  # a bit a class that ever held an item: memcached's has pages then
        self.class_sets = [0] * 65
        self.class_evicted = [0] * 65
        self.bytes = 0  # as memcached would count
        self.used = 0  # what it really takes here
        self.limit = settings.memory_bytes  # of ``used``; lowered when the process outgrows it
        self.dead = 0  # shells in the queues
        self.timed_sets = 0  # items stored with an expiry since the crawler last ran
        self.cas_id = 0
        self.flush_at = 0
        self.oldest_live = 0
        self.shadow_since = 0
        self.crawling = False
        self.prefixes: dict[bytes, list[int]] = {}  # ``stats detail``: get, hit, set, delete
        self.hits = [0] * (4 << 6)  # of readers, by segment and class
        self.by_class = ClassCounters()
        self.acting = -1  # the descriptor of who is being served, while anybody wants to know
        self.on_evict: Callable[[bytes, Item], None] | None = None
        self.on_fetch: Callable[[bytes, Item | None, bytes], None] | None = None
        self.on_store: Callable[[bytes, bytes, int, int, int, int], None] | None = None
        self.trash: list[tuple[dict[bytes, Item], list[Segment]]] = []
        self._trash_bytes = 0

    # -- linking ------------------------------------------------------------------------

    def next_cas(self) -> int:
        """A number never given before; 0 when CAS is off."""
        if not self.settings.cas:
            return 0
        self.cas_id += 1
        return self.cas_id

    def put(self, key: bytes, flags: int, exp: int, chunk: bytes, bits: int = 0) -> Item | None:
        """Store *chunk* (data and CRLF) under *key*; None when memory is out."""
        head = b"VALUE %b %d %d\r\n" % (key, flags, len(chunk) - 2)
        return self.link(key, head, chunk, exp, bits)

    def link(self, key: bytes, head: bytes, chunk: bytes, exp: int, bits: int = 0) -> Item | None:
        """As ``put``, with the line that ``get`` will send before the data."""
        head_len = len(head)
        blob = head + chunk
        size = len(blob)
        item = self.table.get(key)
        cost = size + len(key) + ITEM_COST_BYTES
        if self.used + self._trash_bytes + cost > self.limit:
            if not self._make_room(key, cost):
                return None
            item = self.table.get(key)  # it may have been what had to go
        if self.settings.cas:
            cas = self.cas_id = self.cas_id + 1
        else:
            cas = 0
        self.stats.total_items += 1
        if exp != NEVER:
            self.timed_sets += 1
        if item is None:
            if wire.is_plain_key(key):
                item = Item(blob, exp, cas, self.now, bits)
            else:
                item = OddItem(blob, exp, cas, self.now, bits, head_len)
                self.plain_keys = False
            return self._link_new(key, item, cost, head_len)
        # Same shell, new contents: it keeps its place and counts as read, so that the
        # next eviction sends it round again.
        old = item.blob
        segment = item.bits & SEGMENT_MASK
        if size == len(old) and old.startswith(head):
            item.blob = blob
        else:
            self.used += size - len(old)
            was, slab_was = self._counted(key, old, item.head)
            item.blob = blob
            if isinstance(item, OddItem):
                item.head_len = head_len
            counted, slab = self._counted(key, blob, head_len)
            self.bytes += counted - was
            self.class_mem[slab_was] -= was
            self.class_mem[slab] += counted
            self.class_seen |= 1 << slab
            self.counts[segment << 6 | slab_was] -= 1
            self.counts[segment << 6 | slab] += 1
            item.slab = slab
        item.exp = exp
        item.cas = cas
        item.time = self.now
        item.bits = bits | segment
        return item

    def _link_new(self, key: bytes, item: Item, cost: int, head_len: int) -> Item:
        counted, slab = self._counted(key, item.blob, head_len)
        segment = HOT if not self.special_segments else self._segment_of_new(item.exp)
        item.bits |= segment
        item.slab = slab
        self.table[key] = item
        self.segments[segment].back.append(item)
        self.used += cost
        self.bytes += counted
        self.class_mem[slab] += counted
        self.class_seen |= 1 << slab
        self.counts[segment << 6 | slab] += 1
        return item

    def _segment_of_new(self, exp: int) -> int:
        settings = self.settings
        if not settings.lru_segmented:
            return COLD
        if settings.temp_lru and exp - self.now <= settings.temporary_ttl_s:
            return TEMP
        return HOT

    def _counted(self, key: bytes, blob: bytes, head_len: int) -> tuple[int, int]:
        """What memcached would count for an item, and the slab class it would be in."""
        size = self._item_base + len(key) + len(blob) - head_len
        if not blob.startswith(b"0 ", 7 + len(key)):
            size += FLAGS_BYTES
        return size, bisect_left(self._class_limits, size) + 1

    def class_bytes(self, slab: int) -> int:
        """What the items of a class take, as memcached counts."""
        return self.class_mem[slab]

    def set_limit(self, memory_bytes: int) -> None:
        """Change the memory limit; what is too much goes when the next item comes."""
        self.settings.memory_bytes = self.limit = memory_bytes

    def size_of(self, key: bytes, item: Item) -> int:
        """The bytes memcached would count for *item*."""
        return self._counted(key, item.blob, item.head)[0]

    def unlink(self, key: bytes, item: Item) -> None:
        """Remove *item*, which is in the table; its shell stays in its queue."""
        del self.table[key]
        size, slab = self._counted(key, item.blob, item.head)
        self.used -= len(item.blob) + len(key) + ITEM_COST_BYTES
        self.bytes -= size
        self.class_mem[slab] -= size
        self.counts[(item.bits & SEGMENT_MASK) << 6 | slab] -= 1
        item.blob = b""
        self.dead += 1

    # -- flushing -----------------------------------------------------------------------

    def _flush_now(self) -> None:
        if self.table:
            # Freeing a million items takes a third of a second: it is done bit by bit.
            self.trash.append((self.table, self.segments))
            self._trash_bytes += self.used
        self.table = {}
        self.segments = [Segment(), Segment(), Segment(), Segment()]
        self.counts = [0] * (4 << 6)
        self.class_mem = [0] * 65
        self.bytes = self.used = self.dead = 0
        self.plain_keys = True

    def free_trash(self) -> bool:
        """Free some of what was flushed; False when nothing is left."""
        if not self.trash:
            self._trash_bytes = 0
            return False
        table, segments = self.trash[0]
        freed = 0
        for _ in range(min(TRASH_STEP, len(table))):
            freed += len(table.popitem()[1].blob) + ITEM_COST_BYTES
        self._trash_bytes = max(self._trash_bytes - freed, 0)
        left = TRASH_STEP if not table else 0
        for segment in segments:
            while left and len(segment):
                segment.pop_oldest()
                left -= 1
        if not table and not any(map(len, segments)):
            del self.trash[0]
        return True

    # -- eviction -----------------------------------------------------------------------

    def _make_room(self, key: bytes, cost: int) -> bool:
        """Get *cost* bytes free; False when that may not or cannot be."""
        while self._trash_bytes and self.used + self._trash_bytes + cost > self.limit:
            if not self.free_trash():
                break
        old = self.table.get(key)
        if old is not None:
            cost -= len(old.blob) + len(key) + ITEM_COST_BYTES
        if self.used + cost <= self.limit:
            return True
        if not self.settings.evictions:
            return self._reclaim_expired(cost)
        while self.used + cost > self.limit:
            if not self.evict_one():
                return False
        return True

    def _reclaim_expired(self, cost: int) -> bool:
        """Where evicting is off, only what has expired makes room; look at a few of the oldest."""
        for segment in self.segments:
            oldest = segment.oldest()
            while oldest is not None and (not oldest.blob or oldest.exp <= self.now):
                self._drop(segment.pop_oldest())
                oldest = segment.oldest()
        return self.used + cost <= self.limit

    def _drop(self, item: Item) -> None:
        """Forget a shell taken off a queue, unlinking its item if that has expired."""
        if item.blob:
            self.stats.reclaimed += 1
            self.by_class.reclaimed[item.slab] += 1
            if not item.bits & FETCHED:
                self.stats.expired_unfetched += 1
                self.by_class.expired_unfetched[item.slab] += 1
            self.unlink(item.key, item)
        self.dead -= 1

    def _move(self, item: Item, to: int) -> None:
        slab = item.slab
        old = item.bits & SEGMENT_MASK
        self.counts[old << 6 | slab] -= 1
        self.counts[to << 6 | slab] += 1
        item.bits = item.bits & ~(SEGMENT_MASK | ACTIVE) | to
        self.segments[to].back.append(item)

    def _juggle(self, number: int) -> bool:
        """Move the oldest of hot or warm on; False when there is none."""
        segment = self.segments[number]
        if not segment.front and not segment.back:
            return False
        item = segment.pop_oldest()
        if not item.blob or item.exp <= self.now:
            self._drop(item)
        elif item.bits & ACTIVE:
            if number == WARM:
                self.stats.moves_within_lru += 1
                self.by_class.moves_within_lru[item.slab] += 1
            else:
                self.stats.moves_to_warm += 1
                self.by_class.moves_to_warm[item.slab] += 1
            self._move(item, WARM)
        else:
            self.stats.moves_to_cold += 1
            self.by_class.moves_to_cold[item.slab] += 1
            self._move(item, COLD)
        return True

    def balance(self, steps: int) -> bool:
        """Keep hot and warm within their shares, a few *steps* at a time; True when balanced."""
        settings, total = self.settings, len(self.table)
        hot_max, warm_max = total * settings.hot_lru_pct, total * settings.warm_lru_pct
        for _ in range(steps):
            if len(self.segments[HOT]) * 100 > hot_max:
                self._juggle(HOT)
            elif len(self.segments[WARM]) * 100 > warm_max:
                self._juggle(WARM)
            else:
                return True
        return False

    def shed(self, steps: int) -> bool:
        """Evict, a few *steps* at a time, down to a limit that was lowered; True when there."""
        for _ in range(steps):
            if self.used <= self.limit or not self.settings.evictions or not self.evict_one():
                return True
        return False

    def evict_one(self) -> bool:
        """Give up the item least worth keeping; False when there is none to give up."""
        self.balance(4)
        stats, cold = self.stats, self.segments[COLD]
        tries = 8  # an active item is spared so often before something has to go
        while True:
            if not cold.front and not cold.back:
                if self._juggle(HOT) or self._juggle(WARM):
                    continue
                return False
            item = cold.pop_oldest()
            if not item.blob:
                self._drop(item)  # a shell: takes no room, makes none
                continue
            if item.exp <= self.now:
                self._drop(item)
                return True
            if item.bits & ACTIVE and tries:
                tries -= 1
                stats.moves_to_warm += 1
                self.by_class.moves_to_warm[item.slab] += 1
                self._move(item, WARM if self.settings.lru_segmented else COLD)
                continue
            break
        key, slab, by_class = item.key, item.slab, self.by_class
        stats.evictions += 1
        stats.direct_reclaims += 1
        by_class.direct_reclaims[slab] += 1
        by_class.evicted_time[slab] = self.now - item.time
        if item.exp != NEVER:
            by_class.evicted_nonzero[slab] += 1
        if item.bits & ACTIVE:
            stats.evicted_active += 1
            by_class.evicted_active[slab] += 1
        if not item.bits & FETCHED:
            stats.evicted_unfetched += 1
            by_class.evicted_unfetched[slab] += 1
        self.class_evicted[slab] += 1
        if self.on_evict is not None:
            self.on_evict(key, item)
        self.unlink(key, item)
        self.dead -= 1
        return True
