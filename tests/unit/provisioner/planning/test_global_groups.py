"""Where a global datastore stands, by what its members are."""

from __future__ import annotations

import pytest

from cachefleet.provisioner.planning.global_groups import MemberView, Standing, stand


def member(
    uid: str = "b",
    *,
    role: str = "SECONDARY",
    status: str = "associated",
    group_status: str | None = "available",
) -> MemberView:
    return MemberView(uid=uid, role=role, status=status, group_status=group_status)


PRIMARY = member("a", role="PRIMARY")
NEW = member(status="associating")


@pytest.mark.parametrize(
    ("members", "standing"),
    [
        ([PRIMARY], Standing(status="primary-only")),
        ([PRIMARY, member()], Standing(status="available")),
        ([PRIMARY, NEW], Standing(status="available", joined=frozenset("b"))),
        ([PRIMARY, member(group_status="modifying")], Standing(status=None)),
        ([PRIMARY, member(group_status="creating")], Standing(status=None)),
        ([member("a", role="PRIMARY", group_status="modifying")], Standing(status=None)),
        (
            [PRIMARY, member(group_status="create-failed")],
            Standing(status="primary-only", left=frozenset("b")),
        ),
        (
            [PRIMARY, member(group_status=None), member("c")],
            Standing(status="available", left=frozenset("b")),
        ),
        # A primary never leaves: without one there is nothing to stand for.
        ([member("a", role="PRIMARY", group_status=None), member()], Standing(status=None)),
    ],
    ids=str,
)
def test_stands(members: list[MemberView], standing: Standing) -> None:
    assert stand(members) == standing
