"""What the provisioner would do to the records, without a process: everything works at once.

``settle`` takes all that is filed for a scope and makes statuses true, so that tests of the
front-end get from one state to the next.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select

from cachefleet.provisioner.state import lifecycle, users
from cachefleet.provisioner.state.access_tables import User
from cachefleet.provisioner.state.lifecycle import Event
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    NodeGroup,
    Operation,
    ReplicationGroup,
    Subject,
    Tag,
)
from tests.support.api import SCOPE, Api

_DONE = {
    lifecycle.CREATING: Event.PROVISIONED,
    lifecycle.MODIFYING: Event.MODIFIED,
    lifecycle.REBOOTING: Event.REBOOTED,
}
_FAILOVER = {"enabling": "enabled", "disabling": "disabled"}


async def settle(api: Api) -> None:
    """Conclude everything that is on its way in the scope of the tests."""
    async with api.store.begin(SCOPE) as tx:
        await tx.session.execute(delete(Operation))
        everyone = (await tx.session.scalars(select(User.name))).all()
        await users.rest(tx, everyone, [group.name for group in await users.groups(tx)])
        for cluster in (await tx.session.scalars(select(CacheCluster))).all():
            await _settle_cluster(tx, cluster)
    async with api.store.begin(SCOPE) as tx:
        for group in (await tx.session.scalars(select(ReplicationGroup))).all():
            await _settle_group(tx, group)


async def put_status(
    api: Api, table: type[CacheCluster | ReplicationGroup], name: str, status: str
) -> None:
    """Put a resource into a status, however it would have come there."""
    async with api.store.begin(SCOPE) as tx:
        (await tx.get(table, name)).status = status


async def _settle_cluster(tx: Transaction, cluster: CacheCluster) -> None:
    for node in list(cluster.nodes):
        if node.status == lifecycle.NODE_DELETING:
            await _forget_addresses(tx, EndpointAddress.node_uid == node.uid)
            cluster.nodes.remove(node)
        else:
            await _serve(tx, cluster, node)
    if cluster.status == lifecycle.DELETING:
        await tx.session.execute(delete(Tag).where(Tag.resource_name == cluster.name))
        await tx.session.delete(cluster)
        await tx.session.flush()
        if cluster.replication_group_uid is None:
            await _forget_subject(tx, cluster.uid)
        return
    cluster.num_cache_nodes = len(cluster.nodes)
    cluster.pending = {}
    if cluster.status in _DONE:
        lifecycle.fire(cluster, _DONE[cluster.status])
    if cluster.engine == "memcached":
        await _address(tx, cluster.uid, "configuration", cluster.port)


async def _settle_group(tx: Transaction, group: ReplicationGroup) -> None:
    if group.status == lifecycle.DELETING:
        await tx.session.execute(delete(Tag).where(Tag.resource_name == group.name))
        for member in list(group.members):  # the one that was to be kept
            await tx.new_subject("cache_cluster", member.uid)
            group.members.remove(member)
            for node in member.nodes:
                node.subject_uid, node.node_group_uid = member.uid, None
        await tx.session.flush()
        await tx.session.delete(group)
        await tx.session.flush()
        await _forget_subject(tx, group.uid)
        return
    for shard in group.node_groups:
        shard.status = lifecycle.AVAILABLE
    group.pending = {k: v for k, v in group.pending.items() if k != "UserGroups"}
    group.automatic_failover = _FAILOVER.get(group.automatic_failover, group.automatic_failover)
    if group.status in _DONE:
        lifecycle.fire(group, _DONE[group.status])
    for kind in ("configuration",) if group.cluster_enabled else ("primary", "reader"):
        await _address(tx, group.uid, kind, group.port)


async def _serve(tx: Transaction, cluster: CacheCluster, node: CacheNode) -> None:
    node.status = lifecycle.NODE_AVAILABLE
    if node.host is None:
        node.host = await _address(tx, node.subject_uid, "node", cluster.port, node_uid=node.uid)
        node.port = cluster.port


async def _address(
    tx: Transaction, subject_uid: str, kind: str, port: int, *, node_uid: str | None = None
) -> str:
    known = select(EndpointAddress).where(
        EndpointAddress.subject_uid == subject_uid,
        EndpointAddress.kind == kind,
        EndpointAddress.node_uid.is_(node_uid)
        if node_uid is None
        else EndpointAddress.node_uid == node_uid,
    )
    row = (await tx.session.scalars(known)).first()
    if row is None:
        count = (await tx.session.scalar(select(func.max(EndpointAddress.id)))) or 0
        row = EndpointAddress(
            kind=kind,
            subject_uid=subject_uid,
            node_uid=node_uid,
            host=f"127.100.{count // 250}.{count % 250 + 1}",
            port=port,
        )
        tx.session.add(row)
        await tx.session.flush()
    return row.host


async def _forget_addresses(tx: Transaction, criterion: object) -> None:
    await tx.session.execute(delete(EndpointAddress).where(criterion))  # type: ignore[arg-type]


async def _forget_subject(tx: Transaction, uid: str) -> None:
    await _forget_addresses(tx, EndpointAddress.subject_uid == uid)
    await tx.session.execute(delete(NodeGroup).where(NodeGroup.replication_group_uid == uid))
    await tx.session.execute(delete(Subject).where(Subject.uid == uid))
