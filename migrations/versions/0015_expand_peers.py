"""Members of global datastores that another cachefleet has, and who leads since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0015_expand_peers"
down_revision = "0014_expand_revisions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    utc = cachefleet.provisioner.state.tables.UtcDateTime(timezone=True)
    with op.batch_alter_table("global_groups", schema=None) as batch_op:
        batch_op.add_column(sa.Column("epoch", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("global_members", schema=None) as batch_op:
        batch_op.add_column(sa.Column("fleet", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("card", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("asked", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("joined_at", utc, nullable=True))
