"""Decide how a memcached cluster gets from what runs to what the record says.

Pure; same contract as :mod:`.replication`. Membership rules (semantics of memcached, "Membership
timing"): a node is listed only once it serves, and it leaves every list before it stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.types import Endpoint
from cachefleet.provisioner.planning.replication import plan_launches
from cachefleet.provisioner.planning.steps import Step, Verb


@dataclass(frozen=True, kw_only=True, slots=True)
class MemcachedNodeView:
    """One node: whether it answers, what it tells clients of the cluster, where it listens."""

    uid: str
    own: Endpoint
    wanted_binds: tuple[str, ...]
    running: bool
    serving: bool
    binds: tuple[str, ...] = ()
    announced: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscoveryEntry:
    """A node as clients are told of it: name, address, port."""

    host_name: str
    address: str
    port: int


def render_discovery(version: int, entries: Sequence[DiscoveryEntry]) -> bytes:
    """Return the payload of ``config get cluster``: the version, then the nodes by name."""
    listed = sorted(entries, key=lambda entry: entry.host_name)
    nodes = " ".join(f"{entry.host_name}|{entry.address}|{entry.port}" for entry in listed)
    return f"{version}\n{nodes}\n".encode()


def plan_memcached(nodes: Sequence[MemcachedNodeView], *, payload: bytes) -> list[Step]:
    """Return the next steps; empty once every node serves and announces *payload*."""
    launches = plan_launches([(node.uid, node.running) for node in nodes])
    if launches:
        return launches
    silent = [node for node in nodes if not node.serving]
    if silent:
        return [
            Step(verb=Verb.WAIT, node_uid=node.uid, reason="it does not answer yet")
            for node in silent
        ]
    wrong = [node for node in nodes if set(node.binds) != set(node.wanted_binds)]
    releases = [node for node in wrong if set(node.binds) - set(node.wanted_binds)]
    if wrong:
        return [
            Step(
                verb=Verb.BIND,
                node_uid=node.uid,
                addresses=node.wanted_binds,
                reason="its endpoints changed",
            )
            for node in (releases or wrong)
        ]
    return [
        Step(verb=Verb.ANNOUNCE, node_uid=node.uid, reason="the list of nodes changed")
        for node in nodes
        if node.announced != payload
    ]
