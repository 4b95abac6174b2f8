"""Serverless caches that take over data; caches that are filled from several snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016_expand_serverless_migration"
down_revision = "0014_expand_revisions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("serverless_caches", schema=None) as batch_op:
        batch_op.add_column(sa.Column("migration", sa.JSON(), server_default="{}", nullable=False))
    with op.batch_alter_table("restores", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("more_snapshot_uids", sa.JSON(), server_default="[]", nullable=False)
        )
