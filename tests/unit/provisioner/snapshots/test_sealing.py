"""Sealed files: what went in comes out, and nothing does from a file that was changed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest

from cachefleet.provisioner.snapshots import sealing
from cachefleet.provisioner.snapshots.sealing import (
    CHUNK_BYTES,
    DataKey,
    Sealer,
    Tampered,
    is_sealed,
    unseal,
)

KEY = DataKey(b"k" * 32, {"provider": "test", "blob": "wrapped"})
OTHER = DataKey(b"o" * 32, KEY.wrapped)
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 2_500_000]


def seal(data: bytes, *, key: DataKey = KEY, step: int = 700_001) -> bytes:
    out = io.BytesIO()
    sealer = Sealer(out.write, key)
    for start in range(0, len(data), step):
        sealer.write(data[start : start + step])
    sealer.close()
    return out.getvalue()


def opened(sealed: bytes, key: DataKey = KEY) -> bytes:
    def unwrap(wrapped: Mapping[str, Any]) -> bytes:
        assert wrapped == KEY.wrapped
        return key.clear

    return b"".join(unseal(io.BytesIO(sealed), unwrap))


def payload(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + b"x" * (size % 251)


@pytest.mark.parametrize("size", SIZES)
def test_what_went_in_comes_out(size: int) -> None:
    data = payload(size)
    sealed = seal(data)
    assert is_sealed(sealed[:20])
    assert opened(sealed) == data
    assert opened(seal(data, step=1 << 16)) == data


def test_nothing_of_it_is_in_clear_and_no_two_are_alike() -> None:
    data = b"a planted value " * 1000
    assert b"planted" not in seal(data)
    assert seal(data) != seal(data)
    assert b"k" * 32 not in seal(data)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 2_500_000])
def test_a_flipped_bit_is_found_out_wherever_it_is(size: int) -> None:
    sealed = seal(payload(size))
    places = [0, 7, 8, 12, 40, 100, 200, len(sealed) // 2, len(sealed) - 17, len(sealed) - 1]
    for place in places:
        changed = bytearray(sealed)
        changed[place % len(sealed)] ^= 1
        with pytest.raises((Tampered, AssertionError)):
            opened(bytes(changed))


def test_a_cut_is_found_out_also_between_chunks() -> None:
    sealed = seal(payload(3 * CHUNK_BYTES))
    chunk = 4 + CHUNK_BYTES + 16
    for end in (len(sealed) - chunk, len(sealed) - 2 * chunk, len(sealed) - 1, 200, 10, 0):
        with pytest.raises(Tampered):
            opened(sealed[:end])


def test_chunks_cannot_be_moved_nor_taken_from_another_file() -> None:
    data = payload(3 * CHUNK_BYTES)
    sealed, second = seal(data), seal(data)
    chunk = 4 + CHUNK_BYTES + 16
    first = len(sealed) - 3 * chunk
    swapped = (
        sealed[:first]
        + sealed[first + chunk : first + 2 * chunk]
        + sealed[first : first + chunk]
        + sealed[first + 2 * chunk :]
    )
    mixed = sealed[: first + chunk] + second[first + chunk :]
    doubled = sealed + sealed[first + 2 * chunk :]
    for broken in (swapped, mixed, doubled):
        with pytest.raises(Tampered):
            opened(broken)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Tampered):
        opened(seal(b"data"), OTHER)


def test_the_header_is_limited() -> None:
    sealed = bytearray(seal(b"data"))
    sealed[8:12] = (sealing.DESCRIPTION_BYTES_MAX + 1).to_bytes(4)
    with pytest.raises(Tampered, match="header"):
        opened(bytes(sealed))


def test_a_key_does_not_show_itself() -> None:
    assert "kkkk" not in repr(KEY)
