"""The passes that act: load the record, observe, plan, take one batch of steps, look again.

Belongs here: what carries a plan out on real processes and engines, and the loop that claims
operations under leases. Decisions are in `planning`; what watches nodes is in `health`.
"""
