"""Decide which hash slots move where, so that the wanted shards own them evenly. Pure.

Moves are as few as can be: a shard gives away its surplus and keeps the rest (semantics of online
resharding). Sizes differ by one at most, and the larger ones are those that had most. A move that
was begun key by key is always ended the way it began, before anything else is planned: its keys are
on both sides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cachefleet.engine.types import ClusterNodeView, SlotRange

SLOT_COUNT = 16_384
SLOTS_PER_MOVE_MAX = 512  # one atomic migration; progress is told, and writes held, between them


@dataclass(frozen=True, slots=True)
class SlotMove:
    """Slots that go from one shard to another."""

    source: str
    target: str
    ranges: tuple[SlotRange, ...]

    @property
    def slot_count(self) -> int:
        return sum(len(piece) for piece in self.ranges)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSlots:
    """What the primary of a shard says of slots; other shards stand by name, not by node id."""

    owned: frozenset[int]
    migrating: Mapping[int, str] = field(default_factory=dict)  # slot -> where its keys are sent
    importing: Mapping[int, str] = field(default_factory=dict)  # slot -> where its keys come from


def open_moves(shards: Mapping[str, ShardSlots]) -> list[SlotMove]:
    """Return the moves that were begun key by key and cut off.

    Either mark is enough: the source's is lost when its replica takes over, and the target's when
    that one's does.
    """
    moves = []
    for source, view in sorted(shards.items()):
        begun = {
            slot: target
            for target, other in sorted(shards.items())
            for slot in other.importing
            if target != source and slot in view.owned
        }
        begun |= {
            slot: target
            for slot, target in view.migrating.items()
            if target != source and slot in view.owned
        }
        for target in sorted(set(begun.values())):
            slots = [slot for slot, where in begun.items() if where == target]
            moves.append(SlotMove(source, target, ranges_of(slots)))
    return moves


def stale_marks(shards: Mapping[str, ShardSlots]) -> list[tuple[str, int]]:
    """Return the (shard, slot) whose mark means nothing: its move has ended."""
    return [
        (shard, slot)
        for shard, view in sorted(shards.items())
        for slot in sorted(
            {slot for slot in view.migrating if slot not in view.owned}
            | {slot for slot in view.importing if slot in view.owned}
        )
    ]


def plan_moves(
    owned: Mapping[str, Collection[int]],
    *,
    wanted: Sequence[str],
    slots_per_move_max: int = SLOTS_PER_MOVE_MAX,
    stuck: Collection[int] = (),
) -> list[SlotMove]:
    """Return the moves that spread all slots evenly over *wanted* shards; empty once they are.

    *owned* is what each shard owns now, by shard; shards that are not wanted give everything.
    *stuck* slots stay where they are, even if that leaves shards uneven.
    """
    assert wanted, "a cluster needs a shard"
    sizes = _sizes(owned, wanted)
    giving: list[tuple[str, list[int]]] = []
    taking: list[tuple[str, int]] = []
    for shard in sorted(set(owned) | set(wanted)):
        slots = sorted(owned.get(shard, ()))
        keep = sizes.get(shard, 0)
        if len(slots) > keep:
            movable = [slot for slot in slots if slot not in stuck]
            surplus = movable[-min(len(slots) - keep, len(movable)) :] if movable else []
            if surplus:
                giving.append((shard, surplus))
        elif len(slots) < keep:
            taking.append((shard, keep - len(slots)))
    moves: list[SlotMove] = []
    for target, missing in taking:
        while missing and giving:
            source, slots = giving[0]
            batch = slots[: min(missing, slots_per_move_max)]
            del slots[: len(batch)]
            if not slots:
                giving.pop(0)
            moves.append(SlotMove(source, target, ranges_of(batch)))
            missing -= len(batch)
    return moves


def plan_layout(
    owned: Mapping[str, Collection[int]],
    layout: Mapping[str, Collection[int]],
    *,
    slots_per_move_max: int = SLOTS_PER_MOVE_MAX,
    stuck: Collection[int] = (),
) -> list[SlotMove]:
    """Return the moves that give every shard exactly the slots of *layout*; empty once they have.

    *stuck* slots stay where they are.
    """
    moves = []
    for target, wanted in sorted(layout.items()):
        for source, slots in sorted(owned.items()):
            going = sorted((set(slots) & set(wanted)) - set(stuck)) if source != target else []
            moves += [
                SlotMove(source, target, ranges_of(going[at : at + slots_per_move_max]))
                for at in range(0, len(going), slots_per_move_max)
            ]
    return moves


def ranges_of(slots: Collection[int]) -> tuple[SlotRange, ...]:
    """Return *slots* as ranges, in order."""
    ranges: list[SlotRange] = []
    for slot in sorted(slots):
        if ranges and ranges[-1].last == slot - 1:
            ranges[-1] = SlotRange(first=ranges[-1].first, last=slot)
        else:
            ranges.append(SlotRange(first=slot, last=slot))
    return tuple(ranges)


def slots_of(ranges: Collection[SlotRange]) -> set[int]:
    """Return every slot of *ranges*."""
    return {slot for piece in ranges for slot in range(piece.first, piece.last + 1)}


def side_by_side(moves: Sequence[SlotMove]) -> list[SlotMove]:
    """Return moves that can be made at the same time: no shard is in two of them."""
    busy: set[str] = set()
    chosen = []
    for move in moves:
        if not {move.source, move.target} & busy:
            busy |= {move.source, move.target}
            chosen.append(move)
    return chosen


def _sizes(owned: Mapping[str, Collection[int]], wanted: Sequence[str]) -> dict[str, int]:
    base, extra = divmod(SLOT_COUNT, len(wanted))
    richest = sorted(wanted, key=lambda shard: (-len(owned.get(shard, ())), shard))
    return {shard: base + (number < extra) for number, shard in enumerate(richest)}


def claims_count(
    source_id: str, seen: Iterable[ClusterNodeView], owners: Sequence[ClusterNodeView]
) -> bool:
    """Tell whether what a target claims of a source's slots will count with everybody.

    *seen* is the cluster as the target sees it; *owners* is what the primaries say of themselves. A
    claim goes with an epoch above all that the target has heard of. It is outbid where the source
    has a newer one, or takes one because another primary happens to have the same.
    """
    epochs = {view.id: view.epoch for view in owners}
    known = {view.id: view.epoch for view in seen}
    mine = epochs[source_id]
    return known.get(source_id) == mine and list(epochs.values()).count(mine) == 1
