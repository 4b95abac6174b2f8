"""Shards in cluster mode whose data comes from those of another group."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_expand_feeds"
down_revision = "0010_expand_serverless"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("node_groups", schema=None) as batch_op:
        batch_op.add_column(sa.Column("feed", sa.JSON(), nullable=True))
