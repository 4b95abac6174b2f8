"""Names and sealed passwords of memcached clusters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0013_expand_memcached_logins"
down_revision = "0012_expand_service_updates"
branch_labels = None
depends_on = None


def upgrade() -> None:
    utc = cachefleet.provisioner.state.tables.UtcDateTime(timezone=True)
    op.create_table(
        "memcached_logins",
        sa.Column("cluster_uid", sa.String(length=16), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("sealed_passwords", sa.JSON(), nullable=False),
        sa.Column("changed_at", utc, nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_uid"],
            ["cache_clusters.uid"],
            name=op.f("fk_memcached_logins_cluster_uid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("cluster_uid", "user_name", name=op.f("pk_memcached_logins")),
    )
