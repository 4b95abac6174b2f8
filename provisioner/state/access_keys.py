"""Access keys: made, listed, rotated and deleted; their secrets are sealed with the master key.

A secret is shown once, to whoever makes it. A rotation makes another key of the same account and
scope, and the old one stays good for a while, so that nobody is locked out in between.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select

from cachefleet.provisioner.state.access_tables import AccessKey
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.master_key import MasterKey
from cachefleet.provisioner.state.store import Transaction

RESOURCE = "access_key"
KEYS_MAX = 1000
ID_PREFIX = "CFAK"  # of our own, so that nobody takes one for a key of AWS
ID_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ID_RANDOM_CHARS = 16
SECRET_BYTES = 30  # 40 characters, as long as the secrets of AWS
OVERLAP_DEFAULT = timedelta(hours=1)


class KeyScope(enum.StrEnum):
    """What a key may be used for."""

    FULL = "full"
    READ_ONLY = "read-only"  # operations that ask
    CONNECT = "connect"  # elasticache:Connect: IAM authentication to caches, no API calls


class TooManyKeys(Exception):
    """The store holds as many keys as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key with its secret, which stays out of its repr."""

    access_key_id: str
    account: str
    scope: KeyScope
    created_at: datetime
    expires_at: datetime | None
    secret_access_key: str = field(repr=False)


async def create(tx: Transaction, key: MasterKey, *, account: str, scope: KeyScope) -> KeyPair:
    """Make a key pair.

    Raises:
        TooManyKeys: there are as many as there may be.
    """
    if len(await listed(tx)) >= KEYS_MAX:
        raise TooManyKeys(f"there are {KEYS_MAX} access keys: delete some first")
    pair = KeyPair(
        access_key_id=ID_PREFIX + "".join(secrets.choice(ID_CHARS) for _ in range(ID_RANDOM_CHARS)),
        account=account,
        scope=scope,
        created_at=tx.now,
        expires_at=None,
        secret_access_key=secrets.token_urlsafe(SECRET_BYTES),
    )
    tx.session.add(
        AccessKey(
            access_key_id=pair.access_key_id,
            account=account,
            scope=scope.value,
            sealed_secret=key.seal(
                pair.secret_access_key.encode(), purpose=_purpose(pair.access_key_id)
            ),
            created_at=tx.now,
        )
    )
    return pair


async def rotate(
    tx: Transaction, key: MasterKey, access_key_id: str, *, overlap: timedelta = OVERLAP_DEFAULT
) -> KeyPair:
    """Make a key in the place of another, which stays good for *overlap*.

    Raises:
        NotFound: there is no such key.
    """
    old = await _get(tx, access_key_id)
    ends_at = tx.now + overlap
    # One that was rotated before keeps the end that it was given then.
    old.expires_at = ends_at if old.expires_at is None else min(old.expires_at, ends_at)
    return await create(tx, key, account=old.account, scope=KeyScope(old.scope))


async def delete(tx: Transaction, access_key_id: str) -> None:
    """Make a key worthless at once.

    Raises:
        NotFound: there is no such key.
    """
    await tx.session.delete(await _get(tx, access_key_id))


async def listed(tx: Transaction) -> Sequence[AccessKey]:
    """Return all keys, oldest first; nothing of their secrets can be read from the rows."""
    query = select(AccessKey).order_by(AccessKey.created_at, AccessKey.access_key_id)
    return (await tx.session.scalars(query)).all()


async def find(tx: Transaction, key: MasterKey, access_key_id: str) -> KeyPair | None:
    """Return a key with its secret; None where there is none, or it has ended.

    Raises:
        UnreadableSecret: it was sealed with another master key.
    """
    row = await tx.session.get(AccessKey, access_key_id)
    if row is None or has_ended(row, tx.now):
        return None
    return open_pair(row, key)


def open_pair(row: AccessKey, key: MasterKey) -> KeyPair:
    """Return the key of *row* with its secret.

    Raises:
        UnreadableSecret: it was sealed with another master key.
    """
    secret = key.open(row.sealed_secret, purpose=_purpose(row.access_key_id))
    return KeyPair(
        access_key_id=row.access_key_id,
        account=row.account,
        scope=KeyScope(row.scope),
        created_at=row.created_at,
        expires_at=row.expires_at,
        secret_access_key=secret.decode(),
    )


async def _get(tx: Transaction, access_key_id: str) -> AccessKey:
    row = await tx.session.get(AccessKey, access_key_id)
    if row is None:
        raise NotFound(RESOURCE, access_key_id)
    return row


def has_ended(row: AccessKey, now: datetime) -> bool:
    """Tell whether a key's time is up."""
    return row.expires_at is not None and now >= row.expires_at


def _purpose(access_key_id: str) -> str:
    # Of this one key: a row cannot be given the secret of another.
    return f"access-key:{access_key_id}"
