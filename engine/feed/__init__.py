"""Carries the data of one shard in cluster mode to another that is no replica of it.

The worker (``python -m cachefleet.engine.feed``) reads shards' replication streams and applies
them, command by command, to the primaries of the shards that follow them.
"""
