"""The records: what customers asked for, what has been promised, who works on what.

Everything durable is here: tables, lifecycle tables, operations, leases and events. Nothing in
this package starts a process or speaks to an engine; the API writes here and the reconciler reads.
"""

# Whoever makes tables or compares them has to know all of them, whatever else was imported.
from cachefleet.provisioner.state import (  # noqa: F401
    reservation_tables,
)
