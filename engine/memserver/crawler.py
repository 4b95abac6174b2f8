"""A walk over all items that gives way: a slice at a time, the queues' order kept.

It drops what has expired and the shells of what is gone, and shows the rest to whoever
asked: the background crawler (nobody), ``lru_crawler metadump`` (a client).
"""

from __future__ import annotations

from collections.abc import Iterator

from cachefleet.engine.memserver.lru import FETCHED, NEVER, Item, Segment
from cachefleet.engine.memserver.store import Store

SLICE_ITEMS = 100  # a slice takes some tens of microseconds, a third of a millisecond if shown
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def walk(store: Store) -> Iterator[list[Item]]:
    """Living items, slice by slice. One walk at a time: ``store.crawling`` says so."""
    assert not store.crawling
    store.crawling = True
    store.stats.lru_crawler_starts += 1
    segments = store.segments
    try:
        for segment in segments:
            left = len(segment.back)
            while left > 0 and segment.back and store.segments is segments:
                count = min(SLICE_ITEMS, left)
                left -= count
                yield _slice(store, segment, count)
            segment.end_walk()
    finally:
        store.crawling = False
        for segment in segments:
            if segment.front:
                segment.end_walk()


def _slice(store: Store, segment: Segment, count: int) -> list[Item]:
    """Pass *count* entries of *segment*, keeping what lives."""
    take, keep, now = segment.back.popleft, segment.front.append, store.now
    by_class = store.by_class
    checked = by_class.crawler_items_checked
    living = []
    for _ in range(min(count, len(segment.back))):
        item = take()
        checked[item.slab] += 1
        if not item.blob:
            store.dead -= 1
        elif item.exp <= now:
            store.stats.crawler_reclaimed += 1
            by_class.crawler_reclaimed[item.slab] += 1
            if not item.bits & FETCHED:
                store.stats.expired_unfetched += 1
                by_class.expired_unfetched[item.slab] += 1
            store.unlink(item.key, item)
            store.dead -= 1
        else:
            keep(item)
            living.append(item)
    store.stats.crawler_items_checked += count
    return living


def metadump(store: Store, classes: frozenset[int] | None) -> Iterator[bytes]:
    """``lru_crawler metadump``: a line an item, of all classes or the ones named."""
    started = store.process_started
    for items in walk(store):
        out = []
        for item in items:
            if classes is not None and item.slab not in classes:
                continue
            key = item.key
            out.append(
                b"key=%b exp=%d la=%d cas=%d fetch=%b cls=%d size=%d\n"
                % (
                    uri_encode(key),
                    -1 if item.exp == NEVER else item.exp + started,
                    item.time + started,
                    item.cas,
                    b"yes" if item.bits & FETCHED else b"no",
                    item.slab,
                    store.size_of(key, item),
                )
            )
        yield b"".join(out)
    yield b"END\r\n"


def uri_encode(key: bytes) -> bytes:
    """*key* with everything but letters, digits and ``-._~`` as %XX."""
    if key.isalnum():
        return key
    return b"".join([bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte for byte in key])
