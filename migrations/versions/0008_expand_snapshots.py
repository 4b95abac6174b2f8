"""Snapshots, and the caches that are being filled from one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0008_expand_snapshots"
down_revision = "0007_expand_metrics"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "snapshots",
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("source_uid", sa.String(length=16), nullable=False),
        sa.Column("cache_cluster_id", sa.String(length=255), nullable=True),
        sa.Column("replication_group_id", sa.String(length=255), nullable=True),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("engine_version", sa.String(length=32), nullable=False),
        sa.Column("node_type", sa.String(length=64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("node_snapshots", sa.JSON(), nullable=False),
        sa.Column("encrypted", sa.Boolean(), nullable=False),
        sa.Column("kms_key_id", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            cachefleet.provisioner.state.tables.UtcDateTime(timezone=True),
            nullable=False,
        ),
        sa.Column(
            "expires_at",
            cachefleet.provisioner.state.tables.UtcDateTime(timezone=True),
            nullable=True,
        ),
        sa.Column("copy_of", sa.String(length=16), nullable=True),
        sa.Column("export", sa.JSON(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column(
            "work_began_at",
            cachefleet.provisioner.state.tables.UtcDateTime(timezone=True),
            nullable=True,
        ),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_snapshots")),
        sa.UniqueConstraint(
            "account", "region", "name", name=op.f("uq_snapshots_account_region_name")
        ),
    )
    with op.batch_alter_table("snapshots", schema=None) as batch_op:
        for column in ("cache_cluster_id", "replication_group_id", "source_uid"):
            batch_op.create_index(batch_op.f(f"ix_snapshots_{column}"), [column], unique=False)
    op.create_table(
        "restores",
        sa.Column("subject_uid", sa.String(length=16), nullable=False),
        sa.Column("snapshot_uid", sa.String(length=16), nullable=True),
        sa.Column("arns", sa.JSON(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column(
            "began_at",
            cachefleet.provisioner.state.tables.UtcDateTime(timezone=True),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("subject_uid", name=op.f("pk_restores")),
    )
    with op.batch_alter_table("restores", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_restores_snapshot_uid"), ["snapshot_uid"], unique=False
        )
