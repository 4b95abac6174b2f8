"""memcached's text protocol, the part that is only bytes: words, numbers, limits, lines.

No sockets, no clock, no items. Numbers are read as memcached reads them, with C's rules:
leading blanks and signs pass, what is too wide wraps, and trailing junk is refused.
"""

from __future__ import annotations

KEY_BYTES_MAX = 250
LINE_BYTES_MAX = 2048  # longer without a line end closes, unless it is a multiget
MULTIGET_LINE_BYTES_MAX = 1 << 20  # memcached has no bound here; a process needs one
WORDS_MAX = 23  # memcached's token array; what is beyond is not looked at
VALUE_BYTES_MAX = (1 << 31) - 3

U32 = (1 << 32) - 1
U64 = (1 << 64) - 1

CRLF = b"\r\n"
END = b"END\r\n"
ERROR = b"ERROR\r\n"
OK = b"OK\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
UNAUTHENTICATED = b"CLIENT_ERROR unauthenticated\r\n"
OUT_OF_MEMORY = b"SERVER_ERROR out of memory storing object\r\n"

_BLANKS = b" \t\n\v\f\r"


def split_words(line: bytes) -> list[bytes]:
    """The words of a command line, as memcached cuts it: at spaces, up to a zero byte."""
    if b"\0" in line:
        line = line[: line.index(b"\0")]
    return [word for word in line.split(b" ") if word]


_SPECIAL_BYTES = bytes(range(33))


def is_plain_key(key: bytes) -> bool:
    """Whether *key* holds no blank, zero or control byte: then one line means one thing."""
    return len(key.translate(None, _SPECIAL_BYTES)) == len(key) and bool(key)


def _leading_number(text: bytes) -> int | None:
    """What C's strtol reads at the start of *text* (no range), None where it is refused."""
    text = text.lstrip(_BLANKS)
    sign = -1 if text[:1] == b"-" else 1
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    rest = digits.lstrip(b"0123456789")
    digits = digits[: len(digits) - len(rest)]
    if not digits or (rest and rest[0] != 0 and rest[0] not in _BLANKS):
        return None
    digits = digits.lstrip(b"0")
    if len(digits) > 20:
        return None  # beyond 64 bits, however it would be read
    return sign * int(digits or b"0")


def parse_i32(text: bytes) -> int | None:
    """A signed number that fits 64 bits, wrapped to 32 as memcached does."""
    number = _leading_number(text)
    if number is None or not -(1 << 63) <= number < 1 << 63:
        return None
    number &= U32
    return number - (1 << 32) if number >> 31 else number


def parse_u64(text: bytes) -> int | None:
    """An unsigned 64-bit number; a minus sign passes only where C lets it."""
    number = _leading_number(text)
    if number is None or not -U64 <= number <= U64:
        return None
    wrapped = number & U64
    return None if wrapped >> 63 and number < 0 else wrapped


def parse_u32(text: bytes) -> int | None:
    """An unsigned number that fits 64 bits, cut to 32."""
    number = parse_u64(text)
    return None if number is None else number & U32
