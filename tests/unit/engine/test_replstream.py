"""The replication stream: the same RDB however it arrives, and never one that is not whole."""

from __future__ import annotations

import random

import pytest

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.replstream import BrokenStream, FullSyncReader

MARK = b"0123456789abcdef0123456789abcdef01234567"
RDB = b"REDIS0011" + bytes(range(256)) * 3 + b"\xff12345678"
HELLO = b"+FULLRESYNC 8de1787ba490483314a4d30f1c628bc5025eb761 0\r\n"

STREAMS = [
    pytest.param(HELLO + b"$%d\r\n" % len(RDB) + RDB, id="counted"),
    pytest.param(HELLO + b"$EOF:" + MARK + b"\r\n" + RDB + MARK, id="marked"),
    pytest.param(b"\n\n" + HELLO + b"\n\n\n$EOF:" + MARK + b"\r\n" + RDB + MARK, id="kept-alive"),
]


def read(*parts: bytes) -> tuple[bytes, FullSyncReader]:
    reader = FullSyncReader()
    return b"".join(piece for part in parts for piece in reader.feed(part)), reader


@pytest.mark.parametrize("wire", STREAMS)
def test_same_copy_however_the_bytes_arrive(wire: bytes) -> None:
    whole, reader = read(wire)
    assert whole == RDB
    assert reader.whole
    dripped, reader = read(*(bytes([byte]) for byte in wire))
    assert dripped == RDB
    reader.finish()


def test_the_end_of_what_arrived_is_where_the_mark_is() -> None:
    ping = b"*1\r\n$4\r\nPING\r\n"
    counted, reader = read(HELLO + b"$%d\r\n" % len(RDB) + RDB + ping)
    assert (counted, reader.whole) == (RDB, True)
    _, reader = read(HELLO + b"$EOF:" + MARK + b"\r\n" + RDB + MARK + ping)
    assert not reader.whole, "no engine sends on before it is told that the copy has come"


@pytest.mark.parametrize("wire", STREAMS)
def test_says_when_it_has_to_be_fed(wire: bytes) -> None:
    """However much is put together before it is fed, it is fed in time."""
    reader, pending, copy, fed = FullSyncReader(), bytearray(), b"", 0
    for byte in wire:
        pending.append(byte)
        if reader.is_due(bytes(pending)):
            copy += b"".join(map(bytes, reader.feed(memoryview(bytes(pending)))))
            pending.clear()
            fed += 1
    assert (copy, reader.whole, bytes(pending)) == (RDB, True, b"")
    assert fed <= len(wire) - len(RDB) + 1, "the data was fed in one piece"


@pytest.mark.parametrize("seed", range(30))
def test_same_copy_for_any_cuts(seed: int) -> None:
    dice = random.Random(seed)
    wire = HELLO + b"$EOF:" + MARK + b"\r\n" + RDB + MARK
    cuts = sorted(dice.sample(range(len(wire)), 12))
    parts = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert read(*parts)[0] == RDB


@pytest.mark.parametrize("wire", STREAMS)
@pytest.mark.parametrize("missing", [1, 20, 41, 300])
def test_a_stream_that_ends_too_soon_has_no_copy(wire: bytes, missing: int) -> None:
    _, reader = read(wire[:-missing])
    assert not reader.whole
    with pytest.raises(BrokenStream, match="before the copy was whole"):
        reader.finish()


def test_what_looks_like_the_mark_is_data() -> None:
    data = RDB + MARK[:39] + b"!" + MARK[:20]
    wire = HELLO + b"$EOF:" + MARK + b"\r\n" + data + MARK
    assert read(wire)[0] == data
    assert read(*(bytes([byte]) for byte in wire))[0] == data


def test_a_refusal_has_its_code() -> None:
    with pytest.raises(CommandRefused) as refusal:
        read(b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n")
    assert refusal.value.code == "NOMASTERLINK"


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"+CONTINUE\r\n", id="no-full-copy"),
        pytest.param(HELLO + b"$abc\r\n", id="no-length"),
        pytest.param(HELLO + b"$0\r\n", id="empty"),
        pytest.param(HELLO + b"$EOF:short\r\n", id="short-mark"),
        pytest.param(b"+" + b"x" * 2000, id="endless-line"),
    ],
)
def test_refuses_what_no_primary_says(wire: bytes) -> None:
    with pytest.raises(BrokenStream):
        read(wire)
