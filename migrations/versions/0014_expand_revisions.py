"""What of a scope changed at which revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014_expand_revisions"
down_revision = "0013_expand_memcached_logins"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "scope_revisions",
        sa.Column("tables", sa.JSON(), server_default="{}", nullable=False),
    )
