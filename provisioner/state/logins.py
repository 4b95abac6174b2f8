"""Logins of memcached clusters: put, rotated, listed and removed; passwords sealed.

A login is a name with one password, or two while clients move from one to the next. A cluster
without any lets everybody in, as the service's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.login_tables import MemcachedLogin
from cachefleet.provisioner.state.master_key import MasterKey
from cachefleet.provisioner.state.store import Transaction

RESOURCE = "user"
LOGINS_MAX = 3  # memcached reads eight entries; two are the control plane's own
PASSWORDS_MAX = 2


class TooManyLogins(Exception):
    """The cluster has as many as it may have."""


@dataclass(frozen=True, slots=True)
class SealedLogin:
    """A login as it is on record; its passwords can be opened with the master key."""

    cluster_uid: str
    user_name: str
    sealed_passwords: tuple[str, ...] = field(repr=False)

    def passwords(self, key: MasterKey) -> tuple[str, ...]:
        """Return the passwords in clear, the newest first.

        Raises:
            UnreadableSecret: they were sealed with another master key.
        """
        purpose = _purpose(self.cluster_uid, self.user_name)
        return tuple(key.open(one, purpose=purpose).decode() for one in self.sealed_passwords)


async def rows_of(tx: Transaction, cluster_uid: str) -> Sequence[MemcachedLogin]:
    """Return the cluster's logins in order of name."""
    query = select(MemcachedLogin).where(MemcachedLogin.cluster_uid == cluster_uid)
    return (await tx.session.scalars(query.order_by(MemcachedLogin.user_name))).all()


async def sealed_of(tx: Transaction, cluster_uid: str) -> tuple[SealedLogin, ...]:
    """Return the same as values."""
    return tuple(
        SealedLogin(row.cluster_uid, row.user_name, tuple(row.sealed_passwords))
        for row in await rows_of(tx, cluster_uid)
    )


async def put(
    tx: Transaction,
    key: MasterKey,
    *,
    cluster_uid: str,
    user_name: str,
    password: str,
    keep_previous: bool,
) -> MemcachedLogin:
    """Make *password* the newest of a login; with *keep_previous* the one before stays good.

    Raises:
        TooManyLogins: it would be one more than there may be.
    """
    row = await tx.session.get(MemcachedLogin, (cluster_uid, user_name))
    if row is None:
        if len(await rows_of(tx, cluster_uid)) >= LOGINS_MAX:
            raise TooManyLogins
        row = MemcachedLogin(cluster_uid=cluster_uid, user_name=user_name, sealed_passwords=[])
        tx.session.add(row)
    purpose = _purpose(cluster_uid, user_name)
    before = [
        one
        for one in (row.sealed_passwords if keep_previous else ())
        # The same once more is no other one, and must not push the one before out.
        if key.open(one, purpose=purpose).decode() != password
    ]
    newest = key.seal(password.encode(), purpose=purpose)
    row.sealed_passwords = [newest, *before][:PASSWORDS_MAX]
    row.changed_at = tx.now
    return row


async def remove(tx: Transaction, *, cluster_uid: str, user_name: str) -> None:
    """Forget a login.

    Raises:
        NotFound: there is none of that name.
    """
    row = await tx.session.get(MemcachedLogin, (cluster_uid, user_name))
    if row is None:
        raise NotFound(RESOURCE, user_name)
    await tx.session.delete(row)


def _purpose(cluster_uid: str, user_name: str) -> str:
    return f"memcached-login:{cluster_uid}:{user_name}"
