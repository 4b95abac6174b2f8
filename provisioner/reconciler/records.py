"""One subject as it is recorded: loaded whole, read as values, written by nobody here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import select

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.engine.types import Endpoint, Engine, NodeRole, Upstream
from cachefleet.provisioner.planning.access import AccessUser
from cachefleet.provisioner.planning.memcached import DiscoveryEntry, render_discovery
from cachefleet.provisioner.state import lifecycle, logins, users
from cachefleet.provisioner.state.global_groups import SECONDARY
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.logins import SealedLogin
from cachefleet.provisioner.state.snapshot_tables import Restore
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ParameterGroup,
    ReplicationGroup,
)

UPSTREAM = "upstream"  # the kind of address at which the gateway leads to what a group follows
# Statuses in which a node has, or is to get, a process.
LIVE = frozenset({lifecycle.NODE_CREATING, lifecycle.NODE_AVAILABLE, lifecycle.NODE_REBOOTING})

# What serverless caches differ in from their family's defaults: a limit is all for data.
SERVERLESS_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "reserved-memory-percent": "0",
        "maxmemory-policy": "volatile-lru",
        "acl-pubsub-default": "allchannels",
    }
)


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """A replication group with its members, or one cache cluster that stands alone."""

    lease: Lease
    group: ReplicationGroup | None
    clusters: Sequence[CacheCluster]
    addresses: Sequence[EndpointAddress]
    user_parameters: Mapping[str, str]  # what the parameter group changes, by AWS name
    users: Sequence[AccessUser] | None = None  # of its user groups; None where it has none
    restore: Restore | None = None  # where its data comes from, while it is being created
    logins: Sequence[SealedLogin] = ()  # of a memcached cluster; with none, everybody is let in

    @property
    def settings(self) -> ReplicationGroup | CacheCluster:
        """The row that carries engine, version, node type and so on."""
        return self.group or self.clusters[0]

    @property
    def engine(self) -> Engine:
        return Engine(self.settings.engine)

    @property
    def cluster_enabled(self) -> bool:
        return self.group is not None and self.group.cluster_enabled

    @property
    def nodes(self) -> list[CacheNode]:
        return [node for cluster in self.clusters for node in cluster.nodes]

    @property
    def live_nodes(self) -> list[CacheNode]:
        return [node for node in self.nodes if node.status in LIVE]

    @property
    def retiring_nodes(self) -> list[CacheNode]:
        return [node for node in self.nodes if node.status not in LIVE]

    @property
    def is_creating(self) -> bool:
        return self.settings.status == lifecycle.CREATING

    @property
    def is_filling(self) -> bool:
        """Whether it is being created, with data from somewhere."""
        return self.is_creating and self.restore is not None

    @property
    def is_forming(self) -> bool:
        """Whether nodes that ran without cluster mode are on their way into it."""
        return self.group is not None and (
            self.group.pending.get("ClusterMode") == self.group.cluster_mode == "compatible"
        )

    @property
    def is_fed(self) -> bool:
        """Whether nobody writes to it but its feed; see :func:`is_fed`."""
        group = self.group
        return group is not None and is_fed(group)

    @property
    def shard_ids(self) -> dict[str, str]:
        """Return the ids of the shards by their uid; none where it is no group."""
        shards = self.group.node_groups if self.group is not None else ()
        return {shard.uid: shard.node_group_id for shard in shards}

    def shard_primary(self, node: CacheNode) -> CacheNode | None:
        """Return the node that the record wants as primary of *node*'s shard."""
        for other in self.live_nodes:
            same = other.node_group_uid == node.node_group_uid
            if same and other.role == NodeRole.PRIMARY:
                return other
        return None

    def upstream(self, node: CacheNode) -> Upstream | None:
        """Return whom *node* follows as the primary of its shard; None where it leads itself."""
        if self.group is None or node.role != NodeRole.PRIMARY:
            return None
        return self.upstream_of(node.node_group_uid)

    def upstream_of(self, shard_uid: str | None) -> Upstream | None:
        """Return whom a shard follows; None where it leads.

        One that is followed by TLS with an authority of its own is so through the gateway, which
        has an address for it.

        Raises:
            NodeUnreachable: it is yet to be given that address.
        """
        shards = () if self.group is None else self.group.node_groups
        told = next((one.upstream for one in shards if one.uid == shard_uid), None)
        if told is None:
            return None
        at: Endpoint | None = Endpoint(told["host"], told["port"])
        if told.get("ca"):
            at = self.endpoint(UPSTREAM)
        if at is None:
            raise NodeUnreachable(f"{self.settings.name} has yet to be led to what it follows")
        return Upstream(at, outside=told["outside"], awaited=self.is_creating)

    @property
    def is_led_by_gateway(self) -> bool:
        """Tell whether the gateway leads it to what it follows."""
        shards = () if self.group is None else self.group.node_groups
        return any(shard.upstream and shard.upstream.get("ca") for shard in shards)

    @property
    def is_held_open(self) -> bool:
        """Tell whether ``modifying`` is true for as long as a customer does not end it."""
        return self.group is not None and bool(self.group.migration)

    def discovery_payload(self) -> bytes:
        """Return what memcached nodes tell clients of the cluster, as it is to be after this pass.

        The version grows by one for every node added or removed; it is recorded when the pass is
        concluded, so a pass that is repeated announces the same one.
        """
        cluster = self.clusters[0]
        return render_discovery(
            self.discovery_version,
            [
                DiscoveryEntry(host_name=node.host or "", address=node.host or "", port=node.port)
                for node in cluster.nodes
                if node.status in LIVE and node.port is not None
            ],
        )

    @property
    def discovery_version(self) -> int:
        """Return the version of the list of nodes as it is to be after this pass."""
        changed = [node for node in self.nodes if node.status != lifecycle.NODE_AVAILABLE]
        return self.clusters[0].discovery_version + (0 if self.is_creating else len(changed))

    @property
    def transit_mode(self) -> str | None:
        """Return ``TransitEncryptionMode``, None without encryption in transit."""
        settings = self.settings
        return settings.transit_encryption_mode if settings.transit_encryption_enabled else None

    @property
    def fronted(self) -> bool:
        """Tell whether the gateway has the ports that clients know, for any node."""
        if self.engine is Engine.MEMCACHED:
            return any(node.replication_port is not None for node in self.live_nodes)
        return any(node.engine_port is not None for node in self.live_nodes)

    def endpoint(self, kind: str) -> Endpoint | None:
        """Return the subject's primary, reader or configuration endpoint, where it has one."""
        for row in self.addresses:
            if row.kind == kind:
                return Endpoint(row.host, row.port)
        return None


