"""Reads ``INFO`` into a :class:`ReplicationView`.

Pure. Takes ``INFO replication``, with the ``persistence`` section in front or behind when the
caller wants *loading* to be told: a node that loads still answers ``INFO``, and is no replica
to trust yet. Refuses text that names no role.
"""

from __future__ import annotations

from cachefleet.engine.errors import EngineError
from cachefleet.engine.types import Endpoint, NodeRole, ReplicaLink, ReplicationView

_ROLES = {"master": NodeRole.PRIMARY, "slave": NodeRole.REPLICA}


class NotAReplicationReply(EngineError):
    """The text is not what ``INFO replication`` answers."""


def parse_info(reply: bytes | str) -> dict[str, str]:
    """Turn any ``INFO`` reply into a mapping; section titles are left out."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    pairs = (line.partition(":") for line in text.splitlines() if line and line[0] != "#")
    return {name: value for name, colon, value in pairs if colon}


def parse_replication(reply: bytes | str) -> ReplicationView:
    """Read one node's account of its replication."""
    info = parse_info(reply)
    role = _ROLES.get(info.get("role", ""))
    if role is None:
        raise NotAReplicationReply(f"no known role in INFO replication: {info.get('role')!r}")
    following = role is NodeRole.REPLICA
    return ReplicationView(
        role=role,
        # A replica is judged by what it has applied; master_repl_offset counts, on a replica,
        # what its own backlog holds, which lags behind right after a full sync.
        offset=_integer(info, "slave_repl_offset" if following else "master_repl_offset"),
        replid=info.get("master_replid", ""),
        primary=(
            Endpoint(info.get("master_host", ""), _integer(info, "master_port"))
            if following
            else None
        ),
        link_up=info.get("master_link_status") == "up",
        sync_in_progress=info.get("master_sync_in_progress", "0") != "0",
        loading=info.get("loading", "0") != "0" or info.get("async_loading", "0") != "0",
        replicas=_replicas(info),
        failover_state=info.get("master_failover_state", "no-failover"),
    )


def _replicas(info: dict[str, str]) -> tuple[ReplicaLink, ...]:
    links = []
    for name, value in info.items():
        # slave0:ip=..,port=..,state=..,offset=..,lag=..; slave_priority and its like are no links
        if not (name.startswith("slave") and name[5:].isdigit()):
            continue
        fields = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
        lag = fields.get("lag", "")
        links.append(
            ReplicaLink(
                endpoint=Endpoint(fields.get("ip", ""), _integer(fields, "port")),
                offset=_integer(fields, "offset"),
                state=fields.get("state", ""),
                lag_s=int(lag) if lag.isdigit() else None,
            )
        )
    return tuple(links)


def _integer(fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "0")
    return int(value) if value.lstrip("-").isdigit() else 0
