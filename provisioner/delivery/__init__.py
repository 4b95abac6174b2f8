"""Brings what nodes log to where customers want it.

Belongs here: reading slow logs and log files of nodes that this provisioner holds, keeping a
bounded number of records until they are taken, and noting in the record whether they are. Nothing
here may slow a node: a destination that is away costs records, oldest first, never a client's time.
"""
