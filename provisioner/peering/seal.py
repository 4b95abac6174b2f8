"""What cachefleets say to each other is sealed with a secret that both have: nobody else can read
it, change it, or say it. A sealed text is good for a minute; a request is taken once.

The text inside is JSON; instants are written as objects with one member that nothing else uses.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 4096
GOOD_FOR_S = 60  # clocks of the two may differ by as much
SEEN_MAX = 20_000  # requests of two minutes; more than that is no peer
SEALED_BYTES_MAX = 16 << 20
_INSTANT = "$instant"
_INFO = b"cachefleet: what peers say, 1"


class NotSealed(Exception):
    """It was not sealed with our secret, or too long ago, or was said before."""


class Seal:
    """Seals and opens documents. *now_s* gives seconds since the epoch."""

    def __init__(self, secret: bytes, *, now_s: Callable[[], float]) -> None:
        assert SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(secret)
        self._box = Fernet(base64.urlsafe_b64encode(key))
        self._now_s = now_s
        self._seen: OrderedDict[str, float] = OrderedDict()

    def close(self, document: Mapping[str, Any]) -> str:
        """Return the sealed text of *document*."""
        text = json.dumps(document, default=_written, separators=(",", ":"))
        return self._box.encrypt_at_time(text.encode(), int(self._now_s())).decode("ascii")

    def open(self, sealed: str) -> dict[str, Any]:
        """Return the document.

        Raises:
            NotSealed: it is not for us, or not any more.
        """
        if len(sealed) > SEALED_BYTES_MAX or not sealed.isascii():
            raise NotSealed
        try:
            text = self._box.decrypt_at_time(sealed.encode("ascii"), GOOD_FOR_S, int(self._now_s()))
        except InvalidToken:
            raise NotSealed from None
        document = json.loads(text, object_hook=_read)
        if not isinstance(document, dict):
            raise NotSealed
        return document

    def take_once(self, request_id: str) -> None:
        """Note a request's id.

        Raises:
            NotSealed: it was taken before, or there are too many to remember.
        """
        now_s = self._now_s()
        while self._seen and next(iter(self._seen.values())) < now_s - 2 * GOOD_FOR_S - 1:
            self._seen.popitem(last=False)
        if request_id in self._seen or len(self._seen) >= SEEN_MAX:
            raise NotSealed
        self._seen[request_id] = now_s


def _written(value: object) -> Any:
    if isinstance(value, datetime):
        return {_INSTANT: value.isoformat()}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not said to peers")


def _read(found: dict[str, Any]) -> Any:
    if found.keys() == {_INSTANT}:
        return datetime.fromisoformat(found[_INSTANT])
    return found
