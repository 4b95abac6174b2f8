"""The local master key: what seals small secrets before they reach the database or a file.

One file of the data directory, ``master.key``, mode 0600, made once. A secret is sealed with
AES-256-GCM under a key that is derived for its purpose (HKDF-SHA256), and the purpose is
authenticated with it, so that what was sealed for one use cannot be passed off for another. Refuses
a file that others can read, that is damaged, or that another fleet's secrets were sealed with.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE_NAME = "master.key"
KEY_BYTES = 32
NONCE_BYTES = 12
PRIVATE_MODE = 0o600
FORMAT = "v1"
KEY_ID_DIGITS = 16
SEALED_CHARS_MAX = 1 << 20  # secrets are small; files have a format of their own


class UnusableMasterKey(Exception):
    """The key file cannot be used; the message is one line and holds nothing of the key."""


class UnreadableSecret(Exception):
    """A sealed secret was damaged, sealed for another purpose, or with another master key."""


class MasterKey:
    """Seals and opens secrets; nothing of it is in its repr."""

    __slots__ = ("_key", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise UnusableMasterKey(f"a master key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        # Tells keys apart and nothing else: what it is made from is derived, not the key itself.
        self.key_id = hashlib.sha256(self.derive("key-id")).hexdigest()[:KEY_ID_DIGITS]

    def __repr__(self) -> str:
        return f"MasterKey({self.key_id})"

    def derive(self, purpose: str) -> bytes:
        """Return a key of 32 bytes for *purpose* alone, the same every time."""
        kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode())
        return kdf.derive(self._key)

    def seal(self, secret: bytes, *, purpose: str) -> str:
        """Return *secret* encrypted, as text: ``v1.<key id>.<base64 of nonce and ciphertext>``."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(self.derive(purpose)).encrypt(nonce, secret, purpose.encode())
        return f"{FORMAT}.{self.key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *, purpose: str) -> bytes:
        """Return what was sealed.

        Raises:
            UnreadableSecret: damaged, of another purpose, or of another master key.
        """
        form, _, rest = sealed[:SEALED_CHARS_MAX].partition(".")
        key_id, _, text = rest.partition(".")
        if form != FORMAT:
            raise UnreadableSecret("a sealed secret has a form that is not known here")
        if key_id != self.key_id:
            raise UnreadableSecret(
                f"a secret was sealed with master key {key_id[:KEY_ID_DIGITS]}, "
                f"and this is {self.key_id}"
            )
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
            nonce, ciphertext = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
            return AESGCM(self.derive(purpose)).decrypt(nonce, ciphertext, purpose.encode())
        except (binascii.Error, ValueError, InvalidTag) as error:
            raise UnreadableSecret(
                "a sealed secret is damaged, or was sealed for another use"
            ) from (error)


def load_master_key(path: Path) -> MasterKey:
    """Return the key in the file at *path*.

    Raises:
        UnusableMasterKey: it is not there, readable by others, or damaged.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(4 * KEY_BYTES)
    except OSError as error:
        raise UnusableMasterKey(f"cannot read the master key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise UnusableMasterKey(
            f"the master key {path} is open to others (mode {mode:o}): chmod 600 it"
        )
    try:
        return MasterKey(bytes.fromhex(text.decode("ascii").strip()))
    except (ValueError, UnusableMasterKey) as error:
        raise UnusableMasterKey(f"the master key {path} is damaged") from error


def ensure_master_key(path: Path) -> MasterKey:
    """Return the key at *path*, made now where there is none.

    Two processes that make it at once end up with the same one: the file appears whole, and only
    if nobody else's was there first.

    Raises:
        UnusableMasterKey: it can neither be read nor made.
    """
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            raise UnusableMasterKey(
                f"cannot make the master key {path}: {error.strerror}"
            ) from error
    return load_master_key(path)


def _make(path: Path) -> None:
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
