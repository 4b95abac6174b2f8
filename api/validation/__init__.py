"""What a request is checked for before any record is read: pure, one module a subject.

A check returns the value as it will be stored, or raises the fault that the service would answer.
Nothing here reads the database, the clock or a process.
"""
