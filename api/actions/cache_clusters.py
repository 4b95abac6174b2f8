"""Actions that create, show and delete cache clusters.

A cache cluster is a memcached cluster, a single Redis node, or one member of a replication group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from cachefleet.api import references, restoring
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import cache_nodes, engines, features, settings
from cachefleet.api.validation.identifiers import check_cache_cluster_id
from cachefleet.api.validation.log_delivery import new_log_delivery
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.shards import REPLICAS_PER_SHARD_MAX
from cachefleet.api.validation.snapshots import check_snapshot_name, no_snapshots
from cachefleet.api.validation.unavailable import refuse_outposts
from cachefleet.api.validation.windows import choose_windows
from cachefleet.api.views.cache_clusters import cache_cluster_view
from cachefleet.engine.catalog import EngineVersion, NodeType
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.state import ids, lifecycle, parameter_groups, snapshots, tags
from cachefleet.provisioner.state.errors import AlreadyExists, NotFound
from cachefleet.provisioner.state.layout import NodePlan, free_node_ids
from cachefleet.provisioner.state.members import add_member, new_node
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.snapshots import Source
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from cachefleet.provisioner.state.zones import spread


@action("CreateCacheCluster")
async def create_cache_cluster(ctx: RequestContext, params: Params) -> Result:
    """Record a cluster, or a replica of a group; it is ``creating`` until its nodes serve."""
    name = check_cache_cluster_id(params["CacheClusterId"])
    if params.get("ReplicationGroupId"):
        return await _create_replica(ctx, params, name)
    wanted_tags = tags.parse(params.get("Tags"))
    features.check_sources(params)
    params = await restoring.completed(ctx, params)
    count, version, node_type, columns = _check_request(ctx, params, name)
    await restoring.check_seeds(ctx, params)
    async with ctx.begin() as tx:
        if await tx.find(CacheCluster, name) is not None:
            raise AlreadyExists(CacheCluster.resource, name)
        parameter_group = await _parameter_group(ctx, tx, params, version)
        if version.engine == Engine.MEMCACHED:
            engines.check_memcached_sizes(ctx.catalog, version, node_type, parameter_group.values)
        chosen = await references.zones_for(tx, params.get("CacheSubnetGroupName"), name=name)
        az_mode, zones = cache_nodes.choose_zones(params, count=count, zones=chosen.zones)
        await references.check_node_quota(tx, count)
        refuse_outposts(params)
        cluster = CacheCluster(
            uid=ids.new_uid(),
            account=ctx.account,
            region=ctx.region,
            name=name,
            status=lifecycle.CREATING,
            num_cache_nodes=count,
            az_mode=az_mode,
            preferred_availability_zone=_requested_zone(params, zones),
            parameter_group_name=parameter_group.name,
            subnet_group_name=chosen.subnet_group_name,
            created_at=tx.now,
            snapshots_since=tx.now,
            **columns,
        )
        await tx.insert(cluster)
        await tx.new_subject(cluster.resource, cluster.uid)
        cluster.nodes = [
            new_node(
                subject_uid=cluster.uid,
                member_name=name,
                cache_node_id=node_id,
                zone=zone,
                role=None if version.engine == Engine.MEMCACHED else NodeRole.PRIMARY.value,
                now=tx.now,
            )
            for node_id, zone in zip(free_node_ids(count, ()), zones, strict=True)
        ]
        brought = await restoring.begin(ctx, tx, params, cluster.uid, version, cluster_mode=False)
        await tags.put(tx, CacheCluster.arn_kind, name, wanted_tags or brought)
        tx.enqueue(OperationKind.SETTLE, subject_uid=cluster.uid, token=ctx.request_id)
        if cluster.log_delivery:
            tx.enqueue(OperationKind.LOG_DELIVERY, subject_uid=cluster.uid, token=ctx.request_id)
        await tx.session.flush()
        return {"CacheCluster": cache_cluster_view(cluster)}


@action("DescribeCacheClusters")
async def describe_cache_clusters(ctx: RequestContext, params: Params) -> Result:
    """Return one cluster, or a page of them in order of name."""
    asked = window(params, ctx.paging)
    name = params.get("CacheClusterId")
    criteria = []
    if name:
        criteria.append(CacheCluster.name == name.lower())
    if params.get("ShowCacheClustersNotInReplicationGroups"):
        criteria.append(CacheCluster.replication_group_uid.is_(None))
    async with ctx.read() as tx:
        rows = await tx.page(CacheCluster, *criteria, after=asked.after, limit=asked.fetch)
        if name and not rows:
            raise NotFound(CacheCluster.resource, name)
        clusters, marker = asked.close(rows, lambda cluster: cluster.name)
        groups = await _groups_of(tx, clusters)
        endpoints = await references.read_endpoints(
            tx,
            [cluster.uid for cluster in clusters if cluster.engine == Engine.MEMCACHED],
        )
        with_nodes = bool(params.get("ShowCacheNodeInfo"))
        views = []
        for cluster in clusters:
            group_name, delivers_logs = groups.get(
                cluster.replication_group_uid or "", (None, False)
            )
            views.append(
                cache_cluster_view(
                    cluster,
                    group_name=group_name,
                    group_delivers_logs=delivers_logs,
                    endpoints=endpoints,
                    with_nodes=with_nodes,
                )
            )
        return {"CacheClusters": views, "Marker": marker}


@action("DeleteCacheCluster")
async def delete_cache_cluster(ctx: RequestContext, params: Params) -> Result:
    """Mark a cluster and its nodes as ``deleting``; a replica leaves its group."""
    snapshot = params.get("FinalSnapshotIdentifier")
    async with ctx.begin() as tx:
        cluster = await tx.get(CacheCluster, params["CacheClusterId"], lock=True)
        group = await group_of(tx, cluster)
        if group is not None:
            _check_may_leave(group, cluster)
        lifecycle.require(cluster, lifecycle.Event.DELETE)
        if snapshot and cluster.engine == Engine.MEMCACHED:
            raise Fault("SnapshotFeatureNotSupportedFault", "Memcached clusters have no snapshots.")
        if snapshot:
            return await _delete_after_snapshot(ctx, tx, cluster, group, snapshot)
        lifecycle.fire(cluster, lifecycle.Event.DELETE)
        for node in cluster.nodes:
            node.status = lifecycle.NODE_DELETING
        if group is not None:
            if lifecycle.target(group.resource, group.status, lifecycle.Event.MODIFY) is None:
                raise _busy_group(cluster, group)
            lifecycle.fire(group, lifecycle.Event.MODIFY)
            if group.snapshotting_cluster_id == cluster.name:
                group.snapshotting_cluster_id = None
        subject_uid = cluster.uid if group is None else group.uid
        tx.enqueue(OperationKind.SETTLE, subject_uid=subject_uid, token=ctx.request_id)
        view = cache_cluster_view(cluster, group_name=None if group is None else group.name)
        return {"CacheCluster": view}


async def _delete_after_snapshot(
    ctx: RequestContext,
    tx: Transaction,
    cluster: CacheCluster,
    group: ReplicationGroup | None,
    wanted: str,
) -> Result:
    """Have a snapshot taken that the deletion follows."""
    name = check_snapshot_name(wanted)
    if group is not None:
        raise wrong_combination(
            "FinalSnapshotIdentifier cannot be used for a member of a replication group."
        )
    node_type = ctx.catalog.node_type(cluster.node_type)
    if node_type is not None and not node_type.snapshots:
        raise no_snapshots(cluster.node_type)
    source = Source(group=None, member=cluster)
    snapshot = await snapshots.begin(tx, source, name=name, final=True, token=ctx.request_id)
    inherited = await tags.listed(tx, CacheCluster.arn_kind, cluster.name)
    await tags.put(tx, snapshot.arn_kind, snapshot.name, inherited)
    return {"CacheCluster": cache_cluster_view(cluster)}


async def group_of(tx: Transaction, cluster: CacheCluster) -> ReplicationGroup | None:
    """Return the replication group of a member, locked; None for a cluster that stands alone."""
    if cluster.replication_group_uid is None:
        return None
    query = (
        select(ReplicationGroup)
        .where(ReplicationGroup.uid == cluster.replication_group_uid)
        .with_for_update()
    )
    return (await tx.session.scalars(query)).one()


async def _groups_of(tx: Transaction, clusters: list[CacheCluster]) -> dict[str, tuple[str, bool]]:
    """Return name and whether logs are delivered of the clusters' groups, by uid."""
    uids = {
        cluster.replication_group_uid
        for cluster in clusters
        if cluster.replication_group_uid is not None
    }
    if not uids:
        return {}
    query = select(
        ReplicationGroup.uid, ReplicationGroup.name, ReplicationGroup.log_delivery
    ).where(ReplicationGroup.uid.in_(uids))
    return {uid: (name, bool(logs)) for uid, name, logs in (await tx.session.execute(query)).all()}


