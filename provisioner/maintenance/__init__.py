"""What is done by the calendar: pending changes in maintenance windows, the removal of old records.

Belongs here: knowing when. What is done about a subject is an operation like any other
(`reconciler`), filed in the transaction that finds its window open.
"""
