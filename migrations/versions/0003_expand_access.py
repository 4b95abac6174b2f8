"""Who may do what: access keys, users, user groups, security groups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cachefleet.provisioner.state.tables

revision = "0003_expand_access"
down_revision = "0002_expand_changes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Who may do what.
    op.create_table(
        "access_keys",
        sa.Column("access_key_id", sa.String(length=128), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
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
        sa.PrimaryKeyConstraint("access_key_id", name=op.f("pk_access_keys")),
    )
    op.create_table(
        "users",
        sa.Column("user_name", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("access_string", sa.Text(), nullable=False),
        sa.Column("authentication_type", sa.String(length=16), nullable=False),
        sa.Column("password_sha256s", sa.JSON(), nullable=False),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_users")),
        sa.UniqueConstraint("account", "region", "name", name=op.f("uq_users_account_region_name")),
    )
    op.create_table(
        "user_groups",
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("user_ids", sa.JSON(), nullable=False),
        sa.Column("user_ids_before", sa.JSON(), nullable=False),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_user_groups")),
        sa.UniqueConstraint(
            "account", "region", "name", name=op.f("uq_user_groups_account_region_name")
        ),
    )
    op.create_table(
        "vpc_security_groups",
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("ingress", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account", "region", "group_id", name=op.f("pk_vpc_security_groups")
        ),
    )
    op.create_table(
        "cache_security_groups",
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("ingress", sa.JSON(), nullable=False),
        sa.Column("uid", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_cache_security_groups")),
        sa.UniqueConstraint(
            "account", "region", "name", name=op.f("uq_cache_security_groups_account_region_name")
        ),
    )
