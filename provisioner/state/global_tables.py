"""The tables of global datastores: which groups of which regions hold the same data.

A global datastore belongs to an account and to no region. What its members have in common (engine,
node type) is read from the primary; here is only who is a member, and as what.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cachefleet.provisioner.state.tables import Base, Named


class GlobalGroup(Named, Base):
    """A global datastore. ``region`` is empty; ``pending`` is what is being done to it."""

    __tablename__ = "global_groups"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "global_replication_group"
    arn_kind = "globalreplicationgroup"

    description: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(32))
    pending: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]

    members: Mapped[list[GlobalMember]] = relationship(
        lazy="selectin", order_by="GlobalMember.region", cascade="all, delete-orphan"
    )


class GlobalMember(Base):
    """One replication group of a global datastore."""

    __tablename__ = "global_members"
    __table_args__ = (UniqueConstraint("group_uid"),)

    uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    global_uid: Mapped[str] = mapped_column(
        ForeignKey("global_groups.uid", ondelete="CASCADE"), index=True
    )
    group_uid: Mapped[str] = mapped_column(String(16))
    group_name: Mapped[str]
    region: Mapped[str] = mapped_column(String(32))
    role: Mapped[str] = mapped_column(String(16))  # PRIMARY | SECONDARY
    status: Mapped[str] = mapped_column(String(16))  # associating | associated
