"""Valkey and Redis OSS nodes: their configuration file, their replies, their adapter.

The parsers and renderers are pure; only :mod:`cachefleet.engine.valkey.adapter` talks to a node.
"""
