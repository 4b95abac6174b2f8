"""Tell the regions that follow a group where it is to be followed now.

A primary endpoint stays where it is, whoever is primary. Where the gateway has it, other regions
follow the engine behind, and that is another one after each failover.
"""

from __future__ import annotations

from sqlalchemy import select

from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.state import global_groups
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.tables import ReplicationGroup


async def lead_followers(record: SubjectRecord, fleet: Fleet) -> None:
    """Have the groups that follow *record*'s, without cluster mode, follow where it leads now."""
    group = record.group
    if group is None or group.cluster_enabled or group.global_role != global_groups.PRIMARY:
        return
    async with fleet.store.read(group.scope) as tx:
        fresh = await tx.session.get(ReplicationGroup, group.uid)
        leads = None if fresh is None else await global_groups.lead_address(tx, fresh)
        query = select(ReplicationGroup).where(
            ReplicationGroup.account == group.account,
            ReplicationGroup.global_name == group.global_name,
            ReplicationGroup.global_role == global_groups.SECONDARY,
        )
        followers = (await tx.session.scalars(query)).unique().all()
    if leads is None:
        return
    for follower in followers:
        if not _is_led_elsewhere(follower, leads):
            continue
        async with fleet.store.begin(follower.scope) as tx:
            row = await tx.session.get(ReplicationGroup, follower.uid, with_for_update=True)
            # It may lead itself by now.
            if row is not None and row.global_role == global_groups.SECONDARY:
                global_groups.follow(row, leads)
                tx.enqueue(OperationKind.SETTLE, subject_uid=row.uid)


def _is_led_elsewhere(group: ReplicationGroup, leads: tuple[str, int]) -> bool:
    told = [shard.upstream for shard in group.node_groups]
    return any(one is None or (one["host"], one["port"]) != leads for one in told)
