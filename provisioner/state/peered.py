"""Global datastores that have members in other cachefleets, in our own records.

Everybody has a copy of the record. Ours is brought up to date here (:func:`adopt`), and our own
groups are made to be what it says (:func:`obey`): in one transaction, so that no crash leaves a
group that leads under a record in which it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import delete, select

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.state import (
    global_groups,
    lifecycle,
    parameter_groups,
    peer_feeds,
    peer_parameters,
)
from cachefleet.provisioner.state.global_groups import PRIMARY, SECONDARY
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.operations import (
    OperationKind,
    OperationState,
    finish,
    open_operations,
)
from cachefleet.provisioner.state.peer_records import (
    Asked,
    AskedShards,
    Card,
    Lead,
    PeeredMember,
    PeeredRecord,
    Told,
)
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheNode,
    Fleet,
    Operation,
    ReplicationGroup,
    Subject,
)

log = structlog.get_logger(__name__)

SOURCE = "replication-group"
HANDING = "handing"  # of what is pending: the lead is on its way to another cachefleet
DONE = "done"
# Of what is pending: the work during which our own groups are what it makes of them.
OWN_WORK = frozenset({"failover", "reshard"})


async def own_fleet(tx: Transaction) -> str:
    """Return the id of our own cachefleet; empty where no provisioner ever ran on these records."""
    return (await tx.session.scalars(select(Fleet.fleet_id))).one_or_none() or ""


async def own_authority(tx: Transaction) -> str:
    """Return who vouches for our nodes, in PEM; empty while that is not known."""
    return (await tx.session.scalars(select(Fleet.authority))).one_or_none() or ""


async def publish_authority(tx: Transaction, authority: str) -> None:
    """Write down who vouches for our nodes."""
    row = (await tx.session.scalars(select(Fleet))).one_or_none()
    if row is not None and row.authority != authority:
        row.authority = authority


def is_peered(row: GlobalGroup) -> bool:
    """Tell whether another cachefleet has a member."""
    return any(member.fleet is not None for member in row.members)


def is_led_here(row: GlobalGroup) -> bool:
    """Tell whether a region of ours leads, so that the record is ours to write."""
    return global_groups.primary_of(row).fleet is None


# -- what is told ----------------------------------------------------------------------------------


def record_of(row: GlobalGroup, own: str) -> PeeredRecord:
    """Return our copy of the record."""
    return PeeredRecord(
        epoch=row.epoch,
        description=row.description,
        status=row.status,
        handing=bool(row.pending.get(HANDING)),
        members=tuple(
            PeeredMember(
                region=member.region,
                group_name=member.group_name,
                role="PRIMARY" if member.role == PRIMARY else "SECONDARY",
                status=member.status,
                fleet=member.fleet or own,
                asked=None if member.asked is None else Asked.model_validate(member.asked),
                card=None
                if member.fleet is None or member.card is None
                else Card.model_validate(member.card),
            )
            for member in row.members
        ),
    )


async def told_of(tx: Transaction, name: str) -> Told:
    """Return what we say of a global datastore of the transaction's account."""
    own = await own_fleet(tx)
    row = await global_groups.find(tx, name)
    if row is None:
        return Told(fleet=own)
    groups = await global_groups.groups_of(tx, row)
    cards = {
        member.region: await card_of(tx, groups[member.group_uid], member)
        for member in row.members
        if member.fleet is None and member.group_uid in groups
    }
    parameters = await peer_parameters.told(tx, row)
    return Told(fleet=own, record=record_of(row, own), cards=cards, parameters=parameters)


async def card_of(tx: Transaction, group: ReplicationGroup, member: GlobalMember) -> Card:
    """Return what we say of a group of ours."""
    head = _head(group)
    return Card(
        status=group.status,
        role=group.global_role,
        automatic_failover=group.automatic_failover,
        node_type=group.node_type,
        engine=group.engine,
        engine_version=group.engine_version,
        cluster_enabled=group.cluster_enabled,
        auth_token_enabled=group.auth_token_enabled,
        transit_encryption_enabled=group.transit_encryption_enabled,
        at_rest_encryption_enabled=group.at_rest_encryption_enabled,
        node_groups=peer_feeds.card_shards(group),
        endpoint=await followed_at(tx, group),
        head=None if head is None else head.host,
        done=str((member.card or {}).get(DONE, "")),
        authority=await own_authority(tx) if group.transit_encryption_enabled else "",
    )


