"""What was measured of nodes: one row a node and instant, the numbers packed."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.tables import Base


class MetricLayout(Base):
    """Which metrics the numbers of a sample are, in order."""

    __tablename__ = "metric_layouts"
    __table_args__ = ({"info": {"survives_reset": True}},)

    id: Mapped[int] = mapped_column(primary_key=True)
    names: Mapped[list[str]]


class MetricSample(Base):
    """The metrics of one node at one instant, in seconds since 1970."""

    __tablename__ = "metric_samples"
    __table_args__ = (Index(None, "sampled_at_s"),)

    node_uid: Mapped[str] = mapped_column(
        String(16), ForeignKey("cache_nodes.uid", ondelete="CASCADE"), primary_key=True
    )
    sampled_at_s: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    layout_id: Mapped[int] = mapped_column(ForeignKey("metric_layouts.id"))
    numbers: Mapped[bytes] = mapped_column(LargeBinary)
