"""What is to be sent to SNS topics, as a mapped class."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import Base


class Notification(Base):
    """A message that waits to be published; its row goes when it was, or when it is given up."""

    __tablename__ = "notifications"

    id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    topic_arn: Mapped[str]
    message: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime] = mapped_column(index=True)

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)
