"""memcached's slab classes: what size lands in which class.

Memory here is not carved into slabs; the classes exist for the limits and statistics
that memcached's users know, and for the LRU figures that are told per class.
"""

from __future__ import annotations

from bisect import bisect_left

ITEM_HEADER_BYTES = 48
CAS_BYTES = 8
FLAGS_BYTES = 4
PAGE_BYTES = 1 << 20
CLASSES_MAX = 64
_ALIGN_BYTES = 8


def item_bytes(key_len: int, flags: int, value_len: int, *, cas: bool) -> int:
    """The size memcached gives an item; *value_len* is without the trailing CRLF."""
    size = ITEM_HEADER_BYTES + key_len + 1 + value_len + 2
    return size + (CAS_BYTES if cas else 0) + (FLAGS_BYTES if flags else 0)


class SlabClasses:
    """The table of chunk sizes; class ids start at 1."""

    def __init__(
        self, *, item_size_max: int, chunk_size: int, growth_factor: float, chunk_max: int
    ) -> None:
        assert growth_factor > 1.0
        self.item_size_max = item_size_max
        largest = min(chunk_max, item_size_max)
        sizes: list[int] = []
        size = ITEM_HEADER_BYTES + chunk_size
        while len(sizes) < CLASSES_MAX - 2:
            if size >= largest / growth_factor:
                break
            size += -size % _ALIGN_BYTES
            sizes.append(size)
            size = int(size * growth_factor)
        sizes.append(largest)
        self.sizes = sizes
        self.count = len(sizes)

    def class_of(self, size: int) -> int:
        """The class id of an item of *size* bytes; what exceeds a chunk goes to the last."""
        return min(bisect_left(self.sizes, size), self.count - 1) + 1
