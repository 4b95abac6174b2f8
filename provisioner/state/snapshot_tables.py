"""The records of snapshots, and of caches that are being filled from one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.tables import Base, Named


class Snapshot(Named, Base):
    """One snapshot. The row comes before the files and goes after them.

    What it says of its source is a copy (``details``): the source may have changed or gone.
    """

    __tablename__ = "snapshots"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "snapshot"
    arn_kind = "snapshot"

    status: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(16))  # manual | automated
    # The subject that it was taken of; that may be gone, and is none for an import.
    source_uid: Mapped[str] = mapped_column(String(16), index=True)
    cache_cluster_id: Mapped[str | None] = mapped_column(index=True)
    replication_group_id: Mapped[str | None] = mapped_column(index=True)
    engine: Mapped[str] = mapped_column(String(16))
    engine_version: Mapped[str] = mapped_column(String(32))
    node_type: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]]
    # One entry a shard; see provisioner.state.snapshots.
    node_snapshots: Mapped[list[dict[str, Any]]]
    encrypted: Mapped[bool] = mapped_column(default=False)
    kms_key_id: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]  # automatic ones only
    copy_of: Mapped[str | None] = mapped_column(String(16))
    # {"bucket", "name"} while it is being exported.
    export: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # For people: how far the work on it has got.
    bytes_done: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    work_began_at: Mapped[datetime | None]

    @property
    def cluster_enabled(self) -> bool:
        return self.replication_group_id is not None


class Restore(Base):
    """A cache that is being filled, from snapshots or from RDBs in S3. Goes when it serves."""

    __tablename__ = "restores"

    subject_uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    snapshot_uid: Mapped[str | None] = mapped_column(String(16), index=True)
    # The others, where there are several: what a later one has counts.
    more_snapshot_uids: Mapped[list[str]] = mapped_column(default=list, server_default="[]")
    arns: Mapped[list[str]]
    bytes_done: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    began_at: Mapped[datetime]

    @property
    def snapshot_uids(self) -> list[str]:
        """The snapshots, in the order in which they were named."""
        first = [] if self.snapshot_uid is None else [self.snapshot_uid]
        return first + list(self.more_snapshot_uids)
