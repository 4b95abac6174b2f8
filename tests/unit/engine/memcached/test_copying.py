"""A copy of items is whole, or it is none; however its bytes arrive."""

from __future__ import annotations

import io

import pytest

from cachefleet.engine.memcached.copying import (
    FORMAT,
    ItemRecord,
    ItemsCheck,
    NotItems,
    walk_items,
)
from cachefleet.engine.memserver import memfile
from tests.unit.engine.memserver.sessions import ask, store


def copy() -> bytes:
    some = store()
    ask(some, b"set a 7 0 3\r\nabc\r\nset b 0 100 1\r\nx\r\n")
    file = io.BytesIO()
    assert memfile.write(some, file) == len(file.getvalue())
    return file.getvalue()


def seen(data: bytes, size: int) -> ItemsCheck:
    check = ItemsCheck()
    for start in range(0, len(data), size):
        check.see(memoryview(data)[start : start + size])
    return check


@pytest.mark.parametrize("size", [1, 7, 31, 32, 33, 64, 1 << 20])
def test_whole_however_it_arrives(size: int) -> None:
    assert seen(copy(), size).conclude() == FORMAT


@pytest.mark.parametrize("size", [5, 1 << 20])
def test_cut_short_or_changed_is_none(size: int) -> None:
    data = copy()
    for length in range(len(data)):
        with pytest.raises(NotItems):
            seen(data[:length], size).conclude()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(NotItems):
            seen(bytes(changed), size).conclude()


def test_items_are_listed_without_their_values() -> None:
    data = copy()
    found = list(walk_items(io.BytesIO(data), len(data)))
    assert [(one.key, one.expires) for one in found] == [(b"a", False), (b"b", True)]
    assert found[0] == ItemRecord(key=b"a", size_bytes=len(b"aabc"), expires=False)
    with pytest.raises(NotItems):
        list(walk_items(io.BytesIO(b"REDIS0011"), 9))
