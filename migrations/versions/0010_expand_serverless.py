"""Serverless caches, and what marks the groups and clusters that stand behind them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0010_expand_serverless"
down_revision = "0009_expand_global_groups"
branch_labels = None
depends_on = None


def upgrade() -> None:
    utc = cachefleet.provisioner.state.tables.UtcDateTime(timezone=True)
    op.create_table(
        "serverless_caches",
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("major_version", sa.String(length=8), nullable=False),
        sa.Column("engine_version", sa.String(length=32), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("security_group_ids", sa.JSON(), nullable=False),
        sa.Column("subnet_ids", sa.JSON(), nullable=False),
        sa.Column("user_group_id", sa.String(length=255), nullable=True),
        sa.Column("kms_key_id", sa.Text(), nullable=True),
        sa.Column("snapshot_retention_limit", sa.Integer(), nullable=False),
        sa.Column("daily_snapshot_time", sa.String(length=5), nullable=False),
        sa.Column("network_type", sa.String(length=16), nullable=False),
        sa.Column("node_ids", sa.JSON(), nullable=False),
        sa.Column("backing_uid", sa.String(length=16), nullable=False),
        sa.Column("created_at", utc, nullable=False),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_serverless_caches")),
        sa.UniqueConstraint(
            "account", "region", "name", name=op.f("uq_serverless_caches_account_region_name")
        ),
    )
    with op.batch_alter_table("serverless_caches", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_serverless_caches_backing_uid"), ["backing_uid"], unique=False
        )
    for table in ("replication_groups", "cache_clusters"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("serverless_uid", sa.String(length=16), nullable=True))
            batch_op.add_column(sa.Column("memory_limit_bytes", sa.BigInteger(), nullable=True))
