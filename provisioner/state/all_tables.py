"""Every module that has tables. Whoever imports this has a whole ``Base.metadata``."""

from __future__ import annotations

from cachefleet.provisioner.state import (
    access_tables,
    change_tables,
    fault_tables,
    global_tables,
    login_tables,
    metric_tables,
    notification_tables,
    reservation_tables,
    serverless_tables,
    snapshot_tables,
    tables,
    update_tables,
)

__all__ = [
    "access_tables",
    "change_tables",
    "fault_tables",
    "global_tables",
    "login_tables",
    "metric_tables",
    "notification_tables",
    "reservation_tables",
    "serverless_tables",
    "snapshot_tables",
    "tables",
    "update_tables",
]
