"""Make a node follow another: one of the fleet, or one outside that knows nothing of us.

A replica shows its primary the fleet's own credential, which an outside one would refuse, and comes
from its own loopback address, from which nothing outside this machine is reached. Both are set
before the node is told to follow, each time: what it followed before decides nothing.
"""

from __future__ import annotations

from cachefleet.engine.types import Endpoint
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.launch import REPLICATION_USER
from cachefleet.provisioner.reconciler.records import SubjectRecord, own_endpoint
from cachefleet.provisioner.state.tables import CacheNode

SOURCE_ADDRESS = "bind-source-addr"


async def follow(
    node: CacheNode,
    target: Endpoint,
    record: SubjectRecord,
    fleet: Fleet,
    *,
    outside: bool = False,
) -> None:
    """Make *node* replicate from *target*; a no-op where it already does.

    Raises:
        NodeUnreachable, CommandRefused: the node did not do it.
    """
    adapter = fleet.valkey(node)
    directives = {
        "masteruser": "" if outside else REPLICATION_USER,
        "masterauth": "" if outside else record.settings.replication_secret,
    }
    # Older engines choose the address themselves.
    if SOURCE_ADDRESS in await adapter.config_get(SOURCE_ADDRESS):
        directives[SOURCE_ADDRESS] = "" if outside else own_endpoint(node).host
    await adapter.configure(directives)
    await adapter.follow(target)


async def lead(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """Make *node* what the primary of its shard is: a primary, or who follows its upstream.

    Fence the old primary first: this checks nothing.

    Raises:
        NodeUnreachable, CommandRefused: the node did not do it.
    """
    upstream = record.upstream_of(node.node_group_uid)
    if upstream is None:
        await fleet.valkey(node).promote()
    else:
        await follow(node, upstream.endpoint, record, fleet, outside=upstream.outside)
