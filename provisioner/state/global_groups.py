"""Global datastores in the records: their names, their members, and the groups behind those."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import select

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.layout import (
    NodePlan,
    ShardPlan,
    ShardRequest,
    lay_out_group,
)
from cachefleet.provisioner.state.members import add_member, new_node_group
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    EndpointAddress,
    NodeGroup,
    ParameterGroup,
    ReplicationGroup,
)

PRIMARY, SECONDARY = "PRIMARY", "SECONDARY"
ASSOCIATING, ASSOCIATED = "associating", "associated"
CREATING, AVAILABLE, PRIMARY_ONLY = "creating", "available", "primary-only"
MODIFYING, DELETING = "modifying", "deleting"
AT_REST = frozenset({AVAILABLE, PRIMARY_ONLY})  # statuses in which something new can be asked for

PARAMETERS_PREFIX = "global-datastore-"
NOWHERE = ""  # the region of what belongs to none
PREFIX_CHARS = 5
# What the service puts in front of a name, by the region in which it was created.
PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "us-east-1": "ldgnf",
        "us-east-2": "fpkhr",
        "us-west-1": "virxk",
        "us-west-2": "sgaui",
        "ca-central-1": "bxodz",
        "ap-south-1": "erpgt",
        "ap-northeast-1": "quwsw",
        "ap-northeast-2": "lfqnh",
        "ap-northeast-3": "nlapn",
        "ap-southeast-1": "vlqxn",
        "ap-southeast-2": "vbgxd",
        "eu-central-1": "iudkw",
        "eu-west-1": "gxeiz",
        "eu-west-2": "okuqm",
        "eu-west-3": "fgjhi",
        "sa-east-1": "juxlw",
        "ap-east-1": "knjmp",
        "cn-north-1": "emvgo",
        "cn-northwest-1": "ckbem",
        "us-gov-west-1": "sgwui",
    }
)


def prefix_of(region: str) -> str:
    """Return the five letters in front of names; made from the region where none are known."""
    known = PREFIXES.get(region)
    if known is not None:
        return known
    digest = hashlib.sha256(region.encode()).digest()
    return "".join(chr(ord("a") + byte % 26) for byte in digest[:PREFIX_CHARS])


def scope_of(account: str) -> Scope:
    """Return the scope in which an account's global datastores are kept."""
    return Scope(account, NOWHERE)


async def find(tx: Transaction, name: str, *, lock: bool = False) -> GlobalGroup | None:
    """Return the account's global datastore of this name, or None."""
    query = select(GlobalGroup).where(
        GlobalGroup.account == tx.scope.account, GlobalGroup.name == name.lower()
    )
    if lock:
        query = query.with_for_update()
    return (await tx.session.scalars(query)).one_or_none()


async def get(tx: Transaction, name: str, *, lock: bool = False) -> GlobalGroup:
    """Return the account's global datastore of this name.

    Raises:
        NotFound: there is none.
    """
    row = await find(tx, name, lock=lock)
    if row is None:
        raise NotFound(GlobalGroup.resource, name)
    return row


def primary_of(row: GlobalGroup) -> GlobalMember:
    """Return the member that leads."""
    return next(member for member in row.members if member.role == PRIMARY)


async def groups_of(tx: Transaction, row: GlobalGroup) -> dict[str, ReplicationGroup]:
    """Return the members' replication groups by uid; one that is gone is left out."""
    uids = [member.group_uid for member in row.members]
    query = select(ReplicationGroup).where(ReplicationGroup.uid.in_(uids))
    return {group.uid: group for group in (await tx.session.scalars(query)).unique().all()}


async def lead_address(tx: Transaction, group: ReplicationGroup) -> tuple[str, int] | None:
    """Return where other regions follow a group without cluster mode.

    That is its primary endpoint, whichever node is behind it; where the gateway has that, the
    engine of the node that is primary now. None where there is nothing to follow so.
    """
    if group.cluster_enabled:
        return None
    for shard in group.node_groups:
        for node in shard.nodes:
            if node.role == NodeRole.PRIMARY and node.engine_port is not None and node.host:
                return node.host, node.replication_port or node.engine_port
    return await endpoint_address(tx, group)


async def endpoint_address(tx: Transaction, group: ReplicationGroup) -> tuple[str, int] | None:
    """Return the primary endpoint of a group without cluster mode, where it has one."""
    query = select(EndpointAddress).where(
        EndpointAddress.subject_uid == group.uid, EndpointAddress.kind == "primary"
    )
    found = (await tx.session.scalars(query)).first()
    return None if found is None else (found.host, found.port)


