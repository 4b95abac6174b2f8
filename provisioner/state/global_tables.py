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
    # How often another region has come to lead; by it cachefleets agree on who does.
    epoch: Mapped[int] = mapped_column(default=0, server_default="0")

    members: Mapped[list[GlobalMember]] = relationship(
        lazy="selectin", order_by="GlobalMember.region", cascade="all, delete-orphan"
    )


class GlobalMember(Base):
    """One replication group of a global datastore.

    ``fleet`` is the id of the cachefleet that has it, where that is another one: then there is no
    group of ours behind it, ``card`` is what was said of it, and ``asked`` what it is to do. Of our
    own, ``asked`` is what another one told us to do and ``card`` what of that we have begun.
    """

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
    fleet: Mapped[str | None] = mapped_column(String(32))
    card: Mapped[dict[str, Any] | None]
    asked: Mapped[dict[str, Any] | None]
    joined_at: Mapped[datetime | None]
