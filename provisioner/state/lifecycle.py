"""The lifecycle of each resource, as tables of transitions.

What is not in a table is refused with :class:`IllegalTransition`, which the API answers as the
resource's ``Invalid...State`` fault. Sources: semantics of cache clusters (states of
``CacheClusterStatus``), replication groups (``Status``), users and user groups; the diagrams in
the documentation are made from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from cachefleet.provisioner.state.errors import IllegalTransition


class Event(enum.StrEnum):
    """What can happen to a resource."""

    PROVISIONED = "provisioned"
    PROVISION_FAILED = "provision_failed"
    MODIFY = "modify"
    MODIFIED = "modified"
    SNAPSHOT = "snapshot"
    SNAPSHOT_ENDED = "snapshot_ended"
    REBOOT = "reboot"
    REBOOTED = "rebooted"
    DELETE = "delete"
    RESTORE_FAILED = "restore_failed"
    COMPLETED = "completed"
    FAILED = "failed"
    COPY = "copy"
    EXPORT = "export"
    RESTORE = "restore"
    RELEASED = "released"


CREATING = "creating"
AVAILABLE = "available"
ACTIVE = "active"  # what users and user groups are called when they are at rest
MODIFYING = "modifying"
SNAPSHOTTING = "snapshotting"
REBOOTING = "rebooting cache cluster nodes"
DELETING = "deleting"
CREATE_FAILED = "create-failed"
INCOMPATIBLE_NETWORK = "incompatible-network"
RESTORE_FAILED = "restore-failed"

# Of snapshots.
RESTORING = "restoring"
COPYING = "copying"
EXPORTING = "exporting"
FAILED = "failed"

# What a cache node can be; the record says what should be, the engine what is.
NODE_CREATING = "creating"
NODE_AVAILABLE = "available"
NODE_REBOOTING = "rebooting"
NODE_DELETING = "deleting"

Table = Mapping[tuple[str, Event], str]

_COMMON: Table = {
    (CREATING, Event.PROVISIONED): AVAILABLE,
    (AVAILABLE, Event.MODIFY): MODIFYING,
    (MODIFYING, Event.MODIFIED): AVAILABLE,
    (AVAILABLE, Event.SNAPSHOT): SNAPSHOTTING,
    (SNAPSHOTTING, Event.SNAPSHOT_ENDED): AVAILABLE,
    (AVAILABLE, Event.DELETE): DELETING,
}

TABLES: Mapping[str, Table] = {
    "replication_group": {
        **_COMMON,
        (CREATING, Event.PROVISION_FAILED): CREATE_FAILED,
        (CREATE_FAILED, Event.DELETE): DELETING,
    },
    "cache_cluster": {
        **_COMMON,
        # AWS has no create-failed for clusters; this is the failure whose only exit is deletion.
        (CREATING, Event.PROVISION_FAILED): INCOMPATIBLE_NETWORK,
        (INCOMPATIBLE_NETWORK, Event.DELETE): DELETING,
        (CREATING, Event.RESTORE_FAILED): RESTORE_FAILED,
        (RESTORE_FAILED, Event.DELETE): DELETING,
        (AVAILABLE, Event.REBOOT): REBOOTING,
        (REBOOTING, Event.REBOOTED): AVAILABLE,
    },
    "serverless_cache": {
        (CREATING, Event.PROVISIONED): AVAILABLE,
        (CREATING, Event.PROVISION_FAILED): CREATE_FAILED,
        (AVAILABLE, Event.MODIFY): MODIFYING,
        (MODIFYING, Event.MODIFIED): AVAILABLE,
        (AVAILABLE, Event.DELETE): DELETING,
        (CREATE_FAILED, Event.DELETE): DELETING,
        # While its last snapshot is taken, which customers see as deleting; it stays without.
        (AVAILABLE, Event.SNAPSHOT): SNAPSHOTTING,
        (SNAPSHOTTING, Event.SNAPSHOT_ENDED): AVAILABLE,
        (SNAPSHOTTING, Event.DELETE): DELETING,
    },
    "user": {
        (ACTIVE, Event.MODIFY): MODIFYING,
        (MODIFYING, Event.MODIFIED): ACTIVE,
        (ACTIVE, Event.DELETE): DELETING,
    },
    "user_group": {
        (CREATING, Event.PROVISIONED): ACTIVE,
        (ACTIVE, Event.MODIFY): MODIFYING,
        (MODIFYING, Event.MODIFIED): ACTIVE,
        (ACTIVE, Event.DELETE): DELETING,
    },
    "snapshot": {
        (CREATING, Event.COMPLETED): AVAILABLE,
        (CREATING, Event.FAILED): FAILED,
        (AVAILABLE, Event.COPY): COPYING,
        (AVAILABLE, Event.EXPORT): EXPORTING,
        (AVAILABLE, Event.RESTORE): RESTORING,
        # Several caches may be filled from it at once, also while it is copied.
        (RESTORING, Event.RESTORE): RESTORING,
        (COPYING, Event.RESTORE): COPYING,
        (EXPORTING, Event.RESTORE): EXPORTING,
        (RESTORING, Event.RELEASED): AVAILABLE,
        (COPYING, Event.RELEASED): AVAILABLE,
        (EXPORTING, Event.RELEASED): AVAILABLE,
        (AVAILABLE, Event.DELETE): DELETING,
        (FAILED, Event.DELETE): DELETING,
    },
}


class HasStatus(Protocol):
    """A row with a lifecycle."""

    resource: ClassVar[str]
    name: Any  # mapped columns: str on a row
    status: Any


def target(resource: str, status: str, event: Event) -> str | None:
    """Return the state that *event* leads to from *status*; None where it is illegal."""
    return TABLES[resource].get((status, event))


def require(row: HasStatus, event: Event) -> None:
    """Raise :class:`IllegalTransition` where *event* is illegal for *row* as it is now."""
    if target(row.resource, row.status, event) is None:
        raise IllegalTransition(row.resource, row.name, row.status, event.value)


def fire(row: HasStatus, event: Event) -> None:
    """Move *row* along its table.

    Raises:
        IllegalTransition: the table has no such transition; the row is unchanged.
    """
    require(row, event)
    status = target(row.resource, row.status, event)
    assert status is not None
    row.status = status
