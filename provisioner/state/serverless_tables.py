"""The table of serverless caches: what customers ask for and see.

What stands behind one is a replication group in cluster mode, or a memcached cluster of one node,
in the scope's shadow (:attr:`~cachefleet.provisioner.state.scope.Scope.shadow`). Its name there is
the cache's, and ``serverless_uid`` leads back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.tables import Base, Named


class ServerlessCache(Named, Base):
    """A serverless cache. ``limits`` is CacheUsageLimits as it is shown."""

    __tablename__ = "serverless_caches"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "serverless_cache"
    arn_kind = "serverlesscache"

    description: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(32))
    engine: Mapped[str] = mapped_column(String(16))
    major_version: Mapped[str] = mapped_column(String(8))
    engine_version: Mapped[str] = mapped_column(String(32))  # FullEngineVersion
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    security_group_ids: Mapped[list[str]] = mapped_column(default=list)
    subnet_ids: Mapped[list[str]] = mapped_column(default=list)
    user_group_id: Mapped[str | None]
    kms_key_id: Mapped[str | None] = mapped_column(Text)
    snapshot_retention_limit: Mapped[int] = mapped_column(default=0)
    daily_snapshot_time: Mapped[str] = mapped_column(String(5))
    network_type: Mapped[str] = mapped_column(String(16), default="ipv4")
    # What clients are told of the cluster: the ids of its primary and of its place for reads.
    node_ids: Mapped[list[str]] = mapped_column(default=list)
    backing_uid: Mapped[str] = mapped_column(String(16), index=True)
    created_at: Mapped[datetime]
    # While data is taken over from a server outside; see provisioner.state.serverless_migration.
    migration: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")

    @property
    def is_memcached(self) -> bool:
        return self.engine == "memcached"

    @property
    def ecpu_per_s(self) -> int | None:
        """The most processing units a second, None without a limit."""
        return (self.limits.get("ECPUPerSecond") or {}).get("Maximum")
