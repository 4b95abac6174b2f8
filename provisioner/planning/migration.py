"""Decide whether data can be taken over from a server outside, and when it has been. Pure.

Each refusal is the sentence that customers read in the event: the call itself had succeeded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cachefleet.engine.types import Endpoint, ReplicationView, SlotRange
from cachefleet.engine.valkey.cluster import SLOT_COUNT
from cachefleet.engine.valkey.source import SourceReport, SourceShard

OLDEST_SOURCE = (2, 8, 21)


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationTarget:
    """The group that is to have the data. ``reads_format`` is the newest dump it can load."""

    cluster_enabled: bool
    databases: int
    maxmemory_bytes: int
    reads_format: int
    own: frozenset[Endpoint]


def refuse_source(
    source: SourceReport, *, writes_format: int, at: Endpoint, target: MigrationTarget
) -> str | None:
    """Return why *target* cannot replicate from the server at *at*; None where it can."""
    if at in target.own:
        return f"{at} is a node or an endpoint of the replication group itself"
    if source.version < OLDEST_SOURCE:
        return (
            f"the source runs version {_text(source.version)}, and the oldest that can be "
            f"migrated is {_text(OLDEST_SOURCE)}"
        )
    if source.cluster_enabled != target.cluster_enabled:
        words = ("disabled", "enabled")
        return (
            f"cluster mode is {words[source.cluster_enabled]} on the source and "
            f"{words[target.cluster_enabled]} on the replication group"
        )
    if source.missing_commands:
        return "these commands are renamed or not there on the source: " + ", ".join(
            source.missing_commands
        )
    if writes_format > target.reads_format:
        return (
            f"the source runs {source.engine.value} {_text(source.version)}, whose data the "
            "engine of the replication group is too old to read"
        )
    if source.databases is not None and source.databases > target.databases:
        return (
            f"the source has {source.databases} databases and the replication group has "
            f"{target.databases}"
        )
    if source.used_memory_bytes > target.maxmemory_bytes:
        return (
            f"the source holds {source.used_memory_bytes} bytes, which is more than the node "
            f"type's {target.maxmemory_bytes}"
        )
    if source.loading:
        return "the source is loading its data"
    return None


def pair_shards(
    wanted: Mapping[str, Sequence[SlotRange]], found: Sequence[SourceShard]
) -> dict[str, Endpoint] | str:
    """Return whom each shard of the group is fed from: who has the same slots; else why none is.

    *wanted* are the slots of the group's shards, by their uid.
    """
    owners = {frozenset(_numbers(shard.slots)): shard.endpoint for shard in found}
    if sum(map(len, owners)) != SLOT_COUNT:
        return "the source has slots that none of its primaries serves"
    pairs = {}
    for uid, slots in wanted.items():
        owner = owners.get(frozenset(_numbers(slots)))
        if owner is None:
            return (
                f"the source has {len(owners)} shards and the replication group {len(wanted)}, or "
                "their slots are others; each shard needs one with the same slots"
            )
        pairs[uid] = owner
    return pairs


def why_not_fed(
    links: Collection[tuple[Endpoint, int | None, int]], *, replaced: Collection[str]
) -> str | None:
    """Return why a group in cluster mode cannot lead yet; None where it can.

    *links* are each shard's source, how much of its stream is applied (None: nothing streams), and
    how far that had got when it was asked.
    """
    if replaced:
        return f"{', '.join(sorted(replaced))} is being replaced"
    for at, applied, offset in links:
        if applied is None:
            return f"the link to {at} is not in sync"
        if applied < offset:
            return f"{offset - applied} bytes from {at} have yet to arrive"
    return None


def _numbers(ranges: Sequence[SlotRange]) -> list[int]:
    return [slot for one in ranges for slot in range(one.first, one.last + 1)]


def is_in_sync(view: ReplicationView, at: Endpoint) -> bool:
    """Tell whether a node follows *at* and has had its full copy."""
    return view.primary == at and view.link_up and not view.sync_in_progress and not view.loading


def why_not_complete(
    views: Collection[tuple[ReplicationView, Endpoint, int]], *, replaced: Collection[str]
) -> str | None:
    """Return why the group cannot lead yet; None where it can.

    *views* are each shard's primary, whom it follows, and how far that had got when it was asked.
    *replaced* are the members that are being replaced.
    """
    if replaced:
        return f"{', '.join(sorted(replaced))} is being replaced"
    for view, at, offset in views:
        if not is_in_sync(view, at):
            return f"the link to {at} is not in sync"
        if view.offset < offset:
            return f"{offset - view.offset} bytes from {at} have yet to arrive"
    return None


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
