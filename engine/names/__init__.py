"""Endpoint names: how the service shapes them, and a small DNS server that knows them.

Nothing here knows a record: whoever does gives names and addresses as a mapping.
"""
