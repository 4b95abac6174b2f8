"""Who may use a memcached cluster. AWS has no such thing; here it is set through ``/v1``."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from cachefleet.provisioner.state.tables import Base


class MemcachedLogin(Base):
    """A name and the passwords that are good for it, the newest first, each sealed.

    They are sealed and not hashed, because a stock memcached has to be given them in clear.
    """

    __tablename__ = "memcached_logins"

    cluster_uid: Mapped[str] = mapped_column(
        ForeignKey("cache_clusters.uid", ondelete="CASCADE"), primary_key=True
    )
    user_name: Mapped[str] = mapped_column(String(64), primary_key=True)
    sealed_passwords: Mapped[list[str]] = mapped_column(default=list)
    changed_at: Mapped[datetime]
