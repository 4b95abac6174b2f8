"""Following a file: no byte from beyond its frontier, all of it at the end, and no endless wait."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cachefleet.provisioner.snapshots.following import PAGE_BYTES, Followed, Frontier, WriterGone

DEADLINE_S = 20.0


class Dripping(io.BytesIO):
    """Gives less than was asked for, as some file systems do, and tells that it was asked."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.asked.set()
        return super().read(min(size or 0, 1000))


def test_waits_for_the_frontier_and_reads_the_rest_at_the_end() -> None:
    data = bytes(range(256)) * 1024  # four pages
    frontier, file = Frontier(), Dripping(data)
    followed = Followed(file, frontier)
    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(followed.read, PAGE_BYTES)
        assert not file.asked.wait(0.05)
        frontier.advance(PAGE_BYTES + 1)
        assert first.result(DEADLINE_S) == data[:PAGE_BYTES]
        file.asked.clear()
        second = beside.submit(followed.read, 1)
        assert not file.asked.wait(0.05), "a page that is not full counts for nothing"
        frontier.advance(2 * PAGE_BYTES)
        assert second.result(DEADLINE_S) == data[PAGE_BYTES : PAGE_BYTES + 1]
        file.asked.clear()
        rest = beside.submit(followed.read, len(data))
        frontier.advance(0)  # it never goes back
        assert not file.asked.wait(0.05)
        frontier.end()
        assert rest.result(DEADLINE_S) == data[PAGE_BYTES + 1 :]
    assert followed.read(1) == b""


def test_a_writer_that_is_gone_is_waited_for_no_more() -> None:
    frontier = Frontier()
    followed = Followed(io.BytesIO(b"x" * PAGE_BYTES), frontier)
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(followed.read, PAGE_BYTES)
        frontier.give_up()
        with pytest.raises(WriterGone):
            waiting.result(DEADLINE_S)


def test_what_is_whole_stays_readable_when_its_writer_goes() -> None:
    frontier = Frontier()
    frontier.end()
    frontier.give_up()
    assert Followed(io.BytesIO(b"whole"), frontier).read(5) == b"whole"