async def lead_of(tx: Transaction, catalog: Any, group: ReplicationGroup) -> Lead:
    """Return what a new secondary takes over from *group*, which leads."""
    inside = tx.within(group.scope)
    parameters = await parameter_groups.get(inside, catalog, group.parameter_group_name)
    return Lead(
        engine=group.engine,
        engine_version=group.engine_version,
        node_type=group.node_type,
        port=group.port,
        automatic_failover=group.automatic_failover,
        cluster_enabled=group.cluster_enabled,
        at_rest_encryption_enabled=group.at_rest_encryption_enabled,
        transit_encryption_enabled=group.transit_encryption_enabled,
        transit_encryption_mode=group.transit_encryption_mode,
        auth_token_sha256s=tuple(group.auth_token_sha256s),
        replication_secret=group.replication_secret,
        node_groups=peer_feeds.card_shards(group),
        endpoint=await followed_at(tx, group),
        family=parameters.family,
        parameters=dict(parameters.values),
        authority=await own_authority(tx) if group.transit_encryption_enabled else "",
    )


async def followed_at(tx: Transaction, group: ReplicationGroup) -> tuple[str, int] | None:
    """Return where other cachefleets follow a group without cluster mode: by TLS, if it has that.

    Where the gateway ends TLS for want of an engine that has it, they come through the gateway.
    """
    if group.cluster_enabled or not group.transit_encryption_enabled:
        return await global_groups.lead_address(tx, group)
    for shard in group.node_groups:
        node = peer_feeds.primary_node(shard)
        if node is not None and node.host and node.replication_port:
            return node.host, node.replication_port
    return await global_groups.endpoint_address(tx, group)


def _head(group: ReplicationGroup) -> CacheNode | None:
    nodes = (node for shard in group.node_groups for node in shard.nodes)
    return next((node for node in nodes if node.role == NodeRole.PRIMARY), None)


# -- what is made of it ----------------------------------------------------------------------------


async def adopt(tx: Transaction, row: GlobalGroup, record: PeeredRecord, own: str) -> None:
    """Write *record* down as our copy, and make our groups what it says."""
    led = is_led_here(row)
    row.epoch, row.description, row.status = record.epoch, record.description, record.status
    rows = {member.region: member for member in row.members}
    for told in record.members:
        member = rows.pop(told.region, None)
        if member is None:
            if told.fleet == own:
                continue  # it is not ours any more, whoever believes it is
            member = new_member(row, told)
        member.role, member.status = told.role, told.status
        asked = None if told.asked is None else told.asked.model_dump()
        if member.asked != asked:
            member.asked = asked
        if member.fleet is not None:
            card = None if told.card is None else told.card.model_dump(mode="json")
            if member.card != card:
                member.card = card
    for gone in rows.values():
        row.members.remove(gone)
    if led and not is_led_here(row):
        row.pending = {}
        log.warning("global_group_deposed", name=row.name, epoch=row.epoch)
    await obey(tx, row)


def begin_copy(row: GlobalGroup, told: Told) -> None:
    """Write down what the cachefleet that leads says, where we are about to have a member."""
    assert told.record is not None, "who lets in has a record"
    known = {member.region for member in row.members}
    for one in told.record.members:
        if one.region not in known and one.fleet == told.fleet:
            member = new_member(row, one)
            card = told.cards.get(one.region)
            member.card = None if card is None else card.model_dump(mode="json")
        elif one.region not in known and one.card is not None:
            new_member(row, one)  # of a third one; it is asked itself from now on
    if not known:
        row.epoch, row.description = told.record.epoch, told.record.description
        row.status = told.record.status


def new_member(row: GlobalGroup, told: PeeredMember) -> GlobalMember:
    """Add a member that another cachefleet has."""
    member = GlobalMember(
        uid=new_uid(),
        account=row.account,
        global_uid=row.uid,
        group_uid=new_uid(),  # of nothing here; it tells members apart
        group_name=told.group_name,
        region=told.region,
        role=told.role,
        status=told.status,
        fleet=told.fleet,
    )
    row.members.append(member)
    return member


