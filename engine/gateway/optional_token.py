"""While a first AUTH token is introduced: clients with the token and without it are let in. Pure.

Without a required token the engine's default user has no password, and then the engine refuses
``AUTH <token>`` as a mistake. So that becomes ``AUTH default <token>``, which it takes. It would
take any password: a token that is not one of the group's is sent for a user that does not exist,
and the engine answers ``WRONGPASS`` as it would for a password.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final

DEFAULT_USER: Final = b"default"
NOBODY: Final = b"cachefleet-nobody"  # no access string can name it: no group has such a user


def rewriting(sha256s: Sequence[str]) -> Callable[[list[bytes]], list[bytes]]:
    """Return what rewrites opening commands for a group whose tokens have these hashes."""

    def rewrite(words: list[bytes]) -> list[bytes]:
        match words[0].upper(), words:
            case b"AUTH", [name, token]:
                return [name, _user(token), token]
            case b"AUTH", [name, user, token] if user == DEFAULT_USER:
                return [name, _user(token), token]
            case b"HELLO", [_, _, *options]:
                return [*words[:2], *_hello(options)]
        return words

    def _hello(options: list[bytes]) -> list[bytes]:
        result = list(options)
        for at, word in enumerate(options[:-2]):
            if word.upper() == b"AUTH" and options[at + 1] == DEFAULT_USER:
                result[at + 1] = _user(options[at + 2])
                break
        return result

    def _user(token: bytes) -> bytes:
        found = hashlib.sha256(token).hexdigest()
        # All are compared, always: how long it takes tells nothing.
        known = [hmac.compare_digest(found, sha256) for sha256 in sha256s]
        return DEFAULT_USER if any(known) else NOBODY

    return rewrite
