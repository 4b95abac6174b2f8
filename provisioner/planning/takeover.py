"""What a replica has to know of slots under way before it takes its primary's place. Pure.

Which slots are half moved is marked on primaries only, and dies with them; and a slot that has just
been given away is still its old owner's in the eyes of a replica that has not heard. Were such a
replica to take over with a fresh epoch, the new owner would yield and drop the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cachefleet.engine.types import ClusterNodeView
from cachefleet.provisioner.planning.resharding import SLOT_COUNT, slots_of


@dataclass(frozen=True, slots=True)
class SlotMark:
    """A slot that is half moved: *state* is ``MIGRATING`` or ``IMPORTING``, *peer_id* whereto."""

    slot: int
    state: str
    peer_id: str


def contested_slots(
    lost_id: str, seen: Iterable[ClusterNodeView], others: Iterable[ClusterNodeView]
) -> set[int]:
    """Return slots that a replica believes its lost primary owns and another primary does own.

    *seen* is the cluster as the replica sees it; *others* is what the other primaries say of
    themselves.
    """
    believed = {slot for node in seen if node.id == lost_id for slot in slots_of(node.slots)}
    return believed & {slot for node in others for slot in slots_of(node.slots)}


def unclaimed_slots(
    lost_id: str, seen: Iterable[ClusterNodeView], others: Iterable[ClusterNodeView]
) -> set[int]:
    """Return slots that no other primary owns and a replica does not believe its lost one to own.

    Their former owner has heard that the lost one took them, and the replica has not yet. *others*
    is what all other primaries say of themselves.
    """
    believed = {slot for node in seen if node.id == lost_id for slot in slots_of(node.slots)}
    return set(range(SLOT_COUNT)) - believed - {s for node in others for s in slots_of(node.slots)}


def marks_of_lost(
    lost_id: str, seen: Iterable[ClusterNodeView], others: Sequence[ClusterNodeView]
) -> list[SlotMark]:
    """Return the marks of the lost primary, as they follow from those at the other ends."""
    believed = {slot for node in seen if node.id == lost_id for slot in slots_of(node.slots)}
    giving = {
        SlotMark(slot, "MIGRATING", node.id)
        for node in others
        for slot, source_id in node.importing
        if source_id == lost_id and slot in believed
    }
    taking = {
        SlotMark(slot, "IMPORTING", node.id)
        for node in others
        for slot, target_id in node.migrating
        if target_id == lost_id and slot not in believed
    }
    return sorted(giving | taking, key=lambda mark: (mark.state, mark.slot, mark.peer_id))