async def obey(tx: Transaction, row: GlobalGroup) -> None:
    """Make our groups what the record says: who leads, who follows whom, who belongs to it."""
    if is_led_here(row) and row.pending.get("action") in OWN_WORK:
        file_settling(tx, row)  # whoever does that writes our groups, and looks at the others
        return
    groups = await _groups_named(tx, row)
    leader = global_groups.primary_of(row)
    mine = {m.group_uid: m for m in row.members if m.fleet is None}
    told = await _told_where(tx, leader, groups)
    for uid, group in groups.items():
        member = mine.get(uid)
        asked = None if member is None or member.asked is None else Asked(**member.asked)
        if member is None or (asked is not None and asked.leave):
            let_go(tx, group)
            if member is not None:
                row.members.remove(member)
            continue
        if group.cluster_enabled:
            rests = asked is not None and asked.rests
            leads_here = groups.get(leader.group_uid)
            _take_fed_role(tx, row, member, group, leads_here, rests=rests)
        else:
            _take_role(tx, row, member, group, told)
        _take_changes(tx, member, group, asked)
    if not any(member.fleet is None for member in row.members):
        await forget(tx, row)
    elif is_led_here(row):
        file_settling(tx, row)


def let_go(tx: Transaction, group: ReplicationGroup) -> None:
    """Make a group one that belongs to nothing: it keeps its data, and leads."""
    global_groups.lead(group)
    group.global_name = group.global_role = None
    _settle(tx, group)
    _say(tx, group, f"Replication group {group.name} left its global datastore and takes writes")


async def forget(tx: Transaction, row: GlobalGroup) -> None:
    """Remove our copy of the record, with whatever was to be done to it."""
    for operation in await open_operations(tx, row.uid):
        await finish(tx, operation.id, OperationState.DONE, "it is gone")
    await tx.session.delete(row)
    await tx.session.flush()
    await tx.session.execute(delete(Subject).where(Subject.uid == row.uid))


async def dissolve(tx: Transaction, row: GlobalGroup) -> None:
    """Let all of our groups go: the cachefleet that led has no such global datastore any more."""
    for group in (await _groups_named(tx, row)).values():
        let_go(tx, group)
    await forget(tx, row)


def take_over(tx: Transaction, row: GlobalGroup, member: GlobalMember) -> None:
    """Have *member*, of ours, lead from now on; the caller has the groups obey."""
    row.epoch += 1
    for one in row.members:
        one.role = PRIMARY if one is member else SECONDARY
        one.asked = None
    row.status, row.pending = global_groups.MODIFYING, {}


def file_settling(tx: Transaction, row: GlobalGroup, token: str = "") -> None:
    """Have the global datastore's record settled; once is enough."""
    operation: Operation = tx.enqueue(OperationKind.SETTLE_GLOBAL, subject_uid=row.uid, token=token)
    operation.account, operation.region = row.account, row.region


async def _groups_named(tx: Transaction, row: GlobalGroup) -> dict[str, ReplicationGroup]:
    """Return our groups that are members, or believe they are."""
    query = select(ReplicationGroup).where(
        ReplicationGroup.account == row.account, ReplicationGroup.global_name == row.name
    )
    rows = (await tx.session.scalars(query.with_for_update())).unique().all()
    return {group.uid: group for group in rows}


async def _told_where(
    tx: Transaction, leader: GlobalMember, groups: Mapping[str, ReplicationGroup]
) -> dict[str, Any] | None:
    """Return what shards without cluster mode follow; None where nobody has said."""
    if leader.fleet is None:
        group = groups.get(leader.group_uid)
        at = None if group is None else await global_groups.lead_address(tx, group)
        return None if at is None else global_groups.upstream_at(at)
    card = None if leader.card is None else Card.model_validate(leader.card)
    if card is None or card.endpoint is None:
        return None
    if not card.transit_encryption_enabled:
        return global_groups.upstream_at(card.endpoint)
    return global_groups.upstream_at(card.endpoint, ca=card.authority) if card.authority else None


def _take_role(
    tx: Transaction,
    row: GlobalGroup,
    member: GlobalMember,
    group: ReplicationGroup,
    told: Mapping[str, Any] | None,
) -> None:
    if group.status == lifecycle.DELETING:
        return
    follows = [shard.upstream for shard in group.node_groups if shard.upstream is not None]
    if member.role == PRIMARY:
        _take_lead(tx, row, group, follows=bool(follows))
        return
    if told is None:
        return  # its cachefleet has yet to say where it is followed
    if group.global_role == SECONDARY and follows == [told] * len(group.node_groups):
        return
    _lose_lead(tx, row, group)
    for shard in group.node_groups:
        shard.upstream = dict(told)
    _settle(tx, group)


