"""The tables of injected faults: what was asked for, and how it stands with each node."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Double, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import Base


class InjectedFault(Base):
    """A fault that somebody asked for; it is over at ``ends_at``, whoever is there to see it."""

    __tablename__ = "injected_faults"
    __table_args__ = (Index(None, "account", "region", "created_at"),)

    uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))  # kill | stop | slow | partition
    target: Mapped[dict[str, Any]]  # as it was asked for
    cut: Mapped[str] = mapped_column(String(16), default="")  # partition: all | nodes
    run_share: Mapped[float] = mapped_column(
        Double, default=1.0
    )  # slow: part of the time that it runs
    duration_s: Mapped[float] = mapped_column(Double)
    created_at: Mapped[datetime]
    ends_at: Mapped[datetime]

    hits: Mapped[list[FaultHit]] = relationship(
        back_populates="fault",
        lazy="selectin",
        order_by="FaultHit.member_name, FaultHit.cache_node_id",
        cascade="all, delete-orphan",
    )

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)


class FaultHit(Base):
    """One node of a fault. Whoever holds the lease of its subject acts and writes here."""

    __tablename__ = "fault_hits"

    fault_uid: Mapped[str] = mapped_column(
        ForeignKey("injected_faults.uid", ondelete="CASCADE"), primary_key=True
    )
    # It goes with its node: a node that was deleted has no fault any more.
    node_uid: Mapped[str] = mapped_column(
        ForeignKey("cache_nodes.uid", ondelete="CASCADE"), primary_key=True
    )
    subject_uid: Mapped[str] = mapped_column(String(16))
    member_name: Mapped[str]
    cache_node_id: Mapped[str] = mapped_column(String(4))
    state: Mapped[str] = mapped_column(String(16), index=True)  # see faults.HitState
    undone: Mapped[bool] = mapped_column(default=False)
    # The process that was hit. The one that comes after it is left alone.
    pid: Mapped[int | None]
    started_at_s: Mapped[float | None] = mapped_column(Double)
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(Text, default="")

    fault: Mapped[InjectedFault] = relationship(back_populates="hits", lazy="joined")
