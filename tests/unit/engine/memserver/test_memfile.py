"""The memory file gives back what was there, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachefleet.engine.memserver import memfile
from cachefleet.engine.memserver.store import Store
from tests.unit.engine.memserver.sessions import ask, later, store


def filled() -> Store:
    some = store()
    ask(some, b"set a 7 0 3\r\nabc\r\nset b 0 100 1\r\nx\r\nset gone 0 5 1\r\nx\r\n")
    ask(some, b"ms YQpi 2 b T0\r\nhi\r\n")
    later(some, 6)
    return some


def test_gives_back_what_was_there(tmp_path: Path) -> None:
    path = str(tmp_path / "items")
    before = filled()
    memfile.save(before, path)
    after = store()
    later(after, 20)
    assert memfile.load(after, path) == 3
    assert ask(after, b"gets a b gone\r\n") == (
        b"VALUE a 7 3 1\r\nabc\r\nVALUE b 0 1 2\r\nx\r\nEND\r\n"
    )
    assert ask(after, b"mg b t\r\n") == b"HD t80\r\n"
    assert ask(after, b"mg YQpi b v k\r\n") == b"VA 2 kYQpi b\r\nhi\r\n"
    assert ask(after, b"ms new 1 c\r\nx\r\n") == b"HD c5\r\n"
    assert after.stats.total_items == 1


def test_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "items"
    memfile.save(filled(), str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["items"]
    memfile.load(store(), str(path))
    assert not path.exists()


@pytest.mark.parametrize("position", [0, 30, 60, -1])
def test_a_changed_byte_refuses_all(tmp_path: Path, position: int) -> None:
    path = tmp_path / "items"
    memfile.save(filled(), str(path))
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    some = store()
    with pytest.raises(memfile.Corrupt):
        memfile.load(some, str(path))
    assert not some.table
    assert path.exists()


@pytest.mark.parametrize("size", [0, 10, 40, -1])
def test_a_short_file_refuses_all(tmp_path: Path, size: int) -> None:
    path = tmp_path / "items"
    memfile.save(filled(), str(path))
    path.write_bytes(path.read_bytes()[:size])
    some = store()
    with pytest.raises(memfile.Corrupt):
        memfile.load(some, str(path))
    assert not some.table


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.mkdir()
    with pytest.raises(OSError, match="there"):
        memfile.save(filled(), str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]
