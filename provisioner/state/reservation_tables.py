"""The table of reserved cache nodes: a contract, and nothing that runs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.tables import Base, Named


class ReservedNode(Named, Base):
    """What was bought, at the prices of that day. Its state follows from the time."""

    __tablename__ = "reserved_nodes"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "reserved_cache_node"
    arn_kind = "reserved-instance"
    by_value = True

    offering_id: Mapped[str] = mapped_column()
    node_type: Mapped[str] = mapped_column()
    duration_s: Mapped[int]
    fixed_price: Mapped[float]
    usage_price: Mapped[float]
    product: Mapped[str]
    offering_type: Mapped[str]
    recurring_hourly: Mapped[float | None]
    node_count: Mapped[int]
    started_at: Mapped[datetime]
