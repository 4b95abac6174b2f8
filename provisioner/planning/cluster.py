"""Decide how a group in cluster mode gets from what runs to what the record says.

Pure; same contract as :mod:`.replication`. Roles and slots spread by gossip, so most steps are
waits: nothing is forced that the cluster is about to do by itself. The first start of a group
writes each node's ``nodes.conf`` beforehand (ids, slots, epochs), which makes the cluster whole
without one CLUSTER MEET; nodes that come later are met and made replicas here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cachefleet.engine.types import (
    ClusterInfoView,
    ClusterNodeView,
    Endpoint,
    NodeRole,
    ReplicationView,
)
from cachefleet.engine.valkey.config import CLUSTER_NODE_TIMEOUT_MS, EAGER_NODE_TIMEOUT_MS
from cachefleet.provisioner.planning.replication import (
    NodeView,
    plan_binds,
    plan_first_words,
    plan_launches,
    plan_listening,
)
from cachefleet.provisioner.planning.steps import Step, Verb


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterMemberView:
    """One node of a cluster: what the record wants, and what the node itself says."""

    uid: str
    engine_node_id: str
    own: Endpoint
    bus_port: int
    wanted_role: NodeRole
    wanted_primary_id: str | None  # of the shard, where the node is wanted as replica
    wanted_binds: tuple[str, ...]
    running: bool
    away: bool = False  # it is kept down on purpose: the others go on without it
    begins: bool = False  # a primary of a group that is being created: it has slots to take
    replication: ReplicationView | None = None
    binds: tuple[str, ...] = ()
    info: ClusterInfoView | None = None
    peers: tuple[ClusterNodeView, ...] = field(default=())
    client_port: int | None = None  # what clients are told; None where it cannot have changed
    told_ids: frozenset[str] = frozenset()  # of whom it tells clients
    tls_ports: Mapping[str, int] = field(default_factory=dict)  # by id, where TLS is the engine's
    node_timeout_ms: int = CLUSTER_NODE_TIMEOUT_MS
    wanted_listening: Mapping[str, str] = field(default_factory=dict)
    listening: Mapping[str, str] = field(default_factory=dict)

    @property
    def serving(self) -> bool:
        return self.info is not None and self.replication is not None

    @property
    def known_ids(self) -> frozenset[str]:
        return frozenset(peer.id for peer in self.peers if "handshake" not in peer.flags)

    def myself(self) -> ClusterNodeView | None:
        """Return the node's own line of CLUSTER NODES."""
        return next((peer for peer in self.peers if peer.myself), None)


def plan_cluster(members: Sequence[ClusterMemberView]) -> list[Step]:
    """Return the next steps for the group; empty once it has converged."""
    absent = frozenset(member.engine_node_id for member in members if member.away)
    members = [member for member in members if not member.away]
    if not members:
        return []
    nodes = [_as_node(member) for member in members]
    urgent = plan_listening(nodes) or _take_overs(members) or plan_binds(nodes)
    if urgent:
        return urgent
    # Primaries that begin go first: a replica that finds none to follow waits a second.
    first = [member for member in members if member.begins]
    for group in (first, members):
        launches = plan_launches(
            [(m.uid, m.running) for m in group if not _waits_for_primary(m, members)]
        )
        if launches:
            return launches
        if group is first and (beginnings := _beginnings(first)):
            return beginnings
    silent = [member for member in members if not member.serving]
    if silent:
        return [
            Step(verb=Verb.WAIT, node_uid=member.uid, reason="it does not answer yet")
            for member in silent
        ]
    return (
        _meetings(members)
        or _forgettings(members, absent)
        or _roles(members)
        or _last_steps(members, absent)
    )


def _waits_for_primary(member: ClusterMemberView, members: Sequence[ClusterMemberView]) -> bool:
    """Tell whether a replica must not start yet: its primary is not there, or still a replica.

    A node that inherits its shard from a stop comes up as the replica it was. Were the former
    primary there, empty, the heir would copy that.
    """
    primary = next((m for m in members if m.engine_node_id == member.wanted_primary_id), None)
    if member.wanted_role is NodeRole.PRIMARY or primary is None:
        return False
    if not primary.running:
        return True
    myself = primary.myself()
    return primary.serving and myself is not None and myself.role is NodeRole.REPLICA


