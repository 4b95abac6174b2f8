"""The records as SQLAlchemy mapped classes.

A *subject* is what is leased and worked on as a whole: a replication group with all its members,
or a cache cluster that stands alone. Every resource row carries its scope; every name is stored
in lower case and is unique in its scope.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cachefleet.provisioner.state.ids import new_secret
from cachefleet.provisioner.state.scope import Scope

NAME_CHARS_MAX = 255


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC instants on databases that keep naive ones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Root of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[dict[str, Any]]: JSON,
        str: String(NAME_CHARS_MAX),
    }


class Named:
    """A resource with a scope and a name. ``resource`` is what errors call it."""

    resource: ClassVar[str]
    arn_kind: ClassVar[str]
    # Whether rows are made, shown and removed whole, by plain statements (records.py): those of
    # resources without processes, which have no children and change seldom.
    by_value: ClassVar[bool] = False

    uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    name: Mapped[str]

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)

    @property
    def arn(self) -> str:
        return self.scope.arn(self.arn_kind, self.name)


class Fleet(Base):
    """One row: which fleet this database describes. The data directory carries the same id."""

    __tablename__ = "fleet"

    id: Mapped[int] = mapped_column(primary_key=True)
    fleet_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
    # Who vouches for its nodes, in PEM; written where other cachefleets may have to know.
    authority: Mapped[str] = mapped_column(Text, default="", server_default="")


class ScopeRevision(Base):
    """Counts the changes of a scope, so that answers can be kept until something changes."""

    __tablename__ = "scope_revisions"

    account: Mapped[str] = mapped_column(String(12), primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    # The revision at which each table last changed in this scope, see revisions.py.
    tables: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")


class Subject(Base):
    """What one provisioner works on at a time, and the lease under which it does."""

    __tablename__ = "subjects"

    uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(32))  # replication_group | cache_cluster
    lease_holder: Mapped[str | None] = mapped_column(String(64))
    lease_epoch: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[datetime | None]

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)


class CacheSettings:
    """What a replication group and a cache cluster have in common, in AWS's own words."""

    status: Mapped[str] = mapped_column(String(64))
    engine: Mapped[str] = mapped_column(String(16))
    engine_version: Mapped[str] = mapped_column(String(32))
    node_type: Mapped[str] = mapped_column(String(64))
    port: Mapped[int]
    parameter_group_name: Mapped[str]
    subnet_group_name: Mapped[str | None]
    security_group_ids: Mapped[list[str]] = mapped_column(default=list)
    cache_security_group_names: Mapped[list[str]] = mapped_column(default=list)
    maintenance_window: Mapped[str] = mapped_column(String(32))
    snapshot_window: Mapped[str | None] = mapped_column(String(32))
    snapshot_retention_limit: Mapped[int] = mapped_column(default=0)
    # Windows that opened before are no longer, or not yet, for automatic snapshots.
    snapshots_since: Mapped[datetime | None]
    auto_minor_version_upgrade: Mapped[bool] = mapped_column(default=True)
    notification_topic_arn: Mapped[str | None]
    notification_topic_status: Mapped[str | None] = mapped_column(String(16))
    transit_encryption_enabled: Mapped[bool] = mapped_column(default=False)
    transit_encryption_mode: Mapped[str | None] = mapped_column(String(16))
    at_rest_encryption_enabled: Mapped[bool] = mapped_column(default=False)
    auth_token_enabled: Mapped[bool] = mapped_column(default=False)
    auth_token_changed_at: Mapped[datetime | None]
    network_type: Mapped[str] = mapped_column(String(16), default="ipv4")
    ip_discovery: Mapped[str] = mapped_column(String(16), default="ipv4")
    log_delivery: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    # What was asked for and waits for the maintenance window: {"<what>": <value>}.
    pending: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # The serverless cache that this stands behind, and how much data each of its nodes may hold.
    serverless_uid: Mapped[str | None] = mapped_column(String(16))
    memory_limit_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # What replicas authenticate with; a group has one, because any member may become primary.
    replication_secret: Mapped[str] = mapped_column(String(64), default=new_secret)
    created_at: Mapped[datetime | None]


