"""The endpoint of a serverless cache: one address in front of shards that come and go.

Clients see one primary and one place for reads, and all slots at them; here each command is sent
to the shard that has its keys. :mod:`.commands` knows where keys are, :mod:`.requests` and
:mod:`.replies` read the protocol, :mod:`.session` is one client, :mod:`.upstream` one of its
connections to a shard, :mod:`.service` the endpoint. Only the last three have sockets.
"""
