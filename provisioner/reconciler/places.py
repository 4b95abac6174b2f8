"""Where a node's files lie: on disk, or only in memory where it is encrypted at rest."""

from __future__ import annotations

from pathlib import Path

from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.state.tables import CacheNode

SCRATCH_FOLDER = "scratch"


def node_directory(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> Path:
    """Return the directory of a node; it is there."""
    directory = fleet.driver.directory(node.uid)
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def scratch_directory(record: SubjectRecord, fleet: Fleet) -> Path:
    """Return where data may lie while it is worked on; it may not be there."""
    return fleet.settings.data_dir / SCRATCH_FOLDER / record.lease.subject_uid