class ReplicationGroup(Named, CacheSettings, Base):
    """A primary with replicas (cluster mode disabled) or a sharded cluster (enabled)."""

    __tablename__ = "replication_groups"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "replication_group"
    arn_kind = "replicationgroup"

    description: Mapped[str] = mapped_column(Text)
    cluster_mode: Mapped[str] = mapped_column(String(16))  # enabled | disabled | compatible
    automatic_failover: Mapped[str] = mapped_column(String(16))
    multi_az: Mapped[str] = mapped_column(String(16))
    snapshotting_cluster_id: Mapped[str | None]
    kms_key_id: Mapped[str | None] = mapped_column(Text)
    # The wrapped key of what leaves its nodes' memory, where it is encrypted at rest.
    data_key: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    user_group_ids: Mapped[list[str]] = mapped_column(default=list)
    # SHA-256 of the AUTH tokens that are accepted, the newest first; never the tokens themselves.
    auth_token_sha256s: Mapped[list[str]] = mapped_column(default=list)
    # False while a first token is introduced: clients without one are still let in.
    auth_token_required: Mapped[bool] = mapped_column(default=False)
    data_tiering: Mapped[str] = mapped_column(String(16), default="disabled")
    # While data is taken over from outside: {"phase", "source", "fed"}; empty otherwise. The last
    # is there in cluster mode, from when on nobody but the feed writes.
    migration: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # The global datastore that this group is a member of, and as what: PRIMARY or SECONDARY.
    global_name: Mapped[str | None]
    global_role: Mapped[str | None] = mapped_column(String(16))
    # How far the cluster-mode configuration epochs that we hand out have got.
    cluster_epoch: Mapped[int] = mapped_column(default=0)

    node_groups: Mapped[list[NodeGroup]] = relationship(
        back_populates="replication_group",
        lazy="selectin",
        order_by="NodeGroup.node_group_id",
        cascade="all, delete-orphan",
    )
    members: Mapped[list[CacheCluster]] = relationship(
        back_populates="replication_group", lazy="selectin", order_by="CacheCluster.name"
    )

    @property
    def cluster_enabled(self) -> bool:
        return self.cluster_mode != "disabled"


class NodeGroup(Base):
    """A shard. ``slots`` is ``0-5461`` style text, empty where cluster mode is disabled."""

    __tablename__ = "node_groups"
    __table_args__ = (UniqueConstraint("replication_group_uid", "node_group_id"),)

    uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    replication_group_uid: Mapped[str] = mapped_column(
        ForeignKey("replication_groups.uid", ondelete="CASCADE")
    )
    node_group_id: Mapped[str] = mapped_column(String(4))
    status: Mapped[str] = mapped_column(String(16))
    slots: Mapped[str] = mapped_column(Text, default="")
    engine_shard_id: Mapped[str] = mapped_column(String(40))
    # Whom the shard's primary follows itself: {"host", "port", "outside"}; None for nobody.
    upstream: Mapped[dict[str, Any] | None]
    # In cluster mode, whose data is applied to it: {"group", "shard", "token", "start"}, the
    # last a place of that shard's stream whose data it has, or None. While data is taken over from
    # a server outside: {"outside": {"host", "port"}, "token"}.
    feed: Mapped[dict[str, Any] | None]

    replication_group: Mapped[ReplicationGroup] = relationship(
        back_populates="node_groups", lazy="raise"
    )
    nodes: Mapped[list[CacheNode]] = relationship(
        back_populates="node_group", lazy="selectin", order_by="CacheNode.member_name"
    )


class CacheCluster(Named, CacheSettings, Base):
    """A memcached cluster, a single Redis node, or one member of a replication group."""

    __tablename__ = "cache_clusters"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "cache_cluster"
    arn_kind = "cluster"

    replication_group_uid: Mapped[str | None] = mapped_column(
        ForeignKey("replication_groups.uid"), index=True
    )
    num_cache_nodes: Mapped[int]
    az_mode: Mapped[str] = mapped_column(String(16), default="single-az")
    preferred_availability_zone: Mapped[str | None] = mapped_column(String(32))
    # memcached auto discovery: grows by one for every node added or removed.
    discovery_version: Mapped[int] = mapped_column(default=1)

    replication_group: Mapped[ReplicationGroup | None] = relationship(
        back_populates="members", lazy="raise"
    )
    nodes: Mapped[list[CacheNode]] = relationship(
        back_populates="cache_cluster",
        lazy="selectin",
        order_by="CacheNode.cache_node_id",
        cascade="all, delete-orphan",
    )


