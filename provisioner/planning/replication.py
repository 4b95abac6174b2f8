"""Decide how one shard without cluster mode gets from what runs to what the record says.

Pure. Returns the next batch of steps: they may be taken at the same time, and after them the world
is observed again. What serves clients comes first: a primary that has to be promoted, then its
endpoint, and only then the nodes that have to be started or repointed. An endpoint is taken from
one node before it is given to another, because two listeners on one address would split clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cachefleet.engine.types import Endpoint, NodeRole, ReplicationView, Upstream
from cachefleet.provisioner.planning.steps import Step, Verb


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeView:
    """One node: what the record wants and what was observed.

    ``replication`` is None where the node is not running, or did not answer: then we do not know,
    and nothing is done to it but wait (or launch, where there is no process).
    """

    uid: str
    own: Endpoint
    wanted_role: NodeRole
    wanted_binds: tuple[str, ...]
    running: bool
    away: bool = False  # it is kept down on purpose: the others go on without it
    replication: ReplicationView | None = None
    binds: tuple[str, ...] = ()
    # Ports and what goes with them, as directives of the engine.
    wanted_listening: Mapping[str, str] = field(default_factory=dict)
    listening: Mapping[str, str] = field(default_factory=dict)
    upstream: Upstream | None = None  # whom a primary follows itself, where it does

    @property
    def serving(self) -> bool:
        return self.running and self.replication is not None and not self.replication.loading


def plan_replication(nodes: Sequence[NodeView]) -> list[Step]:
    """Return the next steps for the shard; empty once it has converged.

    Exactly one of *nodes* is wanted as primary.
    """
    primaries = [node for node in nodes if node.wanted_role is NodeRole.PRIMARY]
    assert len(primaries) == 1, f"{len(primaries)} primaries are wanted"
    primary = primaries[0]
    nodes = [node for node in nodes if not node.away]
    if primary.away:
        return plan_launches([(node.uid, node.running) for node in nodes]) or [
            Step(verb=Verb.WAIT, node_uid=primary.uid, reason="the primary is kept down")
        ]
    if primary.serving:
        first = (
            plan_listening(nodes)
            or _promotion(primary)
            or plan_binds(nodes)
            or _repointings(primary, nodes)
        )
        if first:
            return first
    launches = plan_launches([(node.uid, node.running) for node in nodes])
    if launches:
        return launches
    if not primary.serving:
        return [Step(verb=Verb.WAIT, node_uid=primary.uid, reason="the primary does not serve yet")]
    return _followings(primary, nodes) or plan_first_words(primary, nodes)


def plan_first_words(primary: NodeView, nodes: Sequence[NodeView]) -> list[Step]:
    """Have something come to every new replica.

    After the copy of an empty primary the stream begins with the replica's next word, up to a
    second later, and in cluster mode clients are told of no replica that has had nothing.
    """
    silent = [
        node
        for node in nodes
        if node is not primary
        and node.replication is not None
        and node.replication.role is NodeRole.REPLICA
        and node.replication.link_up
        and node.replication.offset == 0
    ]
    if not silent or primary.replication is None or primary.upstream is not None:
        return []
    stirring = [
        Step(verb=Verb.STIR, node_uid=primary.uid, reason="its replicas have had nothing yet")
    ]
    return [
        *(stirring if primary.replication.offset == 0 else ()),
        *(
            Step(verb=Verb.RESUME, node_uid=node.uid, reason="it has had nothing yet")
            for node in silent
        ),
    ]


def plan_launches(nodes: Sequence[tuple[str, bool]]) -> list[Step]:
    """Return a launch for each (uid, running) that does not run."""
    return [
        Step(verb=Verb.LAUNCH, node_uid=uid, reason="it does not run")
        for uid, running in nodes
        if not running
    ]


def plan_listening(nodes: Sequence[NodeView]) -> list[Step]:
    """Return the changes of ports, of all nodes at once: those that differ do not find each other.

    Connections that are there stay.
    """
    steps = []
    for node in nodes:
        # What it does not know is not in its answer: it is of the engine that it has yet to become.
        told = node.listening
        wrong = {k: v for k, v in node.wanted_listening.items() if k in told and told[k] != v}
        if node.serving and wrong:
            steps.append(
                Step(
                    verb=Verb.LISTEN,
                    node_uid=node.uid,
                    directives=tuple(wrong.items()),
                    reason="its clients reach it another way now",
                )
            )
    return steps


def plan_binds(nodes: Sequence[NodeView]) -> list[Step]:
    """Return the changes of listening addresses that can be made now: releases before grants."""
    wrong = [n for n in nodes if n.serving and set(n.binds) != set(n.wanted_binds)]
    releases = [node for node in wrong if set(node.binds) - set(node.wanted_binds)]
    return [
        Step(
            verb=Verb.BIND,
            node_uid=node.uid,
            addresses=(
                tuple(a for a in node.wanted_binds if a in node.binds)
                if node in releases
                else node.wanted_binds
            ),
            reason="an endpoint leaves it" if node in releases else "an endpoint comes to it",
        )
        for node in (releases or wrong)
    ]


def _promotion(primary: NodeView) -> list[Step]:
    assert primary.replication is not None
    if primary.upstream is not None:
        if _follows(primary.replication, primary.upstream.endpoint):
            return []
        return [
            Step(
                verb=Verb.FOLLOW,
                node_uid=primary.uid,
                target=primary.upstream.endpoint,
                outside=primary.upstream.outside,
                reason="its shard follows another one",
            )
        ]
    if primary.replication.role is NodeRole.PRIMARY:
        return []
    return [Step(verb=Verb.PROMOTE, node_uid=primary.uid, reason="the record says primary")]


def _repointings(primary: NodeView, nodes: Sequence[NodeView]) -> list[Step]:
    """Lead replicas of a former primary to the new one: they can go on from where they were."""
    return [
        Step(
            verb=Verb.FOLLOW,
            node_uid=node.uid,
            target=primary.own,
            reason="its primary is another one now",
        )
        for node in nodes
        if node is not primary
        and node.serving
        and node.replication is not None
        and node.replication.role is NodeRole.REPLICA
        and node.replication.primary != primary.own
    ]


def _followings(primary: NodeView, nodes: Sequence[NodeView]) -> list[Step]:
    """Attach replicas one at a time: a second sync that begins during a first waits a second."""
    waits: list[Step] = []
    # Without what it follows a primary takes no replicas; that may be away for days.
    assert primary.replication is not None
    led = primary.upstream is None or primary.replication.link_up
    if primary.upstream is not None and primary.upstream.awaited and not led:
        return [Step(verb=Verb.WAIT, node_uid=primary.uid, reason="it has no copy yet")]
    for node in nodes:
        if node is primary:
            continue
        if not node.serving or node.replication is None:
            waits.append(Step(verb=Verb.WAIT, node_uid=node.uid, reason="it does not answer yet"))
        elif not _follows(node.replication, primary.own):
            if not waits:
                return [
                    Step(
                        verb=Verb.FOLLOW,
                        node_uid=node.uid,
                        target=primary.own,
                        reason="it does not follow the primary",
                    )
                ]
        elif led and (not node.replication.link_up or node.replication.sync_in_progress):
            waits.append(Step(verb=Verb.WAIT, node_uid=node.uid, reason="it is in full sync"))
    return waits


def _follows(view: ReplicationView, primary: Endpoint) -> bool:
    return view.role is NodeRole.REPLICA and view.primary == primary
