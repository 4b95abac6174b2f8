"""What is recorded of the migration into a serverless cache, and the words for it.

``ServerlessCache.migration`` is empty without one, and else has ``phase``; ``source`` (Address and
Port as they were given); ``secret_arn``; ``ca`` (PEM, empty without TLS); ``login`` (sealed, once
the secret was read); ``nodes`` (the source's primaries with their slots: clients are led there as
long as there are any); ``auto`` and ``clear`` of the last start; ``dirty`` once data came that may
have to be cleared; ``held`` while clients wait for the cut-over.
"""

from __future__ import annotations

import json
from typing import Any, Final

from cachefleet.engine.outside import OutsideAccess
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.master_key import MasterKey
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.store import Transaction

PREPARING, READY = "preparing", "ready"
SYNCING, IN_SYNC = "syncing", "in-sync"
STOPPING, STOPPED = "stopping", "stopped"
COMPLETING = "cutting-over"

STARTABLE: Final = frozenset({READY, STOPPED})
STOPPABLE: Final = frozenset({SYNCING, IN_SYNC})
ENDABLE: Final = frozenset({READY, STOPPED, SYNCING, IN_SYNC})  # by force

MANUAL, AUTO = "manual", "auto"


def phase_of(cache: ServerlessCache) -> str | None:
    """Return where the migration of a cache is; None without one."""
    found: str | None = cache.migration.get("phase")
    return found


def begin_cut_over(
    tx: Transaction, cache: ServerlessCache, group_uid: str, *, force: bool = False, tries: int = 0
) -> None:
    """Write down that a cache is to serve its clients itself, and file it; *tx* is the shadow's."""
    cache.migration = {**cache.migration, "phase": COMPLETING}
    if cache.status != lifecycle.MODIFYING:
        lifecycle.fire(cache, lifecycle.Event.MODIFY)
    tx.enqueue(
        OperationKind.CUT_OVER, subject_uid=group_uid, payload={"force": force, "tries": tries}
    )


def seal_login(key: MasterKey, cache_uid: str, username: str, password: str) -> str:
    """Return a login as it is recorded."""
    return key.seal(json.dumps([username, password]).encode(), purpose=_purpose(cache_uid))


def access_of(told: dict[str, Any], key: MasterKey, cache_uid: str) -> OutsideAccess:
    """Return how the source lets us in, by ``login`` and ``ca`` of *told*.

    Raises:
        UnreadableSecret: the login was sealed with another key.
    """
    username, password = "", ""
    if told.get("login"):
        username, password = json.loads(key.open(told["login"], purpose=_purpose(cache_uid)))
    return OutsideAccess(username=username, password=password, ca=told.get("ca") or "")


def _purpose(cache_uid: str) -> str:
    return f"migration into {cache_uid}"
