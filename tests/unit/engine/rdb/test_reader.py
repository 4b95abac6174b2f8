"""Reading RDB files: every record is found, and a broken file is refused wherever it is cut."""

from __future__ import annotations

import pytest

from cachefleet.engine.rdb.reader import Entry, Extra, NotAnRdb, check_ends, parse_header, walk
from tests.unit.engine.rdb.files import END, pair, rdb, text

LZF_KEY = b"\xc3\x05\x0a\x01kk\xe0\x00\x00"  # "kk", then eight more of the last byte


def entries(data: bytes) -> list[Entry]:
    return [record for record in walk(data) if isinstance(record, Entry)]


def test_keys_with_databases_kinds_and_expiries() -> None:
    data = rdb(
        pair(b"a"),
        b"\xfc" + bytes(8) + pair(b"mortal"),
        b"\xfd" + bytes(4) + b"\xf9\x07\xf8\x05" + b"\x01" + text(b"list") + b"\x01" + text(b"x"),
        b"\xfe\x03" + b"\xfb\x01\x00" + b"\x04" + text(b"h") + b"\x01" + text(b"f") + text(b"v"),
    )  # fmt: skip
    found = [(e.database, e.key, e.kind, e.expires) for e in entries(data)]
    assert found == [
        (0, b"a", "string", False),
        (0, b"mortal", "string", True),
        (0, b"list", "list", True),
        (3, b"h", "hash", False),
    ]
    assert [(e.name, e.value) for e in walk(data) if isinstance(e, Extra) and e.kind == "aux"] == [
        ("redis-ver", "7.2.0"),
        ("repl-id", "x"),
    ]


def test_a_record_is_its_bytes_with_all_that_belongs_to_it() -> None:
    mortal = b"\xfc" + bytes(8) + pair(b"mortal")
    data = rdb(pair(b"a"), mortal, pair(b"z"))
    assert [data[e.start : e.end] for e in entries(data)] == [pair(b"a"), mortal, pair(b"z")]


@pytest.mark.parametrize(
    ("coded", "key"),
    [
        pytest.param(b"\xc0\xff", b"-1", id="8-bit"),
        pytest.param(b"\xc1\x00\x10", b"4096", id="16-bit"),
        pytest.param(b"\xc2\x00\x00\x01\x00", b"65536", id="32-bit"),
        pytest.param(text(b"k" * 300), b"k" * 300, id="14-bit-length"),
        pytest.param(b"\x80\x00\x00\x00\x02ab", b"ab", id="32-bit-length"),
        pytest.param(b"\x81" + bytes(7) + b"\x02ab", b"ab", id="64-bit-length"),
        pytest.param(LZF_KEY, b"k" * 11, id="packed"),
    ],
)
def test_every_coding_of_a_key(coded: bytes, key: bytes) -> None:
    if coded == LZF_KEY:
        coded = b"\xc3\x06\x0b\x01kk\xe0\x00\x00"
    [entry] = entries(rdb(b"\x00" + coded + text(b"v")))
    assert entry.key == key


def test_refuses_a_file_wherever_it_is_cut() -> None:
    data = rdb(pair(b"a"), b"\xfc" + bytes(8) + pair(b"mortal"), pair(b"z", b"v" * 100))
    for size in range(len(data)):
        with pytest.raises(NotAnRdb):
            entries(data[:size])
    with pytest.raises(NotAnRdb, match="behind its end"):
        entries(data + b"x")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "does not begin", id="empty"),
        pytest.param(b"GIF89a-----" + END, "does not begin", id="another-format"),
        pytest.param(rdb(b"\x1f" + text(b"k")), "newer engine", id="unknown-record"),
        pytest.param(rdb(b"\x08" + text(b"k")), "unknown type 8", id="unknown-type"),
        pytest.param(rdb(b"\x01" + text(b"k") + b"\x81" + b"\xff" * 8), "cut short", id="huge"),
    ],
)
def test_refuses_what_it_does_not_know(data: bytes, words: str) -> None:
    with pytest.raises(NotAnRdb, match=words):
        entries(data)


@pytest.mark.parametrize(
    ("head", "magic", "version"),
    [(b"REDIS0009", "REDIS", 9), (b"VALKEY080", "VALKEY", 80)],
)
def test_headers(head: bytes, magic: str, version: int) -> None:
    header = parse_header(head)
    assert (header.magic, header.version) == (magic, version)


def test_ends_tell_a_file_that_was_cut_short() -> None:
    data = rdb(pair(b"a", b"v" * 50))
    assert check_ends(data[:9], data[-9:]).version == 11
    with pytest.raises(NotAnRdb, match="cut short"):
        check_ends(data[:9], data[-20:-11])
