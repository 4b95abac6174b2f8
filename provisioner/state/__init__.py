"""The records: what customers asked for, what has been promised, who works on what.

Everything durable is here: tables, lifecycle tables, operations, leases and events. Nothing in
this package starts a process or speaks to an engine; the API writes here and the reconciler reads.
"""

from __future__ import annotations

# The tables of every module, so that whoever asks the metadata is told of all of them.
from cachefleet.provisioner.state import snapshot_tables, tables

__all__ = ["snapshot_tables", "tables"]