def _take_overs(members: Sequence[ClusterMemberView]) -> list[Step]:
    """Promote a replica that the record wants as primary, while its shard has no other."""
    steps = []
    for member in members:
        myself = member.myself()
        if member.wanted_role is not NodeRole.PRIMARY or myself is None or member.begins:
            continue
        if myself.role is NodeRole.REPLICA and member.serving:
            steps.append(
                Step(verb=Verb.TAKE_OVER, node_uid=member.uid, reason="the record says primary")
            )
    return steps


def _beginnings(first: Sequence[ClusterMemberView]) -> list[Step]:
    steps = []
    for member in first:
        myself = member.myself()
        if not member.serving or myself is None:
            steps.append(Step(verb=Verb.WAIT, node_uid=member.uid, reason="it does not answer yet"))
        elif myself.role is NodeRole.REPLICA or not myself.slots:
            steps.append(Step(verb=Verb.BEGIN, node_uid=member.uid, reason="it has no slots yet"))
    return steps


def _meetings(members: Sequence[ClusterMemberView]) -> list[Step]:
    """Introduce nodes that the first member, the one with most acquaintances, does not know."""
    centre = max(members, key=lambda member: len(member.known_ids))
    return [
        Step(
            verb=Verb.MEET,
            node_uid=centre.uid,
            target=member.own,
            target_bus_port=member.bus_port,
            reason="it is not known to the cluster",
        )
        for member in members
        if member is not centre and member.engine_node_id not in centre.known_ids
    ]


def _forgettings(members: Sequence[ClusterMemberView], absent: frozenset[str]) -> list[Step]:
    wanted = {member.engine_node_id for member in members} | absent
    return [
        Step(verb=Verb.FORGET, node_uid=member.uid, target_id=peer, reason="it left the cluster")
        for member in members
        for peer in sorted(member.known_ids - wanted)
    ]


def _roles(members: Sequence[ClusterMemberView]) -> list[Step]:
    steps = []
    for member in members:
        myself = member.myself()
        if member.wanted_role is not NodeRole.REPLICA or myself is None or myself.slots:
            continue
        if member.wanted_primary_id not in member.known_ids:
            continue  # gossip has not told it yet; the wait below covers it
        if myself.primary_id != member.wanted_primary_id:
            steps.append(
                Step(
                    verb=Verb.REPLICATE,
                    node_uid=member.uid,
                    target_id=member.wanted_primary_id,
                    reason="it does not follow its shard's primary",
                )
            )
    return steps


def _last_steps(members: Sequence[ClusterMemberView], absent: frozenset[str]) -> list[Step]:
    hidden = {member.uid: _hidden_by(member, members) for member in members}
    return [
        *_epochs(members),
        *_first_words(members),
        *_paces(members, hidden),
        *_waits(members, absent, hidden),
    ]


def _epochs(members: Sequence[ClusterMemberView]) -> list[Step]:
    """Have replicas believed by nodes that knew them as primaries.

    New nodes begin as primaries of one epoch, and resolve that by raising those of some. One that
    is a replica then speaks with its primary's epoch. Where that is lower than the one it had
    itself, Valkey takes its word for stale, for ever.
    """
    by_id = {member.engine_node_id: member for member in members}
    held_back = set()
    for viewer in members:
        for peer in viewer.peers:
            replica = by_id.get(peer.id)
            if replica is None or not _is_in_sync(replica) or peer.role is NodeRole.REPLICA:
                continue
            primary = by_id.get(replica.wanted_primary_id or "")
            myself = None if primary is None else primary.myself()
            if primary is not None and myself is not None and peer.epoch > myself.epoch:
                held_back.add(primary.uid)
    return [
        Step(verb=Verb.BUMP_EPOCH, node_uid=uid, reason="what its replicas say is taken for stale")
        for uid in sorted(held_back)
    ]


