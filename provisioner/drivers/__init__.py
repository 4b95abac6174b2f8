"""The places where node processes run.

Belongs here: starting, finding, watching, signalling and removing processes and their
directories. A driver knows argv, files and pids; it does not know what an engine is, what a record
says, or why it was asked. ``fake`` is shipped, so that tests and documentation use the same one.
"""
