"""Who vouches for the nodes of this fleet, for the cachefleets that follow them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017_expand_peer_authority"
down_revision = "0016_expand_serverless_migration"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("fleet", schema=None) as batch_op:
        batch_op.add_column(sa.Column("authority", sa.Text(), server_default="", nullable=False))
