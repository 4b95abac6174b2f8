"""The binary protocol's packets: header, opcodes, statuses and what is said with them."""

from __future__ import annotations

import struct

from cachefleet.engine.memserver.store import (
    ADD,
    APPEND,
    EXISTS,
    NOT_STORED,
    PREPEND,
    REPLACE,
    SET,
)

REQUEST_MAGIC = 0x80
HEADER_BYTES = 24
HEADER = struct.Struct(">BBHBBHIIQ")
U32 = struct.Struct(">I")
SET_EXTRAS = struct.Struct(">II")
DELTA_EXTRAS = struct.Struct(">QQI")
U64 = struct.Struct(">Q")
NO_CREATE = 0xFFFFFFFF  # an expiry that means: count nothing that is not there

NOT_FOUND_STATUS, EXISTS_STATUS, TOO_LARGE, INVALID, NOT_STORED_STATUS, BAD_DELTA = range(1, 7)
AUTH_ERROR, AUTH_CONTINUE, UNKNOWN, NO_MEMORY_STATUS = 0x20, 0x21, 0x81, 0x82
TEXTS = {
    NOT_FOUND_STATUS: b"Not found",
    EXISTS_STATUS: b"Data exists for key.",
    TOO_LARGE: b"Too large.",
    INVALID: b"Invalid arguments",
    NOT_STORED_STATUS: b"Not stored.",
    BAD_DELTA: b"Non-numeric server-side value for incr or decr",
    AUTH_ERROR: b"Auth failure.",
    UNKNOWN: b"Unknown command",
    NO_MEMORY_STATUS: b"Out of memory",
}
# What a failed update is called, by what was tried
FAILURES = {
    (EXISTS, SET): EXISTS_STATUS,
    (NOT_STORED, ADD): EXISTS_STATUS,
    (NOT_STORED, REPLACE): NOT_FOUND_STATUS,
    (NOT_STORED, APPEND): NOT_STORED_STATUS,
    (NOT_STORED, PREPEND): NOT_STORED_STATUS,
}
CONFIG_GET, CONFIG_SET, CONFIG_DELETE = 0x60, 0x64, 0x66
SASL_LIST, SASL_AUTH, SASL_STEP = 0x20, 0x21, 0x22
VERSION = 0x0B


class Packet:
    """One request, cut into its parts."""

    __slots__ = (
        "body",
        "cas",
        "extras",
        "extras_len",
        "key",
        "key_len",
        "loud",
        "opaque",
        "opcode",
    )

    def __init__(self, header: tuple[int, ...], body: bytes) -> None:
        _, self.opcode, self.key_len, self.extras_len, _, _, _, self.opaque, self.cas = header
        self.loud = self.opcode  # what it is when not asked to keep quiet
        stop = self.extras_len + self.key_len
        self.extras = body[: self.extras_len]
        self.key = body[self.extras_len : stop]
        self.body = body[stop:]
