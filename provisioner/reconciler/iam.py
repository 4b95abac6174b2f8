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
NOTHING_TO_TELL = "no route needs keys"

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


class IamKeys:
    """The keys that the gateway checks tokens with: given out with its routes, and kept current.

    Access keys are managed by other processes: there is nobody to hear from that one has come or
    gone. Whether the gateway has to be told is decided by what it was told last, by whomever: a
    key that came with a change of routes and is gone a moment later has to go from the gateway.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._told: str | None = None

    async def text(self, routes: Sequence[Route]) -> str | None:
        """Return the file of the keys for tokens at *routes*; None where nobody needs any."""
        wanted = {
            (iam.account, iam.region)
            for route in routes
            if route.options.auth is not None and (iam := route.options.auth.iam) is not None
        }
        if not wanted:
            self._told = NOTHING_TO_TELL
            return None
        key = await asyncio.to_thread(ensure_master_key, self._fleet.settings.master_key_path)
        async with self._fleet.store.read(NO_SCOPE) as tx:
            pairs, state, now = await _good_pairs(tx, key), await _state(tx), tx.now
        self._told = state
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

    async def watch(self, sync: SyncEndpoints) -> None:
        """Look again and again whether keys have come or gone, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self.look(sync)
            except (DBAPIError, LaunchFailed, NodeUnreachable) as error:
                log.warning("iam_keys_not_told", reason=type(error).__name__)

    async def look(self, sync: SyncEndpoints) -> None:
        """Have the gateway told where it knows other keys than there are."""
        if self._told == NOTHING_TO_TELL:
            return  # routes that need keys bring them along
        async with self._fleet.store.read(NO_SCOPE) as tx:
            state = await _state(tx)
        if state != self._told:
            await sync(None)

    def forget(self) -> None:
        """Take note that what was last returned may not have arrived."""
        self._told = None


async def _state(tx: Transaction) -> str:
    """Return what changes whenever the gateway needs other keys: ids, ends, the day."""
    rows = await access_keys.listed(tx)
    seen = [
        (row.access_key_id, row.scope) for row in rows if not access_keys.has_ended(row, tx.now)
    ]
    return hashlib.sha256(repr((seen, _days(tx.now))).encode()).hexdigest()
