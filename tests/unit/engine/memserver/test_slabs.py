"""The slab classes are the ones memcached 1.6.18 prints with -vv."""

from __future__ import annotations

import pytest

from cachefleet.engine.memserver.slabs import SlabClasses, item_bytes

FIRST = [96, 120, 152, 192, 240, 304, 384, 480, 600, 752, 944, 1184]


def classes(**changes: float) -> SlabClasses:
    values = {"item_size_max": 1 << 20, "chunk_size": 48, "chunk_max": 512 << 10}
    values |= {name: int(value) for name, value in changes.items()}
    return SlabClasses(**values, growth_factor=1.25)


def test_classes_are_memcacheds() -> None:
    table = classes()
    assert table.sizes[:12] == FIRST
    assert table.sizes[-1] == 524288
    assert table.count == 39


@pytest.mark.parametrize(
    ("size", "number"),
    [(1, 1), (96, 1), (97, 2), (120, 2), (524288, 39), (1 << 20, 39)],
)
def test_finds_the_class_of_a_size(size: int, number: int) -> None:
    assert classes().class_of(size) == number


@pytest.mark.parametrize(
    ("flags", "cas", "size"),
    [(0, True, 63), (5, True, 67), (0, False, 55)],
)
def test_counts_an_item_as_memcached_does(flags: int, cas: bool, size: int) -> None:
    assert item_bytes(3, flags, 1, cas=cas) == size
