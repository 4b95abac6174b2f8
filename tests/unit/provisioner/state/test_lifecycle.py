"""The lifecycle tables, cell by cell: what is written out here is legal, all else is refused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import pytest

from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.errors import IllegalTransition
from cachefleet.provisioner.state.lifecycle import Event

COMMON = """
creating       provisioned       available
available      modify            modifying
modifying      modified          available
available      snapshot          snapshotting
snapshotting   snapshot_ended    available
available      delete            deleting
"""
LEGAL = {
    "replication_group": COMMON
    + """
creating       provision_failed  create-failed
create-failed  delete            deleting
""",
    "cache_cluster": COMMON
    + """
creating              provision_failed  incompatible-network
incompatible-network  delete            deleting
creating              restore_failed    restore-failed
restore-failed        delete            deleting
available             reboot            rebooting cache cluster nodes
rebooting cache cluster nodes  rebooted  available
""",
    "user": """
active         modify            modifying
modifying      modified          active
active         delete            deleting
""",
    "user_group": """
creating       provisioned       active
active         modify            modifying
modifying      modified          active
active         delete            deleting
""",
    "snapshot": """
creating    completed  available
creating    failed     failed
available   copy       copying
available   export     exporting
available   restore    restoring
restoring   restore    restoring
copying     restore    copying
exporting   restore    exporting
restoring   released   available
copying     released   available
exporting   released   available
available   delete     deleting
failed      delete     deleting
""",
}
STATUSES = (
    "creating",
    "available",
    "active",
    "modifying",
    "snapshotting",
    "rebooting cache cluster nodes",
    "deleting",
    "create-failed",
    "incompatible-network",
    "restore-failed",
    "restoring",
    "copying",
    "exporting",
    "failed",
)


@dataclass
class Group:
    resource: ClassVar[str] = "replication_group"
    name: str
    status: str


@dataclass
class Cluster:
    resource: ClassVar[str] = "cache_cluster"
    name: str
    status: str


@dataclass
class User:
    resource: ClassVar[str] = "user"
    name: str
    status: str


@dataclass
class UserGroup:
    resource: ClassVar[str] = "user_group"
    name: str
    status: str


Row = Group | Cluster | User | UserGroup
KINDS: tuple[type[Row], ...] = (Group, Cluster, User, UserGroup)


def legal_cells(resource: str) -> dict[tuple[str, str], str]:
    """Parse the table above; the event is the one column without blanks or hyphens inside."""
    cells = {}
    events = {event.value for event in Event}
    for line in filter(None, LEGAL[resource].splitlines()):
        [event] = [word for word in line.split() if word in events]
        before, after = line.split(f" {event} ", 1)
        cells[before.strip(), event] = after.strip()
    return cells


CELLS = [
    pytest.param(kind, status, event, id=f"{kind.resource}-{status}-{event}".replace(" ", "_"))
    for kind, status, event in itertools.product(KINDS, STATUSES, Event)
]


@pytest.mark.parametrize(("kind", "status", "event"), CELLS)
def test_cell(kind: type[Row], status: str, event: Event) -> None:
    row = kind("demo", status)
    expected = legal_cells(kind.resource).get((status, event.value))
    assert lifecycle.target(kind.resource, status, event) == expected
    if expected is None:
        with pytest.raises(IllegalTransition) as refused:
            lifecycle.fire(row, event)
        assert (refused.value.resource, refused.value.name) == (kind.resource, "demo")
        assert (refused.value.status, refused.value.event) == (status, event)
        assert row.status == status
    else:
        lifecycle.require(row, event)
        assert row.status == status  # asking changes nothing
        lifecycle.fire(row, event)
        assert row.status == expected


def test_every_state_of_the_tables_is_walked() -> None:
    for table in lifecycle.TABLES.values():
        mentioned = {status for status, _ in table} | set(table.values())
        assert mentioned <= set(STATUSES)


def test_deleting_is_final() -> None:
    for resource in lifecycle.TABLES:
        assert all(lifecycle.target(resource, "deleting", event) is None for event in Event)
