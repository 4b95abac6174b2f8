"""Make the users of running nodes those of the record, on all nodes of a subject at once.

Lines are set before connections are ended: who is thrown out and comes back meets the new rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import structlog

from cachefleet.engine.types import Engine
from cachefleet.provisioner.planning.access import plan_access
from cachefleet.provisioner.reconciler.binaries import binary_for
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet
from cachefleet.provisioner.reconciler.launch import REPLICATION_USER, acl_lines
from cachefleet.provisioner.reconciler.observe import is_kept_down
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

OWN_USERS = frozenset({ADMIN_USER, REPLICATION_USER})


async def ensure_access(
    record: SubjectRecord, fleet: Fleet, *, severed: Collection[str] = ()
) -> None:
    """Make the users of every live node those of the record; connections that are there stay.

    Only those end that are of users who are not on record any more, or are *severed*.

    Raises:
        NodeUnreachable, CommandRefused: a node did not take them; others may have.
    """
    if record.engine is Engine.MEMCACHED:
        return
    async with fleet.giving_rights(record.lease.subject_uid):
        if record.cluster_enabled:
            # Another region may have been given the lead since the record was read, and its rights
            # by whoever did that: to give them back, if only for an instant, would lose writes.
            async with fleet.store.read(record.lease.scope) as tx:
                fresh = await load_subject(tx, record.lease)
            if fresh is None:
                return
            record = fresh
        await _ensure(record, fleet, severed)


async def _ensure(record: SubjectRecord, fleet: Fleet, severed: Collection[str]) -> None:
    # A node that has just been created was started with the record's own users.
    settled = [
        node
        for node in record.live_nodes
        if node.status != lifecycle.NODE_CREATING and not await is_kept_down(node, fleet)
    ]
    if not settled:
        return
    lines = acl_lines(record, fleet, binary_for(record, fleet))
    await asyncio.gather(*(_push(node, lines, fleet, severed) for node in settled))


async def _push(
    node: CacheNode, lines: Sequence[str], fleet: Fleet, severed: Collection[str]
) -> None:
    adapter = fleet.valkey(node)
    present = await adapter.acl_setuser(lines)
    steps = plan_access(lines=lines, present=present, own=OWN_USERS, severed=severed)
    await adapter.acl_deluser(steps.removed)
    for name in steps.severed:
        await adapter.kill_user(name)
    log.info(
        "node_access_set",
        node=node.uid,
        member=node.member_name,
        users=len(lines),
        removed=len(steps.removed),
    )
