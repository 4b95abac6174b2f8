"""The text protocol's words and numbers, as C would read them."""

from __future__ import annotations

import pytest

from cachefleet.engine.memserver import wire


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param(b"0", 0, id="zero"),
        pytest.param(b"-1", -1, id="negative"),
        pytest.param(b"+7", 7, id="plus"),
        pytest.param(b" \t9", 9, id="leading-blanks"),
        pytest.param(b"12 x", 12, id="blank-ends-it"),
        pytest.param(b"12\0x", 12, id="zero-byte-ends-it"),
        pytest.param(b"12x", None, id="junk-behind"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"-", None, id="sign-alone"),
        pytest.param(b"4294967295", -1, id="wraps-to-32-bits"),
        pytest.param(b"99999999999", 1215752191, id="wraps-and-stays-positive"),
        pytest.param(b"9223372036854775807", -1, id="largest"),
        pytest.param(b"9223372036854775808", None, id="beyond-64-bits"),
        pytest.param(b"-9223372036854775808", 0, id="smallest"),
        pytest.param(b"-9223372036854775809", None, id="below-64-bits"),
        pytest.param(b"0" * 3000 + b"5", 5, id="endless-zeros"),
        pytest.param(b"9" * 3000, None, id="endless-digits"),
    ],
)
def test_reads_signed_numbers(text: bytes, number: int | None) -> None:
    assert wire.parse_i32(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param(b"18446744073709551615", 2**64 - 1, id="largest"),
        pytest.param(b"18446744073709551616", None, id="beyond"),
        pytest.param(b"-1", None, id="negative-is-too-large"),
        pytest.param(b"-18446744073709551615", 1, id="wraps-to-one"),
        pytest.param(b"x", None, id="no-number"),
    ],
)
def test_reads_unsigned_numbers(text: bytes, number: int | None) -> None:
    assert wire.parse_u64(text) == number


def test_cuts_unsigned_numbers_to_32_bits() -> None:
    assert wire.parse_u32(b"4294967297") == 1
    assert wire.parse_u32(b"-1") is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b"get a b", [b"get", b"a", b"b"], id="plain"),
        pytest.param(b"  get   a ", [b"get", b"a"], id="blanks"),
        pytest.param(b"get a\tb", [b"get", b"a\tb"], id="only-spaces-separate"),
        pytest.param(b"get a\0 b", [b"get", b"a"], id="zero-byte-ends-the-line"),
        pytest.param(b"", [], id="empty"),
    ],
)
def test_splits_words(line: bytes, words: list[bytes]) -> None:
    assert wire.split_words(line) == words


@pytest.mark.parametrize("byte", range(256))
def test_plain_keys_have_no_blank_or_control_byte(byte: int) -> None:
    assert wire.is_plain_key(b"a" + bytes([byte])) == (byte > 32)


def test_an_empty_key_is_not_plain() -> None:
    assert not wire.is_plain_key(b"")
