"""The keys that IAM tokens are signed with, as the control plane hands them out.

A file of signing keys, each of one access key, region and day: what is in it opens no other
service, region or day, and no API. It covers some days to come, so that clients are let in while
the control plane is away. A file that cannot be read leaves no key: then nobody is let in by IAM.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SCHEMA: Final = 1
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
KEY_BYTES: Final = 32

log = logging.getLogger(__name__)

_MEMBERS: Final = ("access_key_id", "account", "region", "day", "key")


class IllegalKeys(ValueError):
    """The file is not one of signing keys; ``args[0]`` says why and holds no key."""


@dataclass(frozen=True, kw_only=True, order=True)
class SigningKey:
    """What one access key signs with in one region on one day (``20260102``)."""

    access_key_id: str
    account: str
    region: str
    day: str
    key: bytes = field(repr=False)


class KeyRing:
    """Signing keys, found by what a token says of itself."""

    def __init__(self, keys: Iterable[SigningKey] = ()) -> None:
        self._keys: Mapping[tuple[str, str, str, str], bytes] = {
            (one.account, one.region, one.day, one.access_key_id): one.key for one in keys
        }

    def find(
        self, access_key_id: str, session_token: str | None, day: str, *, account: str, region: str
    ) -> bytes | None:
        """Return the signing key; None where there is none. Keys on record have no sessions."""
        if session_token is not None:
            return None
        return self._keys.get((account, region, day, access_key_id))


class KeyRings:
    """The rings of all routes, by path, read at each reload."""

    def __init__(self) -> None:
        self._rings: dict[str, KeyRing] = {}

    def refresh(self, paths: Iterable[str]) -> None:
        """Read the files at *paths* and forget all others."""
        self._rings = {path: _read(Path(path)) for path in set(paths)}

    def get(self, path: str) -> KeyRing:
        """Return the ring of *path*; an empty one where it was not read."""
        return self._rings.get(path, KeyRing())


def render_keys(keys: Iterable[SigningKey]) -> str:
    """Return the file's text."""
    rows = [[*(getattr(one, name) for name in _MEMBERS[:-1]), one.key.hex()] for one in keys]
    return json.dumps({"schema": SCHEMA, "keys": rows}) + "\n"


def parse_keys(text: str) -> list[SigningKey]:
    """Return what :func:`render_keys` wrote.

    Raises:
        IllegalKeys: it is something else.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise IllegalKeys("not JSON") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise IllegalKeys(f"not of schema {SCHEMA}")
    rows = document.get("keys")
    if not isinstance(rows, list):
        raise IllegalKeys("there is no list of keys")
    return [_key(row) for row in rows]


def _key(row: object) -> SigningKey:
    if not isinstance(row, list) or len(row) != len(_MEMBERS):
        raise IllegalKeys("an entry is not a key")
    *words, digits = row
    if not all(isinstance(word, str) for word in row):
        raise IllegalKeys("an entry is not a key")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise IllegalKeys("an entry has no key of the right size")
    return SigningKey(**dict(zip(_MEMBERS, words, strict=False)), key=key)


def _read(path: Path) -> KeyRing:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        return KeyRing(parse_keys(content.decode() if len(content) <= FILE_BYTES_MAX else ""))
    except OSError as error:
        log.warning("iam_keys_unread path=%s reason=%s", path, error.strerror)
    except UnicodeDecodeError:
        log.warning("iam_keys_unread path=%s reason=%s", path, "not text")
    except IllegalKeys as error:
        log.warning("iam_keys_unread path=%s reason=%s", path, error)
    return KeyRing()
