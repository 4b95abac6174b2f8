"""Slots, and the words a cluster describes itself with.

Pure: arithmetic on the 16384 hash slots, and parsers of ``CLUSTER NODES`` (also the format of
``nodes.conf``), ``INFO``, ``SLOTS`` and ``SHARDS``. Refuses slot lists that are not lists of slots,
and partitions that leave a slot to nobody or give it to two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cachefleet.engine.errors import EngineError
from cachefleet.engine.types import (
    ClusterInfoView,
    ClusterNodeView,
    Endpoint,
    NodeRole,
    SlotRange,
)
from cachefleet.engine.valkey.replication import parse_info

SLOT_COUNT = 16384
BUS_PORT_OFFSET = 10000  # the engine's own rule where no bus port is set


class BadSlots(EngineError):
    """The slots do not exist, overlap, or leave a gap."""


class NotAClusterReply(EngineError):
    """The text is not what a ``CLUSTER`` command answers."""


def even_slots(shard_count: int) -> list[SlotRange]:
    """Split all slots into *shard_count* contiguous ranges; the remainder goes to the first."""
    if not 1 <= shard_count <= SLOT_COUNT:
        raise BadSlots(f"{shard_count} shards cannot share {SLOT_COUNT} slots")
    size, remainder = divmod(SLOT_COUNT, shard_count)
    ranges, first = [], 0
    for number in range(shard_count):
        last = first + size + (1 if number < remainder else 0) - 1
        ranges.append(SlotRange(first=first, last=last))
        first = last + 1
    assert first == SLOT_COUNT
    return ranges


def parse_slots(text: str) -> tuple[SlotRange, ...]:
    """Read ``"0-999,5000-5999"``; empty text is no slots. Ranges come back sorted and merged."""
    ranges = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise BadSlots(f"{part!r} is not a slot range")
        ranges.append(SlotRange(first=int(first), last=int(last or first)))
    return merge_slots(ranges)


def format_slots(ranges: Iterable[SlotRange]) -> str:
    """Write ranges as ``"0-999,5000-5999"``: sorted, merged, a single slot as ``"7-7"``."""
    return ",".join(f"{piece.first}-{piece.last}" for piece in merge_slots(ranges))


def merge_slots(ranges: Iterable[SlotRange]) -> tuple[SlotRange, ...]:
    """Sort ranges and join neighbours; refuses overlaps and slots out of bounds."""
    merged: list[SlotRange] = []
    for piece in sorted(ranges):
        if not 0 <= piece.first <= piece.last < SLOT_COUNT:
            raise BadSlots(f"{piece.first}-{piece.last} is not within 0-{SLOT_COUNT - 1}")
        if merged and piece.first <= merged[-1].last:
            raise BadSlots(f"slot {piece.first} is given twice")
        if merged and piece.first == merged[-1].last + 1:
            merged[-1] = SlotRange(first=merged[-1].first, last=piece.last)
        else:
            merged.append(piece)
    return tuple(merged)


def slot_count(ranges: Iterable[SlotRange]) -> int:
    """How many slots the ranges hold together."""
    return sum(len(piece) for piece in ranges)


def check_partition(owners: Iterable[Iterable[SlotRange]]) -> None:
    """Raise :class:`BadSlots` unless every slot belongs to exactly one owner."""
    merged = merge_slots(piece for ranges in owners for piece in ranges)
    if merged == (SlotRange(first=0, last=SLOT_COUNT - 1),):
        return
    missing = 0 if not merged or merged[0].first != 0 else merged[0].last + 1
    raise BadSlots(f"slot {missing} belongs to no shard")


def parse_cluster_nodes(reply: bytes | str) -> tuple[ClusterNodeView, ...]:
    """Read every node line of a ``CLUSTER NODES`` reply or a ``nodes.conf``."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    lines = (line.split() for line in text.splitlines())
    return tuple(_node(words) for words in lines if words and words[0] != "vars")


def parse_told_nodes(reply: Sequence[Sequence[Any]]) -> frozenset[str]:
    """Read the ids of a ``CLUSTER SLOTS`` reply: the nodes of which clients are told."""
    nodes = [node for row in reply for node in row[2:]]
    if not all(len(node) >= 3 for node in nodes):
        raise NotAClusterReply("CLUSTER SLOTS has a node without an id")
    return frozenset(node[2] for node in nodes)


def parse_tls_ports(reply: Sequence[Sequence[Any]]) -> dict[str, int]:
    """Read a ``CLUSTER SHARDS`` reply: node ids, and the TLS ports of those that have one."""
    nodes = [_pairs(node) for shard in reply for node in _pairs(shard).get("nodes", ())]
    return {node["id"]: node["tls-port"] for node in nodes if "tls-port" in node}


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    if len(flat) % 2:
        raise NotAClusterReply("CLUSTER SHARDS has a name without a value")
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _node(words: Sequence[str]) -> ClusterNodeView:
    if len(words) < 8:
        raise NotAClusterReply(f"too few fields in {' '.join(words)!r}")
    node_id, address, flag_text, primary_id, _, _, epoch, link = words[:8]
    address, *extras = address.split(",")
    client_address, _, bus_port = address.partition("@")
    host, _, port = client_address.rpartition(":")
    flags = frozenset(flag_text.split(",")) - {"noflags"}
    owned, migrating, importing = _slot_words(words[8:])
    if not (port.isdecimal() and epoch.isdecimal()):
        raise NotAClusterReply(f"no port or epoch in {' '.join(words)!r}")
    return ClusterNodeView(
        id=node_id,
        endpoint=Endpoint(host.strip("[]"), int(port)),
        flags=flags,
        role=NodeRole.REPLICA if "slave" in flags else NodeRole.PRIMARY,
        primary_id=None if primary_id == "-" else primary_id,
        link_up=link == "connected",
        slots=owned,
        myself="myself" in flags,
        epoch=int(epoch),
        bus_port=int(bus_port) if bus_port.isdecimal() else None,
        # The first extra is the host name, possibly empty; the others are name=value.
        hostname=extras[0] if extras and extras[0] and "=" not in extras[0] else None,
        migrating=migrating,
        importing=importing,
    )


def _slot_words(
    words: Sequence[str],
) -> tuple[tuple[SlotRange, ...], tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]:
    owned: list[SlotRange] = []
    migrating: list[tuple[int, str]] = []
    importing: list[tuple[int, str]] = []
    for word in words:
        if word.startswith("["):
            # [93->-id] leaves this node, [77-<-id] comes to it.
            slot, leaving, target = word.strip("[]").partition("->-")
            if leaving:
                migrating.append((int(slot), target))
            else:
                slot, _, source = word.strip("[]").partition("-<-")
                importing.append((int(slot), source))
        else:
            owned.extend(parse_slots(word))
    # A node among others of Redis 7.0 gives slots twice after somebody has asked for its shards.
    return merge_slots(set(owned)), tuple(migrating), tuple(importing)


def parse_cluster_info(reply: bytes | str) -> ClusterInfoView:
    """Read a ``CLUSTER INFO`` reply."""
    info = parse_info(reply)
    if "cluster_state" not in info:
        raise NotAClusterReply("no cluster_state in CLUSTER INFO")
    return ClusterInfoView(
        state=info["cluster_state"],
        slots_assigned=int(info.get("cluster_slots_assigned", "0")),
        slots_ok=int(info.get("cluster_slots_ok", "0")),
        known_nodes=int(info.get("cluster_known_nodes", "0")),
        size=int(info.get("cluster_size", "0")),
        epoch=int(info.get("cluster_current_epoch", "0")),
    )
