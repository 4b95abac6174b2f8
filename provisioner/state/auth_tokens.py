"""AUTH tokens of a group: which are accepted, and what a change makes of them. Pure.

A group keeps the SHA-256 of its two newest tokens, which is what engines need to know of them. The
token itself is never written down.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

TOKENS_MAX = 2


class Strategy(enum.Enum):
    """What ``AuthTokenUpdateStrategy`` may be."""

    ROTATE = "ROTATE"
    SET = "SET"
    DELETE = "DELETE"


class NotAfterRotation(Exception):
    """SET confirms the token that ROTATE brought: this is none, or nothing is to be confirmed."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The hashes that are accepted, the newest first; *required*: nobody gets in without one."""

    sha256s: tuple[str, ...] = ()
    required: bool = False

    @property
    def enabled(self) -> bool:
        return bool(self.sha256s)


NO_TOKENS = Tokens()


def token_sha256(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def first(sha256: str) -> Tokens:
    """Return the tokens of a group that is created with one."""
    return Tokens((sha256,), required=True)


def rotated(tokens: Tokens, sha256: str) -> Tokens:
    """Return *tokens* with a newer one in front; the oldest of three is accepted no more.

    Where there was none, clients are still let in without any: they learn it one by one.
    """
    others = tuple(one for one in tokens.sha256s if one != sha256)
    return Tokens((sha256, *others)[:TOKENS_MAX], required=tokens.required)


def confirmed(tokens: Tokens, sha256: str) -> Tokens:
    """Return *tokens* with the newest alone, and needed.

    Raises:
        NotAfterRotation: *sha256* is not the newest, or there is nothing but it already.
    """
    to_confirm = len(tokens.sha256s) == TOKENS_MAX or (tokens.enabled and not tokens.required)
    if not to_confirm or tokens.sha256s[0] != sha256:
        raise NotAfterRotation
    return first(sha256)
