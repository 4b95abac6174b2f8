"""The records of who may do what: access keys, users and user groups, security groups.

Secrets are here only as engines keep them (SHA-256 of a user's password) or sealed with the master
key (secret access keys).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.tables import Base, Named


class AccessKey(Base):
    """A key pair with which requests are signed. It is of an account, in every region."""

    __tablename__ = "access_keys"
    __table_args__ = {"info": {"survives_reset": True}}  # noqa: RUF012 - SQLAlchemy's own form

    access_key_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    scope: Mapped[str] = mapped_column(String(16))  # full | read-only | connect
    sealed_secret: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    # Set when a rotation has put another key in its place: until then both are good.
    expires_at: Mapped[datetime | None]


class User(Named, Base):
    """A user of engines. ``name`` is its UserId; ``user_name`` is what clients authenticate as."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "user"
    arn_kind = "user"
    by_value = True

    user_name: Mapped[str]
    status: Mapped[str] = mapped_column(String(16))
    engine: Mapped[str] = mapped_column(String(16))
    access_string: Mapped[str] = mapped_column(Text)
    authentication_type: Mapped[str] = mapped_column(String(16))  # password | no-password | iam
    password_sha256s: Mapped[list[str]] = mapped_column(default=list)


class UserGroup(Named, Base):
    """Users who may use the caches that the group is attached to.

    ``user_ids`` is what is wanted. While that is on its way to the nodes, ``user_ids_before`` is
    what it was.
    """

    __tablename__ = "user_groups"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "user_group"
    arn_kind = "usergroup"
    by_value = True

    status: Mapped[str] = mapped_column(String(16))
    engine: Mapped[str] = mapped_column(String(16))
    user_ids: Mapped[list[str]] = mapped_column(default=list)
    user_ids_before: Mapped[list[str]] = mapped_column(default=list)


class VpcSecurityGroup(Base):
    """A VPC security group that is defined here. Each rule: {"cidr", "from_port", "to_port"}."""

    __tablename__ = "vpc_security_groups"

    account: Mapped[str] = mapped_column(String(12), primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    group_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    ingress: Mapped[list[dict[str, Any]]] = mapped_column(default=list)


class CacheSecurityGroup(Named, Base):
    """A cache security group; each entry of *ingress*: {"name", "owner", "status"}."""

    __tablename__ = "cache_security_groups"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "security_group"
    arn_kind = "securitygroup"

    description: Mapped[str] = mapped_column(Text)
    ingress: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
