"""Encrypted files: AES-256-GCM in chunks, each of which proves its place and the last one the end.

    header   CFSEAL1\\n, length of the description (4 bytes), description (JSON)
    chunk    length of what follows (4 bytes), ciphertext and its tag

The description names the wrapped data key and a salt; the file's own key is drawn from both, so
that nonces can count from zero. A nonce holds the chunk's number and whether it is the last one; a
chunk is bound to the description. So a flipped bit, a chunk that was moved, left out or taken from
another file, and an end that was cut off are all found out, before the chunk's bytes are given out.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"CFSEAL1\n"
CHUNK_BYTES = 1 << 20
KEY_BYTES = 32
SALT_BYTES = 32
TAG_BYTES = 16
DESCRIPTION_BYTES_MAX = 1 << 16  # a key wrapped by KMS is some hundred bytes
CHUNKS_MAX = 1 << 32  # four petabytes

_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">3xQ?")

Part: TypeAlias = "bytes | memoryview"
Write = Callable[[Part], object]


class Tampered(Exception):
    """The file is not what was written: changed, cut short, or sealed under another key."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key in clear, and wrapped as it may be kept: only the wrapped one is ever written."""

    clear: bytes
    wrapped: Mapping[str, Any]

    def __post_init__(self) -> None:
        assert len(self.clear) == KEY_BYTES

    def __repr__(self) -> str:
        return f"DataKey({self.wrapped.get('provider')!r})"


Unwrap = Callable[[Mapping[str, Any]], bytes]


class Sealer:
    """Encrypts what it is given and hands it on. Nothing is whole before :meth:`close`.

    What *write* is given is good until it returns.
    """

    def __init__(self, write: Write, key: DataKey) -> None:
        self._write = write
        self._pending = memoryview(bytearray(CHUNK_BYTES))
        self._filled = 0
        self._sealed = memoryview(bytearray(_LENGTH.size + CHUNK_BYTES + TAG_BYTES))
        self._number = 0
        salt = os.urandom(SALT_BYTES)
        self._description = json.dumps(
            {"key": dict(key.wrapped), "salt": salt.hex(), "chunk_bytes": CHUNK_BYTES}
        ).encode()
        self._cipher = _cipher(key.clear, salt)
        write(MAGIC + _LENGTH.pack(len(self._description)) + self._description)

    def write(self, data: Part) -> None:
        """Take some bytes; they go on a chunk at a time."""
        view = memoryview(data)
        while view:
            if self._filled == CHUNK_BYTES:
                # More than a chunk is there, so this is not the last one.
                self._seal(last=False)
            part = view[: CHUNK_BYTES - self._filled]
            self._pending[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            view = view[len(part) :]

    def close(self) -> None:
        """Write the last chunk, which may be empty."""
        self._seal(last=True)

    def _seal(self, *, last: bool) -> None:
        assert self._number < CHUNKS_MAX
        nonce = _NONCE.pack(self._number, last)
        size = self._filled + TAG_BYTES
        sealed = self._sealed[: _LENGTH.size + size]
        _LENGTH.pack_into(sealed, 0, size)
        self._cipher.encrypt_into(
            nonce, self._pending[: self._filled], self._description, sealed[_LENGTH.size :]
        )
        self._write(sealed)
        self._number += 1
        self._filled = 0


def unseal(file: BinaryIO, unwrap: Unwrap) -> Iterator[bytes]:
    """Give the contents of a sealed file, chunk by chunk; each is proven before it is given.

    Raises:
        Tampered: it is not what was written. What was given before was right, but not all.
        KeyUnavailable: its key cannot be unwrapped (by *unwrap*).
    """
    description = _read_description(file)
    try:
        told = json.loads(description)
        salt, wrapped, chunk_bytes = bytes.fromhex(told["salt"]), told["key"], told["chunk_bytes"]
    except (ValueError, KeyError, TypeError) as error:
        raise Tampered("its header cannot be read") from error
    if not isinstance(wrapped, dict) or chunk_bytes != CHUNK_BYTES:
        raise Tampered("its header cannot be read")
    cipher = _cipher(unwrap(wrapped), salt)
    sealed = _next_chunk(file)
    if sealed is None:
        raise Tampered("it ends too soon")
    number = 0
    while sealed is not None:
        after = _next_chunk(file)
        try:
            yield cipher.decrypt(_NONCE.pack(number, after is None), sealed, description)
        except InvalidTag:
            raise Tampered("it has been changed or cut short") from None
        sealed, number = after, number + 1


def is_sealed(head: bytes) -> bool:
    """Tell whether a file that begins with *head* is one of these."""
    return head.startswith(MAGIC)


def _read_description(file: BinaryIO) -> bytes:
    head = file.read(len(MAGIC) + _LENGTH.size)
    if not is_sealed(head) or len(head) < len(MAGIC) + _LENGTH.size:
        raise Tampered("it does not begin as a sealed file does")
    (length,) = _LENGTH.unpack(head[len(MAGIC) :])
    if length > DESCRIPTION_BYTES_MAX:
        raise Tampered("its header cannot be read")
    description = file.read(length)
    if len(description) < length:
        raise Tampered("it ends too soon")
    return description


def _next_chunk(file: BinaryIO) -> bytes | None:
    head = file.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise Tampered("it ends too soon")
    (length,) = _LENGTH.unpack(head)
    if not TAG_BYTES <= length <= CHUNK_BYTES + TAG_BYTES:
        raise Tampered("it has been changed or cut short")
    sealed = file.read(length)
    if len(sealed) < length:
        raise Tampered("it ends too soon")
    return sealed


def _cipher(clear: bytes, salt: bytes) -> AESGCM:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"cachefleet file")
    return AESGCM(derived.derive(clear))
