"""What of another cachefleet's group is fed into ours in cluster mode, written down by shard.

A feed is named by the lead that it stems from (``peer``): while that stays, it goes on, wherever
the source is by now. One of another lead begins anew, and *waits* at first: two that feed each
other would never come to an end, so it begins once the region that leads says of itself that it
does, and has settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.global_groups import PRIMARY, Starts
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.peer_records import Card, CardShard
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup, ReplicationGroup

PEER, OUTSIDE, WAITS = "peer", "outside", "waits"


def primary_node(shard: NodeGroup) -> CacheNode | None:
    """Return the shard's primary node, if it has one that is to run."""
    return next(
        (
            node
            for node in shard.nodes
            if node.role == NodeRole.PRIMARY and node.status != lifecycle.NODE_DELETING
        ),
        None,
    )


def card_shards(group: ReplicationGroup) -> tuple[CardShard, ...]:
    """Return what we say of a group's shards; in cluster mode also where each is read from."""
    found = []
    for shard in group.node_groups:
        node = primary_node(shard) if group.cluster_enabled else None
        found.append(
            CardShard(
                node_group_id=shard.node_group_id,
                slots=shard.slots or "",
                replicas=max(0, len(shard.nodes) - 1),
                endpoint=None if node is None else _read_at(node, group),
                head=None if node is None else shown_at(node),
            )
        )
    return tuple(found)


def _read_at(node: CacheNode, group: ReplicationGroup) -> tuple[str, int] | None:
    """Return where a node's stream is read from outside: never in plain where clients may not."""
    if node.host is None or node.port is None:
        return None
    inside = node.replication_port if group.transit_encryption_enabled else node.engine_port
    return node.host, inside or node.port


def shown_at(node: CacheNode) -> tuple[str, int] | None:
    """Return as whom the feed of a node shows itself to what it reads from."""
    return None if node.host is None or node.port is None else (node.host, node.port)


def lead_of(row: GlobalGroup) -> dict[str, Any]:
    """Return what tells one lead from another."""
    leader = next(member for member in row.members if member.role == PRIMARY)
    return {"region": leader.region, "fleet": leader.fleet, "epoch": row.epoch}


def has_layout(group: ReplicationGroup, shards: Mapping[str, str]) -> bool:
    """Tell whether the group has exactly these shards: slots by NodeGroupId."""
    return {shard.node_group_id: shard.slots for shard in group.node_groups} == shards


def layout_of(card: Card) -> dict[str, str]:
    """Return the slots of each shard by NodeGroupId."""
    return {shard.node_group_id: shard.slots for shard in card.node_groups}


def feed_from_peer(
    group: ReplicationGroup, row: GlobalGroup, leader: GlobalMember, *, rests: bool = False
) -> bool:
    """Write down from where each shard of *group* is fed; tell whether anything is new.

    It rests while it is told to, or its shards are not those of the group that leads.
    """
    card = None if leader.card is None else Card.model_validate(leader.card)
    if card is None:
        return False  # its cachefleet has yet to say where it is
    alike = has_layout(group, layout_of(card))
    told = {shard.node_group_id: shard for shard in card.node_groups}
    is_new = False
    for shard in group.node_groups:
        wanted = None
        if alike and not rests:
            wanted = _feed(shard, told[shard.node_group_id], card, lead_of(row))
        if shard.feed != wanted:
            shard.feed, is_new = wanted, True
    return is_new


def begin_from(group: ReplicationGroup, starts: Starts) -> None:
    """Have feeds that wait begin at places of the streams there whose data *group* has already."""
    for shard in group.node_groups:
        if shard.feed is not None and shard.feed.get(WAITS) and shard.node_group_id in starts:
            shard.feed = {**shard.feed, "start": dict(starts[shard.node_group_id])}


def _feed(
    shard: NodeGroup, source: CardShard, card: Card, lead: Mapping[str, Any]
) -> dict[str, Any]:
    present = shard.feed if shard.feed and shard.feed.get(PEER) == lead else None
    outside: dict[str, Any] | None = present[OUTSIDE] if present else None
    is_trusted = bool(card.authority) or not card.transit_encryption_enabled
    if source.endpoint is not None and is_trusted:
        outside = {"host": source.endpoint[0], "port": source.endpoint[1]}
        if card.transit_encryption_enabled:
            outside["ca"] = card.authority
    if present is None:
        present = {"token": new_uid(), "start": None, WAITS: True}
    leads = card.role == PRIMARY and card.status == lifecycle.AVAILABLE
    waits = outside is None or (present[WAITS] and not leads)
    return {**present, OUTSIDE: outside, PEER: dict(lead), WAITS: waits}
