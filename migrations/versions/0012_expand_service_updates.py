"""Service updates, and what each means to one cache."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0012_expand_service_updates"
down_revision = "0011_expand_feeds"
branch_labels = None
depends_on = None


def upgrade() -> None:
    utc = cachefleet.provisioner.state.tables.UtcDateTime(timezone=True)
    op.create_table(
        "service_updates",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("brings", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=255), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("released_at", utc, nullable=False),
        sa.Column("apply_by_at", utc, nullable=False),
        sa.Column("ends_at", utc, nullable=False),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_service_updates")),
        sa.UniqueConstraint(
            "account", "region", "name", name=op.f("uq_service_updates_account_region_name")
        ),
    )
    op.create_table(
        "update_actions",
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("update_uid", sa.String(length=16), nullable=False),
        sa.Column("subject_uid", sa.String(length=16), nullable=False),
        sa.Column("subject_kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("available_at", utc, nullable=False),
        sa.Column("status_at", utc, nullable=False),
        sa.Column("completed_at", utc, nullable=True),
        sa.Column("initiated_by", sa.String(length=16), nullable=True),
        sa.Column("initiated_at", utc, nullable=True),
        sa.Column("subject_created_at", utc, nullable=True),
        sa.Column("nodes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["update_uid"],
            ["service_updates.uid"],
            name=op.f("fk_update_actions_update_uid"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["subject_uid"],
            ["subjects.uid"],
            name=op.f("fk_update_actions_subject_uid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_update_actions")),
        sa.UniqueConstraint(
            "update_uid", "subject_uid", name=op.f("uq_update_actions_update_uid_subject_uid")
        ),
    )
    with op.batch_alter_table("update_actions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_update_actions_update_uid"), ["update_uid"])
        batch_op.create_index(batch_op.f("ix_update_actions_subject_uid"), ["subject_uid"])
