"""Where a node's files lie: on disk, or only in memory where its group is encrypted at rest.

A node that is encrypted at rest has its directory on a memory-backed file system; where the driver
looks for it there is a link. What has to outlive the memory is sealed, in a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cachefleet.engine.errors import EngineError
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.state.tables import CacheNode

SCRATCH_FOLDER = "scratch"
SEALED_FOLDER = "sealed"
SEALED_SUFFIX = ".sealed"
PICTURE_SUFFIX = ".nodes.conf"
MEMORY_DIR_DEFAULT = Path("/dev/shm")  # checked for what it is, and private inside
MEMORY_BACKED = frozenset({"tmpfs", "ramfs"})
MOUNTS = Path("/proc/self/mounts")


class NoMemoryDirectory(EngineError):
    """There is no memory-backed directory here: nothing can be encrypted at rest."""


def is_sealed(record: SubjectRecord) -> bool:
    """Whether nothing of the subject's data may be on disk in clear."""
    return record.settings.at_rest_encryption_enabled


def node_directory(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> Path:
    """Return the directory of a node; it is there.

    Raises:
        NoMemoryDirectory: it has to be in memory, and cannot.
    """
    directory = fleet.driver.directory(node.uid)
    if not is_sealed(record):
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory
    target = memory_folder(fleet) / node.uid
    target.mkdir(mode=0o700, exist_ok=True)
    if not directory.is_symlink():
        directory.symlink_to(target)
    return directory


def scratch_directory(record: SubjectRecord, fleet: Fleet) -> Path:
    """Return where data may lie while it is worked on; it may not be there."""
    root = memory_folder(fleet) if is_sealed(record) else fleet.settings.data_dir
    return root / SCRATCH_FOLDER / record.lease.subject_uid


def memory_folder(fleet: Fleet) -> Path:
    """Return the fleet's own folder on a memory-backed file system; it is there, and private.

    Raises:
        NoMemoryDirectory: there is no such file system, or the folder is somebody else's.
    """
    root = fleet.settings.memory_dir or MEMORY_DIR_DEFAULT
    if not root.is_dir() or file_system_of(root) not in MEMORY_BACKED:
        raise NoMemoryDirectory(
            f"{root} is not memory-backed: encryption at rest needs a tmpfs (memory_dir)"
        )
    digest = hashlib.sha256(os.fsencode(fleet.settings.data_dir.resolve())).hexdigest()[:16]
    folder = root / f"cachefleet-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = folder.lstat()
    if told.st_uid != os.getuid() or not stat.S_ISDIR(told.st_mode) or told.st_mode & 0o077:
        raise NoMemoryDirectory(f"{folder} is not a private directory of ours")
    return folder


def file_system_of(path: Path) -> str:
    """Return the type of the file system that *path* is on; empty where it cannot be told."""
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    wanted, best, kind = str(path.resolve()), -1, ""
    for line in lines:
        _, where, what, *_ = line.split(" ")
        inside = wanted == where or wanted.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= best:
            best, kind = len(where), what
    return kind


def sealed_dump(uid: str, fleet: Fleet) -> Path | None:
    """Return what an orderly stop has kept of an encrypted node's data, if anything."""
    return next(iter(sorted(_sealed_folder(fleet).glob(f"{uid}.*{SEALED_SUFFIX}"))), None)


def new_sealed_dump(uid: str, rdb: str, fleet: Fleet) -> Path:
    """Return where an encrypted node's data is kept; the format of it is told by the name."""
    folder = _sealed_folder(fleet)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{uid}.{rdb}{SEALED_SUFFIX}"


def kept_picture(uid: str, fleet: Fleet) -> Path:
    """Return where an encrypted node's ``nodes.conf`` is kept, which has no data in it."""
    return _sealed_folder(fleet) / f"{uid}{PICTURE_SUFFIX}"


def forget_sealed(uid: str, fleet: Fleet) -> None:
    """Remove what was kept of a node."""
    for path in _sealed_folder(fleet).glob(f"{uid}.*"):
        path.unlink(missing_ok=True)


def kept_uids(fleet: Fleet) -> set[str]:
    """Return the nodes of which anything is kept.

    Ask before the record is read: what a node begins to keep after that is then not taken for a
    leftover. A row comes before its node, and that before its files.
    """
    return {path.name.split(".", 1)[0] for path in _sealed_folder(fleet).glob("*")}


def forget_unknown(found: set[str], recorded: set[str], fleet: Fleet) -> None:
    """Remove what was kept of the nodes that were *found* and are in no record any more."""
    for uid in found - recorded:
        forget_sealed(uid, fleet)


def _sealed_folder(fleet: Fleet) -> Path:
    return fleet.settings.data_dir / SEALED_FOLDER
