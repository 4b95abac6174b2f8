"""Reading ahead: the same parts in the same order, the same errors, and no thread that stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cachefleet.provisioner.snapshots.ahead import PARTS_AHEAD_MAX, read_ahead

PARTS = [b"%d" % number for number in range(50)]


def test_the_same_parts_in_order() -> None:
    assert list(read_ahead(iter(PARTS))) == PARTS
    assert list(read_ahead(iter([]))) == []


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def failing() -> Iterator[bytes]:
        yield from PARTS
        raise OSError("the disk is gone")

    parts = read_ahead(failing())
    assert [next(parts) for _ in PARTS] == PARTS
    with pytest.raises(OSError, match="the disk is gone"):
        next(parts)


def test_given_up_it_makes_no_more_and_closes_what_it_reads() -> None:
    made: list[bytes] = []
    closed_by: list[str] = []

    def making() -> Iterator[bytes]:
        try:
            for part in PARTS:
                made.append(part)
                yield part
        finally:
            closed_by.append(threading.current_thread().name)

    before = threading.active_count()
    parts = read_ahead(making())
    assert next(parts) == PARTS[0]
    parts.close()
    assert closed_by == ["reading-ahead"]
    assert len(made) <= PARTS_AHEAD_MAX + 2, "it went ahead by so many parts at most"
    assert threading.active_count() == before
