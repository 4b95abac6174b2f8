"""Decide what a serverless cache may take over, and the shards that it has to have for that. Pure.

Each shard of the source is fed into one of the cache, which has the same slots. A cache that takes
data over is empty, so its slots are moved for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cachefleet.engine.types import Endpoint, Engine
from cachefleet.engine.valkey.cluster import SLOT_COUNT, format_slots
from cachefleet.engine.valkey.source import SourceShard

OLDEST: Mapping[Engine, tuple[int, int]] = {Engine.VALKEY: (7, 2), Engine.REDIS: (4, 0)}
NEWEST_REDIS = (7, 2)  # what Valkey came from


def refuse_version(
    engine: Engine, version: tuple[int, ...], *, target: tuple[int, ...]
) -> str | None:
    """Return why a source of this version cannot be taken over into Valkey *target*."""
    newest = target[:2] if engine is Engine.VALKEY else NEWEST_REDIS
    if OLDEST[engine] <= version[:2] <= newest:
        return None
    return (
        f"the source runs {engine.value} {_text(version)}; it has to be between "
        f"{_text(OLDEST[engine])} and {_text(newest)}"
    )


def refuse_shards(found: Sequence[SourceShard], *, shards_max: int) -> str | None:
    """Return why the shards of a source cannot be those of a cache."""
    if sum(len(piece) for shard in found for piece in shard.slots) != SLOT_COUNT:
        return "the source has slots that none of its primaries serves"
    if len(found) > shards_max:
        return f"the source has {len(found)} shards, and a serverless cache {shards_max} at most"
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reshape:
    """What has to become of a cache's shards: how many are added, who goes, who ends with what.

    ``layout`` has the slots of those that stay, then of those that are added, in order.
    """

    added: int = 0
    removed: tuple[str, ...] = ()
    layout: tuple[str, ...] = field(default=())


def plan_reshape(found: Sequence[SourceShard], present: Mapping[str, str]) -> Reshape | None:
    """Return what makes the shards *present* (slots by id) those *found*; None where they are."""
    wanted = [format_slots(shard.slots) for shard in _in_order(found)]
    if sorted(wanted) == sorted(present.values()):
        return None
    ids = sorted(present)
    return Reshape(
        added=max(0, len(wanted) - len(ids)),
        removed=tuple(ids[len(wanted) :]),
        layout=tuple(wanted),
    )


def pair_with(found: Sequence[SourceShard], present: Mapping[str, str]) -> dict[str, Endpoint]:
    """Return whom each shard (by id) is fed from; the slots are alike."""
    owners = {format_slots(shard.slots): shard.endpoint for shard in found}
    return {shard: owners[slots] for shard, slots in present.items()}


def _in_order(found: Sequence[SourceShard]) -> list[SourceShard]:
    return sorted(found, key=lambda shard: min(piece.first for piece in shard.slots))


def _text(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
