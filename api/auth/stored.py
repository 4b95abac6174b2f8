"""The credential store over the records: keys are read from the database and opened when needed.

What was read is good for a second, so that a busy client costs one read a second and a key that
was deleted, from whatever process, is refused within one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from cachefleet.api.auth.identity import Credential
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.state import access_keys
from cachefleet.provisioner.state.access_keys import KeyPair
from cachefleet.provisioner.state.master_key import MasterKey, UnreadableSecret
from cachefleet.provisioner.state.scope import Scope

if TYPE_CHECKING:
    from cachefleet.provisioner.state.store import Store

KEPT_S = 1.0
KEPT_MAX = 1024  # strangers may try as many ids as they like
NO_SCOPE = Scope("", "")  # keys are of an account, in every region

log = structlog.get_logger(__name__)


class StoredCredentials:
    """Implements :class:`cachefleet.api.auth.identity.CredentialStore`."""

    def __init__(self, store: Store, key: MasterKey, *, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Credential | None]] = OrderedDict()

    async def secret_for(self, access_key_id: str) -> Credential | None:
        """Return the credential of a key that is good; None where there is none."""
        now_s = self._clock.monotonic_s()
        kept = self._kept.get(access_key_id)
        if kept is not None and now_s - kept[0] < KEPT_S:
            return kept[1]
        credential = await self._read(access_key_id)
        self._kept[access_key_id] = (now_s, credential)
        self._kept.move_to_end(access_key_id)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return credential

    async def _read(self, access_key_id: str) -> Credential | None:
        try:
            async with self._store.read(NO_SCOPE) as tx:
                pair = await access_keys.find(tx, self._key, access_key_id)
        except UnreadableSecret as error:
            log.warning("access_key_unreadable", access_key_id=access_key_id, reason=str(error))
            return None
        return None if pair is None else _credential(pair)


def _credential(pair: KeyPair) -> Credential:
    return Credential(
        pair.access_key_id,
        pair.secret_access_key,
        account=pair.account,
        expires_at=pair.expires_at,
        key_scope=pair.scope,
    )
