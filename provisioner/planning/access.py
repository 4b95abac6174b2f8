"""Decide which users a node has: the lines of its configuration, and what a running one lacks.

Pure. A node knows the users of the user groups of its cache under their user names, with password
hashes; nobody else but the control plane and replication. Who authenticates with IAM has a password
that only the gateway knows: it checks the token and then logs in for the client. Where no user is
named ``default``, the engine's own one is off.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cachefleet.engine.valkey.access_strings import compile_rules
from cachefleet.engine.valkey.acl import CLOSED_LISTINGS, split_line, user_line

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessUser:
    """A user as nodes need it. Exactly one of the three ways to authenticate is set."""

    user_id: str
    user_name: str
    access_string: str
    password_sha256s: tuple[str, ...] = field(default=(), repr=False)
    no_password: bool = False
    iam: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNames:
    """What decides how rules are written for one engine."""

    closed: tuple[str, ...]
    channels_default: str  # allchannels | resetchannels
    known_commands: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSteps:
    """What makes a running node's users those of *lines*, in this order."""

    lines: tuple[str, ...]  # set whole, each in one step
    removed: tuple[str, ...]  # their connections end with them
    severed: tuple[str, ...]  # users that stay, and whose connections end


def internal_password(secret: str, user_id: str) -> str:
    """Return what the gateway logs an IAM user in with; it tells nothing of *secret*."""
    return hmac.digest(secret.encode(), f"iam:{user_id}".encode(), "sha256").hex()


def access_lines(
    users: Sequence[AccessUser], *, names: EngineNames, secret: str
) -> tuple[str, ...]:
    """Return the ``user`` lines of a node of a cache with user groups, ``default`` always there.

    *secret* is the cache's own, from which internal passwords are derived.
    """
    lines = [_line(user, names, secret) for user in users]
    if not any(user.user_name == DEFAULT for user in users):
        lines.insert(0, user_line(DEFAULT, enabled=False, rules=("-@all",)))
    return tuple(lines)


def _line(user: AccessUser, names: EngineNames, secret: str) -> str:
    hashes = user.password_sha256s
    if user.iam:
        hashes = (hashlib.sha256(internal_password(secret, user.user_id).encode()).hexdigest(),)
    words = compile_rules(
        user.access_string,
        closed=(*names.closed, *CLOSED_LISTINGS),
        channels_default=names.channels_default,
        known_commands=names.known_commands,
    )
    enabled = not any(word.lower() == "off" for word in _switches(words))
    return user_line(
        user.user_name,
        enabled=enabled,
        password_sha256s=hashes,
        no_password=user.no_password,
        rules=[word for word in words if word.lower() not in ("on", "off")],
    )


def _switches(words: Sequence[str]) -> list[str]:
    """Return the last ``on`` or ``off``: it is the one that counts."""
    return [word for word in words if word.lower() in ("on", "off")][-1:]


def plan_access(
    *,
    lines: Sequence[str],
    present: Collection[str],
    own: Collection[str],
    severed: Collection[str] = (),
) -> AccessSteps:
    """Return the steps for a node that has the users *present*.

    *own* are the names of the control plane's users; *severed* are names that lead to another user
    than before, or to none.
    """
    wanted = {split_line(line)[0] for line in lines}
    removed = sorted(set(present) - wanted - set(own) - {DEFAULT})
    return AccessSteps(
        lines=tuple(lines),
        removed=tuple(removed),
        severed=tuple(sorted((set(severed) & (wanted | {DEFAULT})) - set(own))),
    )
