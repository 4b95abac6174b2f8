"""Decide what a global datastore is, from what its members are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.global_groups import ASSOCIATING, AVAILABLE, PRIMARY, PRIMARY_ONLY


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberView:
    """One member; ``group_status`` is None where its replication group is gone."""

    uid: str
    role: str
    status: str
    group_status: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What is to be written once nothing is on its way: status, who has joined, who has left.

    ``status`` is None while something is.
    """

    status: str | None
    joined: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()


def stand(members: Sequence[MemberView]) -> Standing:
    """Return where the global datastore stands."""
    failed = (None, lifecycle.CREATE_FAILED, lifecycle.DELETING)
    left = {m.uid for m in members if m.role != PRIMARY and m.group_status in failed}
    staying = [member for member in members if member.uid not in left]
    if any(member.group_status != lifecycle.AVAILABLE for member in staying):
        return Standing(status=None)
    return Standing(
        status=AVAILABLE if len(staying) > 1 else PRIMARY_ONLY,
        joined=frozenset(m.uid for m in staying if m.status == ASSOCIATING),
        left=frozenset(left),
    )
