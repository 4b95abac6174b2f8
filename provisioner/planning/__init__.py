"""The decisions, pure: desired and observed values in, ordered steps out.

Belongs here: what to do next, and why, as values. No clock, no database, no process, no socket; a
test needs nothing but this package. The reconciler takes the first batch and looks again.
"""
