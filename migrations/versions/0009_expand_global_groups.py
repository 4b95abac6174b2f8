"""Global datastores and their members."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0009_expand_global_groups"
down_revision = "0008_expand_snapshots"
branch_labels = None
depends_on = None


def upgrade() -> None:
    utc = cachefleet.provisioner.state.tables.UtcDateTime(timezone=True)
    op.create_table(
        "global_groups",
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("pending", sa.JSON(), nullable=False),
        sa.Column("created_at", utc, nullable=False),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_global_groups")),
        sa.UniqueConstraint(
            "account", "region", "name", name=op.f("uq_global_groups_account_region_name")
        ),
    )
    op.create_table(
        "global_members",
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("global_uid", sa.String(length=16), nullable=False),
        sa.Column("group_uid", sa.String(length=16), nullable=False),
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["global_uid"],
            ["global_groups.uid"],
            name=op.f("fk_global_members_global_uid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_global_members")),
        sa.UniqueConstraint("group_uid", name=op.f("uq_global_members_group_uid")),
    )
    with op.batch_alter_table("global_members", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_global_members_global_uid"), ["global_uid"], unique=False
        )