def is_fed(group: ReplicationGroup) -> bool:
    """Tell whether a group's data is brought by a feed: another region's, or from outside."""
    fed = group.global_role == SECONDARY or bool(group.migration.get("fed"))
    return group.cluster_enabled and fed


def own_endpoint(node: CacheNode) -> Endpoint:
    """Return where clients reach this node itself; it has been given an address."""
    assert node.host is not None, node.uid
    assert node.port is not None, node.uid
    return Endpoint(node.host, node.port)


def engine_endpoint(node: CacheNode) -> Endpoint:
    """Return where the engine itself takes clients: behind the gateway, or where they connect."""
    own = own_endpoint(node)
    return own if node.engine_port is None else Endpoint(own.host, node.engine_port)


def behind_port(node: CacheNode) -> int:
    """Return where a memcached node takes clients: at their port, or behind the gateway."""
    return node.replication_port or own_endpoint(node).port


def replication_endpoint(node: CacheNode) -> Endpoint:
    """Return where its replicas, and in cluster mode its peers, reach a node."""
    inner = engine_endpoint(node)
    return inner if node.replication_port is None else Endpoint(inner.host, node.replication_port)


async def load_subject(tx: Transaction, lease: Lease) -> SubjectRecord | None:
    """Return the subject's record, or None where its rows are gone."""
    group: ReplicationGroup | None = None
    clusters: Iterable[CacheCluster]
    if lease.kind == "replication_group":
        group = await tx.session.get(ReplicationGroup, lease.subject_uid)
        if group is None:
            return None
        clusters = group.members
    else:
        cluster = await tx.session.get(CacheCluster, lease.subject_uid)
        if cluster is None:
            return None
        clusters = [cluster]
    addresses = await load_addresses(tx, lease)
    settings = group or next(iter(clusters))
    parameter_group = await tx.find(ParameterGroup, settings.parameter_group_name)
    return SubjectRecord(
        lease=lease,
        group=group,
        clusters=list(clusters),
        addresses=addresses,
        user_parameters=_user_parameters(settings, parameter_group),
        users=None if group is None else await _users(tx, group),
        restore=await tx.session.get(Restore, lease.subject_uid),
        logins=await logins.sealed_of(tx, settings.uid)
        if settings.engine == Engine.MEMCACHED
        else (),
    )


async def load_addresses(tx: Transaction, lease: Lease) -> Sequence[EndpointAddress]:
    """Return the addresses of the subject and of its nodes."""
    query = select(EndpointAddress).where(EndpointAddress.subject_uid == lease.subject_uid)
    return (await tx.session.scalars(query)).all()


def _user_parameters(
    settings: ReplicationGroup | CacheCluster, parameter_group: ParameterGroup | None
) -> Mapping[str, str]:
    if settings.serverless_uid is not None and settings.engine != Engine.MEMCACHED:
        return SERVERLESS_PARAMETERS
    return dict(parameter_group.values) if parameter_group else {}


async def _users(tx: Transaction, group: ReplicationGroup) -> list[AccessUser] | None:
    if not group.user_group_ids:
        return None
    return [
        AccessUser(
            user_id=user.name,
            user_name=user.user_name,
            access_string=user.access_string,
            password_sha256s=tuple(user.password_sha256s),
            no_password=user.authentication_type == users.NO_PASSWORD,
            iam=user.authentication_type == users.IAM,
        )
        for user in await users.users_of(tx, group.user_group_ids)
    ]


async def reload_subject(record: SubjectRecord, store: Store) -> SubjectRecord:
    """Return the record as it is now; its lease is held, so that it is there."""
    async with store.read(record.lease.scope) as tx:
        fresh = await load_subject(tx, record.lease)
    assert fresh is not None, "the lease is held, so the subject is there"
    return fresh
