"""The records: what customers asked for, what has been promised, who works on what.

Everything durable is here: tables, lifecycle tables, operations, leases and events. Nothing in
this package starts a process or speaks to an engine; the API writes here and the reconciler reads.
"""