def _first_words(members: Sequence[ClusterMemberView]) -> list[Step]:
    steps = []
    for primary in members:
        replicas = [one for one in members if one.wanted_primary_id == primary.engine_node_id]
        if primary.wanted_role is NodeRole.PRIMARY:
            steps += plan_first_words(_as_node(primary), [_as_node(one) for one in replicas])
    return steps


def _paces(
    members: Sequence[ClusterMemberView], hidden: Mapping[str, frozenset[str]]
) -> list[Step]:
    """Have replicas tell the others of themselves, and let them rest once these have heard it."""
    by_anybody = frozenset[str]().union(*hidden.values())
    steps = []
    for member in members:
        eager = _is_in_sync(member) and member.engine_node_id in by_anybody
        timeout_ms = EAGER_NODE_TIMEOUT_MS if eager else CLUSTER_NODE_TIMEOUT_MS
        if member.node_timeout_ms != timeout_ms:
            reason = "clients are not told of it yet" if eager else "clients are told of it"
            steps.append(
                Step(verb=Verb.PACE, node_uid=member.uid, timeout_ms=timeout_ms, reason=reason)
            )
    return steps


def _is_in_sync(member: ClusterMemberView) -> bool:
    return (
        member.wanted_role is NodeRole.REPLICA
        and member.replication is not None
        and member.replication.role is NodeRole.REPLICA
        and member.replication.link_up
    )


def _hidden_by(member: ClusterMemberView, members: Sequence[ClusterMemberView]) -> frozenset[str]:
    """Return the replicas, of shards that have slots, of which a node does not tell its clients."""
    owners = {peer.id for peer in member.peers if peer.slots}
    replicas = frozenset(
        one.engine_node_id
        for one in members
        if one.wanted_role is NodeRole.REPLICA and one.wanted_primary_id in owners
    )
    return replicas & member.known_ids - member.told_ids


def _waits(
    members: Sequence[ClusterMemberView],
    absent: frozenset[str],
    hidden: Mapping[str, frozenset[str]],
) -> list[Step]:
    wanted = {member.engine_node_id for member in members}
    steps = []
    for member in members:
        reason = _unsettled(member, wanted, absent) or _misled(member, members)
        if reason is None and hidden[member.uid]:
            reason = "it does not tell clients of all others yet"
        if reason:
            steps.append(Step(verb=Verb.WAIT, node_uid=member.uid, reason=reason))
    return steps


def _unsettled(member: ClusterMemberView, wanted: set[str], absent: frozenset[str]) -> str | None:
    assert member.info is not None
    assert member.replication is not None
    myself = member.myself()
    if myself is None or member.known_ids - absent != wanted:
        return "gossip has not reached it yet"
    if member.info.state != "ok":
        return f"its cluster state is {member.info.state}"
    if myself.role is not member.wanted_role:
        return f"it is still {myself.role.value}"
    if myself.role is NodeRole.REPLICA and not member.replication.link_up:
        return "it is not in sync yet"
    return None


def _misled(member: ClusterMemberView, members: Sequence[ClusterMemberView]) -> str | None:
    """Say why a node would lead clients astray: it has not heard of the others what is so now."""
    following = {peer.id: peer.primary_id for peer in member.peers}
    ports = {peer.id: peer.endpoint.port for peer in member.peers} | dict(member.tls_ports)
    for one in members:
        if one.client_port not in (None, ports.get(one.engine_node_id)):
            return "it does not know yet where clients reach the others"
        is_replica = one.wanted_role is NodeRole.REPLICA
        if is_replica and following.get(one.engine_node_id) != one.wanted_primary_id:
            return "it does not know yet whom the others follow"
    return None


def _as_node(member: ClusterMemberView) -> NodeView:
    return NodeView(
        uid=member.uid,
        own=member.own,
        wanted_role=member.wanted_role,
        wanted_binds=member.wanted_binds,
        running=member.running,
        replication=member.replication,
        binds=member.binds,
        wanted_listening=member.wanted_listening,
        listening=member.listening,
    )
