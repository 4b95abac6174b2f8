"""The records of service updates, and of what each means to one cache."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cachefleet.provisioner.state.tables import Base, Named


class ServiceUpdate(Named, Base):
    """Something newer than what nodes of this scope run or serve with.

    *fingerprint* says what exactly: the build of an engine, or the serial number of an authority.
    """

    __tablename__ = "service_updates"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "service_update"
    arn_kind = "serviceupdate"

    kind: Mapped[str] = mapped_column(String(16))  # engine | authority
    engine: Mapped[str] = mapped_column(String(16))
    brings: Mapped[str]  # in words: an engine and its version
    fingerprint: Mapped[str]
    severity: Mapped[str] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))  # available | cancelled
    released_at: Mapped[datetime]
    apply_by_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class UpdateAction(Base):
    """One service update of one cache: a replication group, or a cluster that stands alone."""

    __tablename__ = "update_actions"
    __table_args__ = (UniqueConstraint("update_uid", "subject_uid"),)
    resource: ClassVar[str] = "update_action"

    uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    update_uid: Mapped[str] = mapped_column(
        ForeignKey("service_updates.uid", ondelete="CASCADE"), index=True
    )
    subject_uid: Mapped[str] = mapped_column(
        ForeignKey("subjects.uid", ondelete="CASCADE"), index=True
    )
    subject_kind: Mapped[str] = mapped_column(String(32))  # replication_group | cache_cluster
    name: Mapped[str]  # of the cache
    status: Mapped[str] = mapped_column(String(16))
    available_at: Mapped[datetime]
    status_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    initiated_by: Mapped[str | None] = mapped_column(String(16))  # system | customer
    initiated_at: Mapped[datetime | None]
    # When the cache was made: updates that were due before then do not concern its owner's record.
    subject_created_at: Mapped[datetime | None]
    # By the node's uid: member, node id, shard, status and times (state/updates.py).
    nodes: Mapped[dict[str, Any]]

    update: Mapped[ServiceUpdate] = relationship(lazy="joined", innerjoin=True)