async def give_parameters(
    tx: Transaction, group: ReplicationGroup, *, family: str, values: Mapping[str, Any]
) -> None:
    """Give a member a parameter group of its own, as the service does, with these values.

    It stays behind when the member leaves. One that is left from an earlier member is taken over.
    """
    name = f"{PARAMETERS_PREFIX}{group.name}"
    row = await tx.find(ParameterGroup, name, lock=True)
    if row is None:
        row = ParameterGroup(
            uid=new_uid(),
            account=group.account,
            region=group.region,
            name=name,
            family=family,
            description=f"Parameters of a global datastore's member {group.name}",
            values=dict(values),
        )
        tx.session.add(row)
    row.family, row.values = family, dict(values)
    rows: list[ReplicationGroup | CacheCluster] = [group, *group.members]
    for settings in rows:
        settings.parameter_group_name = name


def follow(group: ReplicationGroup, endpoint: tuple[str, int]) -> None:
    """Have every shard of *group* follow another region's, from its next settling on."""
    for shard in group.node_groups:
        shard.upstream = upstream_at(endpoint)


def upstream_at(endpoint: tuple[str, int], *, ca: str = "") -> dict[str, Any]:
    """Return what a shard follows that follows one of ours, or another cachefleet's.

    With *ca*, who vouches for that, it is followed by TLS, whatever our own engine speaks.
    """
    told = {"host": endpoint[0], "port": endpoint[1], "outside": False}
    return {**told, "ca": ca} if ca else told


Starts = Mapping[str, Mapping[str, Any]]  # by NodeGroupId: {"replication_id", "offset"}


def follow_by_feed(
    group: ReplicationGroup, primary: ReplicationGroup, starts: Starts = MappingProxyType({})
) -> None:
    """Have every shard of *group*, in cluster mode, be fed from the one of *primary* that has its
    slots. *starts* are places of those streams whose data *group* has already.
    """
    for shard in group.node_groups:
        shard.feed = {
            "group": primary.uid,
            "shard": shard.node_group_id,
            "token": new_uid(),
            "start": dict(starts[shard.node_group_id]) if shard.node_group_id in starts else None,
        }


def suspend_feeds(group: ReplicationGroup) -> None:
    """Have no shard of a secondary fed; it stays one, and nobody may write to it."""
    for shard in group.node_groups:
        shard.feed = None


def add_shards(
    group: ReplicationGroup,
    plans: Sequence[Mapping[str, Any]],
    *,
    only: Collection[str] | None,
    now: datetime,
) -> list[str]:
    """Add the planned shards that *group* lacks, of those *only*; return which were added."""
    present = {shard.node_group_id for shard in group.node_groups}
    added = []
    for plan in plans:
        name = plan["node_group_id"]
        if name in present or (only is not None and name not in only):
            continue
        nodes = tuple(
            NodePlan(member_name=n["member_name"], role=NodeRole(n["role"]), zone=n["zone"])
            for n in plan["nodes"]
        )
        shard = new_node_group(ShardPlan(node_group_id=name, slots="", nodes=nodes))
        group.node_groups.append(shard)
        for node in nodes:
            add_member(group, shard, node, now=now)
        added.append(name)
    return added


def plan_shards_like(group: ReplicationGroup, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what new shards of these names are made of: as many nodes as the smallest has that is
    there, spread over the same zones.
    """
    if not names:
        return []
    nodes = [node for shard in group.node_groups for node in shard.nodes]
    zones = list(dict.fromkeys(sorted(node.availability_zone for node in nodes)))
    replicas = min(len(shard.nodes) for shard in group.node_groups) - 1
    plans = lay_out_group(
        group.name,
        [ShardRequest(replica_count=replicas, node_group_id=name) for name in names],
        cluster_mode=True,
        zones=zones,
        taken_names=[member.name for member in group.members],
    )
    return stored_plans(plans)


def stored_plans(plans: Sequence[ShardPlan]) -> list[dict[str, Any]]:
    """Return planned shards as :func:`add_shards` takes them."""
    return [
        {
            "node_group_id": plan.node_group_id,
            "nodes": [{**asdict(node), "role": node.role.value} for node in plan.nodes],
        }
        for plan in plans
    ]


def mark_modifying(group: ReplicationGroup) -> None:
    """Show a group and its members as ``modifying``, where their status allows it."""
    rows: list[ReplicationGroup | CacheCluster] = [group, *group.members]
    for row in rows:
        if lifecycle.target(row.resource, row.status, lifecycle.Event.MODIFY) is not None:
            lifecycle.fire(row, lifecycle.Event.MODIFY)


def lead(group: ReplicationGroup) -> None:
    """Have every shard of *group* lead, from its next settling on."""
    shards: list[NodeGroup] = group.node_groups
    for shard in shards:
        shard.upstream = shard.feed = None