def _check_request(
    ctx: RequestContext, params: Params, name: str
) -> tuple[int, EngineVersion, NodeType, Mapping[str, Any]]:
    """Check a request for a cluster that stands alone; return the columns it decides."""
    engine = engines.check_cluster_engine(params.get("Engine"))
    settings.refuse_cache_security_groups(params)
    cache_nodes.check_engine_options(engine, params)
    if params.get("AuthToken"):
        # A single node has no encryption in transit, and a token is never sent in clear.
        raise features.token_without_encryption()
    if len(params.get("SnapshotArns") or ()) > 1:
        raise wrong_value("SnapshotArns must have exactly one element for a cache cluster.")
    if params.get("SnapshotArns") and params.get("SnapshotName"):
        raise wrong_combination("SnapshotArns and SnapshotName cannot be used together.")
    version = engines.resolve_version(ctx.catalog, engine, params.get("EngineVersion"))
    node_type = engines.check_node_type(ctx.catalog, params.get("CacheNodeType"), version)
    # Only replication groups can have it.
    features.check_data_tiering(node_type.name, tiered=node_type.data_tiering, enabled=None)
    if params.get("TransitEncryptionEnabled"):
        engines.check_cluster_encryption(ctx.catalog, version, node_type)
    count = cache_nodes.check_node_count(engine, params.get("NumCacheNodes"))
    has_snapshots = engine != Engine.MEMCACHED
    windows = choose_windows(
        region=ctx.region,
        name=name,
        maintenance=params.get("PreferredMaintenanceWindow"),
        snapshot=params.get("SnapshotWindow"),
        has_snapshots=has_snapshots,
    )
    retention_days = settings.check_retention(
        params.get("SnapshotRetentionLimit"), node_type_has_snapshots=node_type.snapshots
    )
    network, discovery = settings.check_network(params)
    topic = settings.check_topic(params.get("NotificationTopicArn"), ctx.scope)
    columns = {
        "engine": engine.value,
        "engine_version": version.cluster_version,
        "node_type": node_type.name,
        "port": settings.check_port(params.get("Port"), engines.default_port(engine)),
        "security_group_ids": settings.check_security_groups(params.get("SecurityGroupIds")),
        "maintenance_window": windows.maintenance,
        "snapshot_window": windows.snapshot,
        "snapshot_retention_limit": retention_days,
        "auto_minor_version_upgrade": params.get("AutoMinorVersionUpgrade", True),
        "notification_topic_arn": topic,
        "notification_topic_status": "active" if topic else None,
        "network_type": network,
        "ip_discovery": discovery,
        "log_delivery": new_log_delivery(
            ctx.catalog, params, engine=engine, engine_version=version.version
        ),
    }
    if params.get("TransitEncryptionEnabled"):
        columns |= {"transit_encryption_enabled": True, "transit_encryption_mode": "required"}
    return count, version, node_type, columns


