"""Faults that were injected on purpose."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0006_expand_faults"
down_revision = "0005_expand_notifications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    utc = cachefleet.provisioner.state.tables.UtcDateTime(timezone=True)
    op.create_table(
        "injected_faults",
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.JSON(), nullable=False),
        sa.Column("cut", sa.String(length=16), nullable=False),
        sa.Column("run_share", sa.Double(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("created_at", utc, nullable=False),
        sa.Column("ends_at", utc, nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_injected_faults")),
    )
    with op.batch_alter_table("injected_faults", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_injected_faults_account_region_created_at"),
            ["account", "region", "created_at"],
            unique=False,
        )

    op.create_table(
        "fault_hits",
        sa.Column("fault_uid", sa.String(length=16), nullable=False),
        sa.Column("node_uid", sa.String(length=16), nullable=False),
        sa.Column("subject_uid", sa.String(length=16), nullable=False),
        sa.Column("member_name", sa.String(length=255), nullable=False),
        sa.Column("cache_node_id", sa.String(length=4), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("undone", sa.Boolean(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("started_at_s", sa.Double(), nullable=True),
        sa.Column("began_at", utc, nullable=True),
        sa.Column("ended_at", utc, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["fault_uid"],
            ["injected_faults.uid"],
            name=op.f("fk_fault_hits_fault_uid"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["node_uid"],
            ["cache_nodes.uid"],
            name=op.f("fk_fault_hits_node_uid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("fault_uid", "node_uid", name=op.f("pk_fault_hits")),
    )
    with op.batch_alter_table("fault_hits", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fault_hits_state"), ["state"], unique=False)
