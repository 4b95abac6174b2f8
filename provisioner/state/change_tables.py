"""The records of what happened: changes of resources in order, and answers to repeated requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.tables import Base


class Change(Base):
    """One change of a resource's state, or one event, in the order in which they were committed.

    Within a scope a higher id was never visible before a lower one, so that a reader who remembers
    the last id it saw misses nothing.
    """

    __tablename__ = "changes"
    __table_args__ = (
        Index(None, "account", "region", "id"),
        Index(None, "occurred_at"),
        {"sqlite_autoincrement": True},  # an id is never given twice, whatever is removed
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))  # resource | event
    payload: Mapped[dict[str, Any]]
    occurred_at: Mapped[datetime]


class IdempotencyKey(Base):
    """What was answered to a request that carried a key."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("account", "region", "key"), Index(None, "created_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    key: Mapped[str]
    request_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