async def _parameter_group(
    ctx: RequestContext, tx: Transaction, params: Params, version: EngineVersion
) -> parameter_groups.Group:
    name = params.get("CacheParameterGroupName")
    if not name:
        return references.default_parameter_group(ctx.catalog, version, cluster_mode=False)
    group = await references.find_parameter_group(tx, ctx.catalog, name)
    references.check_family(ctx.catalog, group, version)
    if references.enables_cluster_mode(group):
        raise wrong_combination(
            "Cluster mode should be disabled in parameter group, but found it is enabled."
        )
    return group


def _requested_zone(params: Params, zones: list[str]) -> str | None:
    """Return what is shown while the cluster is created: only a zone that was asked for."""
    if params.get("PreferredAvailabilityZone"):
        return str(params["PreferredAvailabilityZone"])
    if params.get("PreferredAvailabilityZones"):
        return zones[0] if len(set(zones)) == 1 else "Multiple"
    return None


async def _create_replica(ctx: RequestContext, params: Params, name: str) -> Result:
    """Add a replica to a group without cluster mode; all but its zone comes from the group."""
    cache_nodes.refuse_extra_for_replica(params)
    asked_tags = tags.parse(params.get("Tags"))
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        if await tx.find(CacheCluster, name) is not None:
            raise AlreadyExists(CacheCluster.resource, name)
        if group.cluster_enabled:
            raise wrong_combination(
                "A replica of a group with cluster mode enabled is created with "
                "IncreaseReplicaCount."
            )
        if lifecycle.target(group.resource, group.status, lifecycle.Event.MODIFY) is None:
            raise Fault(
                "InvalidReplicationGroupStateFault",
                f"Replication group {group.name} has status {group.status}. It must be available "
                "to add a replica.",
            )
        (shard,) = group.node_groups
        if len(shard.nodes) > REPLICAS_PER_SHARD_MAX:
            raise Fault(
                "NodeQuotaForClusterExceededFault",
                f"A replication group can have at most {REPLICAS_PER_SHARD_MAX} replicas.",
            )
        chosen = await references.zones_for(tx, group.subnet_group_name, name=group.name)
        requested = params.get("PreferredAvailabilityZone") or None
        if requested is not None:
            settings.check_zone("PreferredAvailabilityZone", requested, chosen.zones)
        taken = [node.availability_zone for node in shard.nodes]
        zone = requested or spread(chosen.zones, 1, taken=taken)[0]
        await references.check_node_quota(tx, 1)
        lifecycle.fire(group, lifecycle.Event.MODIFY)
        cluster = add_member(
            group,
            shard,
            NodePlan(member_name=name, role=NodeRole.REPLICA, zone=zone),
            now=tx.now,
            requested_zone=requested,
            auto_minor_version_upgrade=params.get("AutoMinorVersionUpgrade"),
        )
        inherited = asked_tags or await tags.listed(tx, ReplicationGroup.arn_kind, group.name)
        await tags.put(tx, CacheCluster.arn_kind, name, inherited)
        tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, token=ctx.request_id)
        await tx.session.flush()
        return {"CacheCluster": cache_cluster_view(cluster, group_name=group.name)}