def _take_fed_role(
    tx: Transaction,
    row: GlobalGroup,
    member: GlobalMember,
    group: ReplicationGroup,
    leads_here: ReplicationGroup | None,
    *,
    rests: bool,
) -> None:
    """The same in cluster mode, where feeds bring what is new, shard by shard."""
    if group.status == lifecycle.DELETING:
        return
    if member.role == PRIMARY:
        fed = any(shard.feed is not None for shard in group.node_groups)
        _take_lead(tx, row, group, follows=fed)
        return
    is_new = group.global_role != SECONDARY
    if leads_here is not None:
        if any((shard.feed or {}).get("group") != leads_here.uid for shard in group.node_groups):
            global_groups.follow_by_feed(group, leads_here)
            is_new = True
    elif is_led_here(row):
        return  # by a group that is gone
    elif peer_feeds.feed_from_peer(group, row, global_groups.primary_of(row), rests=rests):
        is_new = True
    if is_new:
        _lose_lead(tx, row, group)
        _settle(tx, group)


def _take_lead(
    tx: Transaction, row: GlobalGroup, group: ReplicationGroup, *, follows: bool
) -> None:
    if group.global_role == PRIMARY and not follows:
        return
    global_groups.lead(group)
    group.global_role = PRIMARY
    _settle(tx, group)
    _say(tx, group, f"Replication group {group.name} leads {row.name} (epoch {row.epoch})")


def _lose_lead(tx: Transaction, row: GlobalGroup, group: ReplicationGroup) -> None:
    if group.global_role == PRIMARY:
        _say(tx, group, f"Replication group {group.name} is no longer the primary of {row.name}")
    group.global_role = SECONDARY


def _take_changes(
    tx: Transaction, member: GlobalMember, group: ReplicationGroup, asked: Asked | None
) -> None:
    """Begin what another cachefleet asks of a member of ours, once."""
    if asked is None or (member.card or {}).get(DONE) == asked.token:
        return
    needs_rest = bool(asked.changes) or asked.shards is not None
    if needs_rest and group.status != lifecycle.AVAILABLE:
        return  # looked at again with the next answer
    member.card = {DONE: asked.token}
    if asked.shards is not None:
        _take_shards(tx, group, asked.shards)
        return
    group.pending = {**group.pending, **asked.changes}
    global_groups.mark_modifying(group)
    _file(tx, OperationKind.MODIFY if asked.changes else OperationKind.SETTLE, group)


def _take_shards(tx: Transaction, group: ReplicationGroup, asked: AskedShards) -> None:
    """Add the shards that a group of ours lacks, and file the move of slots to the layout."""
    present = {shard.node_group_id: shard for shard in group.node_groups}
    plans = [dict(plan) for plan in asked.plans]
    planned = {plan["node_group_id"] for plan in plans}
    plans += global_groups.plan_shards_like(
        group, [name for name in asked.layout if name not in {*present, *planned}]
    )
    added = global_groups.add_shards(group, plans, only=asked.layout.keys(), now=tx.now)
    if not added and peer_feeds.has_layout(group, asked.layout):
        return
    global_groups.mark_modifying(group)
    group.pending = {
        **group.pending,
        "Resharding": {"SlotMigration": {"ProgressPercentage": 0.0}},
    }
    operation = tx.enqueue(
        OperationKind.RESHARD,
        subject_uid=group.uid,
        payload={
            "remove": sorted(present.keys() - asked.layout.keys()),
            "add": added,
            "layout": dict(asked.layout),
        },
    )
    operation.account, operation.region = group.account, group.region


def has_unbegun(row: GlobalGroup) -> bool:
    """Tell whether something is asked of a member of ours that could not begin yet."""
    return any(
        m.fleet is None and m.asked is not None and (m.card or {}).get(DONE) != m.asked["token"]
        for m in row.members
    )


def _settle(tx: Transaction, group: ReplicationGroup) -> None:
    global_groups.mark_modifying(group)
    _file(tx, OperationKind.SETTLE, group)


def _file(tx: Transaction, kind: OperationKind, group: ReplicationGroup) -> None:
    operation = tx.enqueue(kind, subject_uid=group.uid)
    operation.account, operation.region = group.account, group.region


def _say(tx: Transaction, group: ReplicationGroup, message: str) -> None:
    tx.within(group.scope).emit(SOURCE, group.name, message)


def joined_row(name: str, account: str, created_at: datetime) -> GlobalGroup:
    """Return a copy of a record that we get to have, still without members."""
    return GlobalGroup(
        uid=new_uid(),
        account=account,
        region=global_groups.NOWHERE,
        name=name,
        description="",
        status=global_groups.MODIFYING,
        pending={},
        created_at=created_at,
        epoch=0,
    )
