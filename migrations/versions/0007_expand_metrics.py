"""What was measured of nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_expand_metrics"
down_revision = "0006_expand_faults"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metric_layouts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_layouts")),
    )
    op.create_table(
        "metric_samples",
        sa.Column("node_uid", sa.String(length=16), nullable=False),
        sa.Column("sampled_at_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("layout_id", sa.Integer(), nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_uid"],
            ["cache_nodes.uid"],
            name=op.f("fk_metric_samples_node_uid"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["layout_id"], ["metric_layouts.id"], name=op.f("fk_metric_samples_layout_id")
        ),
        sa.PrimaryKeyConstraint("node_uid", "sampled_at_s", name=op.f("pk_metric_samples")),
    )
    op.create_index(
        op.f("ix_metric_samples_sampled_at_s"), "metric_samples", ["sampled_at_s"], unique=False
    )