class CacheNode(Base):
    """One engine process. The row comes before the process and goes after it."""

    __tablename__ = "cache_nodes"
    __table_args__ = (UniqueConstraint("cache_cluster_uid", "cache_node_id"),)

    uid: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject_uid: Mapped[str] = mapped_column(ForeignKey("subjects.uid"), index=True)
    cache_cluster_uid: Mapped[str] = mapped_column(
        ForeignKey("cache_clusters.uid", ondelete="CASCADE"), index=True
    )
    node_group_uid: Mapped[str | None] = mapped_column(
        ForeignKey("node_groups.uid", ondelete="SET NULL"), index=True
    )
    member_name: Mapped[str]  # the CacheClusterId this node belongs to
    cache_node_id: Mapped[str] = mapped_column(String(4))
    status: Mapped[str] = mapped_column(String(32))
    availability_zone: Mapped[str] = mapped_column(String(32))
    role: Mapped[str | None] = mapped_column(String(16))  # primary | replica | None (memcached)
    parameter_group_status: Mapped[str] = mapped_column(String(32), default="in-sync")
    created_at: Mapped[datetime | None]
    host: Mapped[str | None] = mapped_column(String(64))
    port: Mapped[int | None]
    bus_port: Mapped[int | None]  # cluster mode only
    # Where the engine listens while the gateway has its port (planning/transit.py): in plain, and
    # with TLS for the other nodes.
    engine_port: Mapped[int | None]
    replication_port: Mapped[int | None]
    engine_node_id: Mapped[str] = mapped_column(String(40))
    # The control plane's own credential on this node; the database file is private to us.
    admin_secret: Mapped[str] = mapped_column(String(64))
    # True from the loss of its process until it serves again, in sync.
    recovering: Mapped[bool] = mapped_column(default=False)

    cache_cluster: Mapped[CacheCluster] = relationship(back_populates="nodes", lazy="raise")
    node_group: Mapped[NodeGroup | None] = relationship(back_populates="nodes", lazy="raise")


class EndpointAddress(Base):
    """An address that is in use. The unique constraint is what makes an allocation safe."""

    __tablename__ = "endpoint_addresses"
    __table_args__ = (UniqueConstraint("host", "port"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # node | bus | primary | reader | configuration
    kind: Mapped[str] = mapped_column(String(16))
    subject_uid: Mapped[str] = mapped_column(ForeignKey("subjects.uid"), index=True)
    node_uid: Mapped[str | None] = mapped_column(
        ForeignKey("cache_nodes.uid", ondelete="CASCADE"), index=True
    )
    host: Mapped[str] = mapped_column(String(64))
    port: Mapped[int]


class SubnetGroup(Named, Base):
    """Subnets that a cache may use; each entry is {"id", "az"}."""

    __tablename__ = "subnet_groups"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "subnet_group"
    arn_kind = "subnetgroup"
    by_value = True

    description: Mapped[str] = mapped_column(Text)
    vpc_id: Mapped[str] = mapped_column(String(64))
    subnets: Mapped[list[dict[str, Any]]]


class ParameterGroup(Named, Base):
    """A custom parameter group: only what differs from the family's defaults is stored."""

    __tablename__ = "parameter_groups"
    __table_args__ = (UniqueConstraint("account", "region", "name"),)
    resource = "parameter_group"
    arn_kind = "parametergroup"
    by_value = True

    family: Mapped[str] = mapped_column(String(32))
    description: Mapped[str] = mapped_column(Text)
    values: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Tag(Base):
    """A tag of any resource, keyed by the resource's ARN kind and name."""

    __tablename__ = "tags"
    __table_args__ = (UniqueConstraint("account", "region", "arn_kind", "resource_name", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    arn_kind: Mapped[str] = mapped_column(String(32))
    resource_name: Mapped[str]
    key: Mapped[str] = mapped_column(String(128))
    value: Mapped[str] = mapped_column(String(256), default="")


class Event(Base):
    """What DescribeEvents shows."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "account", "region", "occurred_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    source_type: Mapped[str] = mapped_column(String(32))
    source_identifier: Mapped[str]
    message: Mapped[str] = mapped_column(Text)
    occurred_at: Mapped[datetime]


class Operation(Base):
    """Durable work on a subject. The subject's lease says who may do it."""

    __tablename__ = "operations"
    __table_args__ = (Index(None, "state", "due_at"), Index(None, "subject_uid", "state"))

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(48))
    subject_uid: Mapped[str] = mapped_column(String(16))
    account: Mapped[str] = mapped_column(String(12))
    region: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))  # queued | running | done | failed
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    token: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(default=0)
    progress: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)
