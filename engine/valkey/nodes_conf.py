"""Writes the ``nodes.conf`` of a cluster that does not exist yet.

Pure. With a file beforehand every node starts knowing all the others, their slots, epochs and
shards, so a cluster is whole as soon as its nodes run: no ``CLUSTER MEET``, no gossip to wait
for. Refuses layouts that could not be a cluster.

A primary that starts so still waits two seconds before it serves: the engine's own delay for a
primary that may have been away. A replica has no such delay, nor has one that takes over. So a
primary may begin as the replica of a placeholder which owns its slots, and take over at once
(:meth:`~cachefleet.engine.valkey.adapter.ValkeyAdapter.cluster_begin`): 0.1 s in place of 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.types import Endpoint, Engine, EngineBinary, SlotRange
from cachefleet.engine.valkey.cluster import check_partition

ID_LENGTH = 40
# The engine drops a placeholder after the node timeout, and Valkey 9 crashes without one when a
# primary claims slots (it looks up its own primary's). A node has this one until it takes over.
PLACEHOLDER_TIMEOUT_MS = 3_600_000
SHARD_IDS_SINCE = (7, 2)  # Redis 7.0 takes everything behind the comma for a host name


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterSeat:
    """One node's place in the cluster; *primary_id* is None for the primary of its shard."""

    id: str
    endpoint: Endpoint
    bus_port: int
    primary_id: str | None
    slots: tuple[SlotRange, ...] = ()
    shard_id: str
    epoch: int
    hostname: str | None = None


def placeholder_id(node_id: str) -> str:
    """The id of the placeholder that a primary begins as a replica of."""
    return hashlib.sha1(node_id.encode(), usedforsecurity=False).hexdigest()


def render_nodes_conf(
    nodes: Sequence[ClusterSeat],
    me: str,
    *,
    binary: EngineBinary,
    epoch: int | None = None,
    placeholder: bool = False,
    rejoins: bool = False,
) -> str:
    """The file as the node with id *me* would have saved it; *epoch* defaults to the highest.

    With *placeholder* a primary begins as a replica and needs ``cluster_begin``, and
    ``PLACEHOLDER_TIMEOUT_MS`` until then; a replica's file is the same either way. With *rejoins*
    the cluster is there and knows the node, which hears of slots and of the other nodes from those
    it is told of here.
    """
    _require_cluster(nodes, me)
    # A node that is to be met later begins alone, without a slot.
    if any(seat.slots for seat in nodes) or (len(nodes) > 1 and not rejoins):
        check_partition(seat.slots for seat in nodes)
    current_epoch = max(seat.epoch for seat in nodes) if epoch is None else epoch
    with_shard_ids = binary.kind is Engine.VALKEY or binary.version >= SHARD_IDS_SINCE
    lines = []
    for seat in nodes:
        if placeholder and seat.id == me and seat.slots:
            lines += _beginning_lines(seat, with_shard_ids=with_shard_ids)
        else:
            lines.append(_line(seat, me=me, with_shard_ids=with_shard_ids))
    lines.append(f"vars currentEpoch {current_epoch} lastVoteEpoch 0")
    return "\n".join(lines) + "\n"


def _beginning_lines(seat: ClusterSeat, *, with_shard_ids: bool) -> list[str]:
    stand_in = placeholder_id(seat.id)
    slots = " ".join(str(piece) for piece in seat.slots)
    address = _address(seat, with_shard_ids=with_shard_ids)
    # Nodes in handshake are not gossiped about, not saved, and dropped if nothing comes of it:
    # no other node ever hears of the placeholder. Nothing listens where it points.
    nowhere = replace(seat, endpoint=Endpoint("127.0.0.1", 1), bus_port=2, hostname=None)
    where = _address(nowhere, with_shard_ids=with_shard_ids)
    return [
        f"{seat.id} {address} myself,slave {stand_in} 0 0 0 connected",
        f"{stand_in} {where} master,handshake - 0 0 {seat.epoch} disconnected {slots}",
    ]


def _address(seat: ClusterSeat, *, with_shard_ids: bool) -> str:
    address = f"{seat.endpoint}@{seat.bus_port},{seat.hostname or ''}"
    if with_shard_ids:
        return f"{address},shard-id={seat.shard_id}"
    return address if seat.hostname else address.rstrip(",")


def _line(seat: ClusterSeat, *, me: str, with_shard_ids: bool) -> str:
    role = "master" if seat.primary_id is None else "slave"
    words = [
        seat.id,
        _address(seat, with_shard_ids=with_shard_ids),
        f"myself,{role}" if seat.id == me else role,
        seat.primary_id or "-",
        "0",  # no ping is under way
        "0",  # and no pong was seen
        str(seat.epoch),
        "connected" if seat.id == me else "disconnected",
        *(str(piece) for piece in seat.slots),
    ]
    return " ".join(words)


def _require_cluster(nodes: Sequence[ClusterSeat], me: str) -> None:
    seats = {seat.id: seat for seat in nodes}
    if len(seats) != len(nodes):
        raise BadConfiguration("two nodes of a cluster have the same id")
    if me not in seats:
        raise BadConfiguration(f"node {me} is not in its own cluster")
    for seat in nodes:
        for name, value in (("id", seat.id), ("shard id", seat.shard_id)):
            if len(value) != ID_LENGTH or not set(value) <= set("0123456789abcdef"):
                raise BadConfiguration(f"{name} {value!r} is not {ID_LENGTH} hex digits")
        if seat.primary_id is None:
            continue
        primary = seats.get(seat.primary_id)
        if primary is None or primary.primary_id is not None or primary.shard_id != seat.shard_id:
            raise BadConfiguration(f"node {seat.id} follows no primary of its own shard")
        if seat.slots:
            raise BadConfiguration(f"node {seat.id} is a replica and owns slots")
    epochs = [seat.epoch for seat in nodes if seat.primary_id is None]
    if len(set(epochs)) != len(epochs):
        raise BadConfiguration("two primaries have the same epoch: they would fight over slots")
