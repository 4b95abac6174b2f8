"""memcached's binary protocol, read as far as auto discovery needs it. Sans-IO, no clock.

Every packet says its own length, so all but the discovery opcodes pass by in whatever pieces
they arrive. A discovery request is replaced by a NOOP, which the backend always answers, and
that answer by the real one, under the request's own opaque.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from cachefleet.engine.gateway.interception import WireViolation
from cachefleet.engine.gateway.memcached_text import (
    CONFIG_KEY,
    KEY_BYTES_MAX,
    LEGACY_KEY,
    Pending,
    cluster_config_version,
)

# magic, opcode, key bytes, extras bytes, data type, status or vbucket, body bytes, opaque, cas
HEADER: Final = struct.Struct("!BBHBBHIIQ")
MAGIC_REQUEST: Final = 0x80
MAGIC_REPLY: Final = 0x81
REFUSED_BODY_BYTES_MAX: Final = 64 * 1024  # of a ``config set``; it is dropped, not held

OP_GET: Final = 0x00
OP_GETQ: Final = 0x09
OP_NOOP: Final = 0x0A
OP_GETK: Final = 0x0C
OP_GETKQ: Final = 0x0D
OP_CONFIG_GET: Final = 0x60
OP_CONFIG_SET: Final = 0x64
OP_CONFIG_DELETE: Final = 0x66
STATUS_OK: Final = 0x0000
STATUS_NOT_FOUND: Final = 0x0001
STATUS_UNKNOWN_COMMAND: Final = 0x0081

_LEGACY_GETS: Final = frozenset((OP_GET, OP_GETQ, OP_GETK, OP_GETKQ))
_REFUSED: Final = frozenset((OP_CONFIG_SET, OP_CONFIG_DELETE))
_FLAGS: Final = b"\0\0\0\0"


class BinaryRequests:
    """The client's half of one connection."""

    def __init__(self, payload: Callable[[], bytes], pending: Pending) -> None:
        self._payload = payload
        self._pending = pending
        self._held = bytearray()  # a header, or a short get with its key, that is not all here
        self._body = 0  # bytes of a packet still to come
        self._dropping = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive; return what the backend gets."""
        if self._held:
            self._held += data
            data = bytes(self._held)
            self._held.clear()
        out: list[bytes] = []
        position, size = 0, len(data)
        while position < size:
            if self._body:
                step = min(self._body, size - position)
                if not self._dropping:
                    out.append(data[position : position + step])
                self._body -= step
                position += step
                continue
            need = self._bytes_needed(data, position)
            if size - position < need:
                self._held += data[position:]
                break
            out.append(self._packet(data, position))
            position += need
        return b"".join(out)

    def finish(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held

    def _bytes_needed(self, data: bytes, position: int) -> int:
        """How much of the packet must be here to decide on it: the header, or its key too."""
        if data[position] != MAGIC_REQUEST:
            raise WireViolation("a binary connection went on with something else")
        if len(data) - position < HEADER.size:
            return HEADER.size
        _, opcode, key_bytes, extras, _, _, body, _, _ = HEADER.unpack_from(data, position)
        if key_bytes + extras > body:
            raise WireViolation("a binary packet's key is longer than its body")
        if opcode == OP_CONFIG_GET and body > KEY_BYTES_MAX:
            raise WireViolation("a config key is too long")
        if opcode in _REFUSED and body > REFUSED_BODY_BYTES_MAX:
            raise WireViolation("a refused packet is too long to skip")
        looks_for_config = opcode in _LEGACY_GETS and body == len(LEGACY_KEY)
        held = opcode == OP_CONFIG_GET or looks_for_config
        return HEADER.size + (int(body) if held else 0)

    def _packet(self, data: bytes, position: int) -> bytes:
        """Return what goes to the backend for the header (and held key) at *position*."""
        _, opcode, key_bytes, _, _, _, body, opaque, _ = HEADER.unpack_from(data, position)
        start = position + HEADER.size
        self._dropping = False
        if opcode == OP_NOOP:
            self._pending.push(None)
        elif opcode == OP_CONFIG_GET:
            return self._marked(opaque, self._config_reply(data[start : start + body], opaque))
        elif opcode in _REFUSED:
            self._dropping = True
            self._body = body
            reply = _reply(opcode, opaque, status=STATUS_UNKNOWN_COMMAND, value=b"Unknown command")
            return self._marked(opaque, reply)
        elif opcode in _LEGACY_GETS and body == len(LEGACY_KEY):
            whole = data[position : start + body]
            if key_bytes == body and whole.endswith(LEGACY_KEY):
                return self._marked(opaque, self._legacy_reply(opcode, opaque))
            return whole
        self._body = body
        return data[position:start]

    def _marked(self, opaque: int, answer: bytes) -> bytes:
        self._pending.push(answer)
        return HEADER.pack(MAGIC_REQUEST, OP_NOOP, 0, 0, 0, 0, 0, opaque, 0)

    def _config_reply(self, key: bytes, opaque: int) -> bytes:
        if key != CONFIG_KEY:
            return _reply(OP_CONFIG_GET, opaque, status=STATUS_NOT_FOUND, value=b"Not found")
        return _reply(OP_CONFIG_GET, opaque, extras=_FLAGS, value=self._payload())

    def _legacy_reply(self, opcode: int, opaque: int) -> bytes:
        payload = self._payload()
        return _reply(
            opcode,
            opaque,
            extras=_FLAGS,
            key=LEGACY_KEY if opcode in (OP_GETK, OP_GETKQ) else b"",
            value=payload,
            cas=cluster_config_version(payload),
        )


class BinaryReplies:
    """The backend's half of one connection."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._held = bytearray()
        self._body = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive; return what the client gets."""
        if self._held:
            self._held += data
            data = bytes(self._held)
            self._held.clear()
        out: list[bytes] = []
        position, untouched, size = 0, 0, len(data)
        while position < size:
            if self._body:
                step = min(self._body, size - position)
                self._body -= step
                position += step
                continue
            if data[position] != MAGIC_REPLY:
                raise WireViolation("the backend left the binary protocol")
            if size - position < HEADER.size:
                out.append(data[untouched:position])
                self._held += data[position:]
                return b"".join(out)
            fields = HEADER.unpack_from(data, position)
            opcode, self._body = fields[1], fields[6]
            answer = self._pending.pop() if opcode == OP_NOOP else None
            if answer is not None:
                out.append(data[untouched:position])
                out.append(answer)
                untouched = position + HEADER.size
                if self._body:
                    raise WireViolation("the backend's NOOP has a body")
            position += HEADER.size
        if not out:
            return data
        out.append(data[untouched:])
        return b"".join(out)

    def finish(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held


def _reply(
    opcode: int,
    opaque: int,
    *,
    status: int = STATUS_OK,
    extras: bytes = b"",
    key: bytes = b"",
    value: bytes = b"",
    cas: int = 0,
) -> bytes:
    body = extras + key + value
    header = HEADER.pack(
        MAGIC_REPLY, opcode, len(key), len(extras), 0, status, len(body), opaque, cas
    )
    return header + body
