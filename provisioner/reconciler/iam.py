"""What the gateway is told so that it can check IAM tokens: users, and keys to check with.

The gateway gets no access key, only what is derived from one for a region and a day
(:func:`~cachefleet.engine.gateway.iam_token.signing_key`), for some days to come: clients are let
in while the control plane is away, and what lies in the gateway's file opens nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.engine.gateway.iam_keys import SigningKey, render_keys
from cachefleet.engine.gateway.iam_token import signing_key
from cachefleet.engine.gateway.routes import IamOptions, IamUser, Route
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.planning.access import internal_password
from cachefleet.provisioner.reconciler.fleet import Fleet, SyncEndpoints
from cachefleet.provisioner.state import access_keys, users
from cachefleet.provisioner.state.access_keys import KeyPair, KeyScope
from cachefleet.provisioner.state.master_key import MasterKey, UnreadableSecret, ensure_master_key
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup

DAYS_BEFORE, DAYS_AHEAD = 1, 3  # a token of yesterday may be good for a quarter of an hour
WATCH_S = 1.0  # how soon a key that was made or deleted, in whatever process, counts
NO_SCOPE = Scope("", "")
KEYS_FILE = "iam-keys.json"

log = structlog.get_logger(__name__)


async def iam_options(
    tx: Transaction, groups: Iterable[ReplicationGroup], keys_path: Path
) -> dict[str, IamOptions]:
    """Return what is needed to check tokens, for the groups that have users of IAM, by uid.

    *tx* may be of any scope: each group is looked up in its own.
    """
    found = {}
    for group in groups:
        if not group.user_group_ids:
            continue
        inside = tx.within(group.scope)
        members = await users.users_of(inside, group.user_group_ids)
        known = tuple(
            IamUser(
                user_name=user.user_name,
                password=internal_password(group.replication_secret, user.name),
            )
            for user in members
            if user.authentication_type == users.IAM
        )
        if known:
            found[group.uid] = IamOptions(
                cache_name=group.name,
                account=group.account,
                region=group.scope.home.region,
                serverless=group.serverless_uid is not None,
                keys_path=str(keys_path),
                users=known,
            )
    return found


async def keys_text(routes: Sequence[Route], fleet: Fleet) -> str | None:
    """Return the file of the keys that tokens for *routes* are signed with; None without need."""
    wanted = {
        (iam.account, iam.region)
        for route in routes
        if route.options.auth is not None and (iam := route.options.auth.iam) is not None
    }
    if not wanted:
        return None
    key = await asyncio.to_thread(ensure_master_key, fleet.settings.master_key_path)
    async with fleet.store.read(NO_SCOPE) as tx:
        pairs = await _good_pairs(tx, key)
        now = tx.now
    return render_keys(
        SigningKey(
            access_key_id=pair.access_key_id,
            account=account,
            region=region,
            day=day,
            key=signing_key(pair.secret_access_key, day=day, region=region),
        )
        for account, region in sorted(wanted)
        for pair in pairs
        if pair.account == account
        for day in _days(now)
    )


async def _good_pairs(tx: Transaction, key: MasterKey) -> list[KeyPair]:
    pairs = []
    for row in await access_keys.listed(tx):
        if row.scope == KeyScope.READ_ONLY or access_keys.has_ended(row, tx.now):
            continue
        try:
            pairs.append(access_keys.open_pair(row, key))
        except UnreadableSecret as error:
            log.warning("access_key_unreadable", id=row.access_key_id, reason=str(error))
    return pairs


def _days(now: datetime) -> list[str]:
    days = range(-DAYS_BEFORE, DAYS_AHEAD + 1)
    return [(now + timedelta(days=day)).strftime("%Y%m%d") for day in days]


async def key_state(fleet: Fleet) -> str:
    """Return what changes whenever the gateway needs other keys: ids, ends, the day."""
    async with fleet.store.read(NO_SCOPE) as tx:
        rows = await access_keys.listed(tx)
        seen = [
            (row.access_key_id, row.scope) for row in rows if not access_keys.has_ended(row, tx.now)
        ]
        text = repr((seen, _days(tx.now)))
    return hashlib.sha256(text.encode()).hexdigest()


async def watch_keys(fleet: Fleet, sync: SyncEndpoints) -> None:
    """Have the gateway told of keys that come and go, until cancelled.

    Access keys are managed by other processes: there is nobody to hear it from.
    """
    seen: str | None = None
    while True:
        await asyncio.sleep(WATCH_S)
        try:
            state = await key_state(fleet)
            if state != seen:
                await sync(None)
                seen = state
        except (DBAPIError, LaunchFailed, NodeUnreachable) as error:
            log.warning("iam_keys_not_told", reason=type(error).__name__)
