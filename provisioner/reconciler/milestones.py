"""The instants of a failover, a resharding, a backup and other work at which a crash matters.

Passes say when they have come to one; nobody listens but tests, which end the process there, at
each of them in turn. A new step that changes something outside belongs into this list.
"""

from __future__ import annotations

import enum
from collections.abc import Callable


class Milestone(enum.StrEnum):
    """What has just happened. The part before the dot is the kind of work."""

    BEGINNER_LAUNCHED = "creation.beginner_launched"  # a cluster's primary, on its placeholder

    LOSS_DECIDED = "failover.loss_decided"  # it is known who is to be primary
    PROMOTED = "failover.promoted"
    ENDPOINT_MOVED = "failover.endpoint_moved"
    ROLES_WRITTEN = "failover.roles_written"
    LOSSES_WRITTEN = "failover.losses_written"
    LOST_NODE_LAUNCHED = "failover.lost_node_launched"
    CONCLUDED = "failover.concluded"

    SHARDS_OPENED = "resharding.shards_opened"
    PROGRESS_WRITTEN = "resharding.progress_written"
    MIGRATION_BEGUN = "resharding.migration_begun"  # atomic moves
    MIGRATION_ENDED = "resharding.migration_ended"
    TARGET_MARKED = "resharding.target_marked"  # moves key by key
    SOURCE_MARKED = "resharding.source_marked"
    KEYS_SENT = "resharding.keys_sent"
    TARGET_OWNS = "resharding.target_owns"
    SOURCE_GAVE_UP = "resharding.source_gave_up"
    LAYOUT_WRITTEN = "resharding.layout_written"

    SNAPSHOT_BEGUN = "snapshot.begun"  # some of a shard is in the store
    SNAPSHOT_SHARD_WRITTEN = "snapshot.shard_written"  # and read back
    SNAPSHOT_PUBLISHED = "snapshot.published"
    SNAPSHOT_COMPLETED = "snapshot.completed"
    SNAPSHOT_COPIED = "snapshot.copied"  # published under another name
    SNAPSHOT_FILES_REMOVED = "snapshot.files_removed"
    OBJECT_BEGUN = "export.object_begun"
    OBJECT_WRITTEN = "export.object_written"
    RESTORE_BEGUN = "restore.begun"  # some of a file is where a node will begin with it
    RESTORE_WRITTEN = "restore.written"
    RESTORE_LOADED = "restore.loaded"

    REGION_HELD = "regions.held"  # the old region takes no writes, for a while
    REGION_FENCED = "regions.fenced"  # nor ever after
    REGION_LEADS = "regions.leads"  # the other one is to, by its record
    FEEDS_TURNED = "regions.feeds_turned"
    UPDATE_NODE_MARKED = "update.node_marked"  # it is shown as in progress
    UPDATE_PRIMARY_MOVED = "update.primary_moved"
    UPDATE_NODE_DONE = "update.node_done"  # and not written down yet


Listener = Callable[[Milestone], None]


def ignore(milestone: Milestone) -> None:
    """Do nothing."""


_listener: Listener = ignore


def listen(listener: Listener) -> None:
    """Call *listener* at each milestone from now on, in this process."""
    global _listener
    _listener = listener


def reached(milestone: Milestone) -> None:
    """Say that a pass has come to *milestone*."""
    _listener(milestone)