def _check_may_leave(group: ReplicationGroup, cluster: CacheCluster) -> None:
    """Refuse to take a member from a group that would be broken without it."""
    if group.cluster_enabled:
        raise Fault(
            "InvalidCacheClusterStateFault",
            f"Cache cluster {cluster.name} is a member of a replication group with cluster mode "
            "enabled. Use DecreaseReplicaCount.",
        )
    staying = [member for member in group.members if member.status != lifecycle.DELETING]
    others = [member for member in staying if member is not cluster]
    if not others:
        raise Fault(
            "InvalidCacheClusterStateFault",
            "Cannot delete the cache cluster since it is the only member of a replication group. "
            "Delete the replication group instead.",
        )
    if any(node.role == NodeRole.PRIMARY for node in cluster.nodes):
        raise Fault(
            "InvalidCacheClusterStateFault",
            f"Cache cluster {cluster.name} is serving as primary for replication group "
            f"{group.name} and cannot be deleted.",
        )
    if len(others) == 1 and group.automatic_failover in ("enabled", "enabling"):
        raise Fault(
            "InvalidCacheClusterStateFault",
            f"Cache cluster {cluster.name} cannot be deleted: it is the only read replica for "
            f"replication group {group.name} which has autofailover enabled or pending.",
        )


def _busy_group(cluster: CacheCluster, group: ReplicationGroup) -> Fault:
    return Fault(
        "InvalidCacheClusterStateFault",
        f"Cache cluster {cluster.name} cannot be deleted while its replication group "
        f"{group.name} has status {group.status}.",
    )
