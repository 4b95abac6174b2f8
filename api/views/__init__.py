"""Records to response dicts, in the member names of the service model. Pure.

A member that is absent or None is left out of the answer; an empty list or dict is shown as an
empty element, as the service does. Nothing here reads the database or decides anything.
"""
