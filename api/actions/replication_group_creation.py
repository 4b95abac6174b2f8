"""The action that creates replication groups, from nothing or around a cluster that runs already.

A group is written whole, with its shards, members and nodes, in one transaction with the operation
that starts them. Whatever may be refused is refused before the first row is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from cachefleet.api import objects, references, restoring
from cachefleet.api.actions import global_members
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import engines, features, settings, shards
from cachefleet.api.validation.group_access import user_groups_of_new
from cachefleet.api.validation.identifiers import check_replication_group_id
from cachefleet.api.validation.log_delivery import new_log_delivery
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.snapshots import check_arns, choose_member
from cachefleet.api.validation.unavailable import (
    WITHOUT_DURABILITY,
    refuse_durability,
    refuse_outposts,
)
from cachefleet.api.validation.windows import choose_windows
from cachefleet.api.views.replication_groups import replication_group_view
from cachefleet.engine.catalog import EngineVersion, NodeType
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.state import auth_tokens, ids, lifecycle, parameter_groups, tags
from cachefleet.provisioner.state.errors import AlreadyExists
from cachefleet.provisioner.state.layout import ShardPlan, lay_out_group
from cachefleet.provisioner.state.members import add_member, new_node_group, settings_of
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    EndpointAddress,
    ReplicationGroup,
    Subject,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A request for a group as far as it can be checked without the records."""

    name: str
    version: EngineVersion
    node_type: NodeType
    shard_count: int
    columns: Mapping[str, Any]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """What the group will be made of, checked against the records."""

    cluster_mode: bool
    parameter_group_name: str
    subnet_group_name: str
    plans: tuple[ShardPlan, ...]


@action("CreateReplicationGroup")
async def create_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Record a group with all of its shards and members; it is ``creating`` until they serve."""
    features.check_sources(params)
    if params.get("GlobalReplicationGroupId"):
        features.check_new_group_sources(params, encrypted_at_rest=True)
    params = await restoring.completed(ctx, params)
    shards.count_shards(params)
    found = None
    if params.get("GlobalReplicationGroupId"):
        params, found = await global_members.inherit(ctx, params)
    features.check_new_group_access(params)
    if params.get("PrimaryClusterId"):
        return await _create_around(ctx, params)
    request = _check_request(ctx, params)
    await restoring.check_seeds(ctx, params)
    if found is not None:
        async with ctx.read() as tx:  # before another cachefleet lets it in
            await _require_free(tx, request.name)
    key_arn = None
    if params.get("KmsKeyId"):
        key_arn = await objects.check_key(ctx, params["KmsKeyId"])
    async with global_members.let_in(ctx, params, found) as joining, ctx.begin() as tx:
        await _require_free(tx, request.name)
        layout = await _lay_out(ctx, tx, params, request)
        user_group_ids = await user_groups_of_new(
            tx,
            params,
            engine=request.version.engine.value,
            engine_version=request.version.cluster_version,
        )
        _refuse_unavailable(ctx, params, request, layout)
        group = _new_group(
            ctx,
            params,
            cluster_mode=layout.cluster_mode,
            user_group_ids=user_group_ids,
            name=request.name,
            parameter_group_name=layout.parameter_group_name,
            subnet_group_name=layout.subnet_group_name,
            kms_key_id=key_arn,
            **request.columns,
        )
        await tx.insert(group)
        await tx.new_subject(group.resource, group.uid)
        for plan in layout.plans:
            _add_shard(group, plan, params, tx)
        if joining is not None:
            await global_members.join(ctx, tx, group, joining)
        _choose_snapshotting(group)
        brought = await restoring.begin(
            ctx, tx, params, group.uid, request.version, cluster_mode=layout.cluster_mode
        )
        return await _file(tx, ctx, group, request.tags or brought)


async def _require_free(tx: Transaction, name: str) -> None:
    if await tx.find(ReplicationGroup, name) is not None:
        raise AlreadyExists(ReplicationGroup.resource, name)


async def _lay_out(
    ctx: RequestContext, tx: Transaction, params: Params, request: _Request
) -> _Layout:
    named = await _named_parameter_group(ctx, tx, params, request.version)
    cluster_mode = shards.choose_cluster_mode(
        params,
        shard_count=request.shard_count,
        group_enables=None if named is None else references.enables_cluster_mode(named),
    )
    if params.get("SnapshotArns"):
        check_arns(
            params["SnapshotArns"],
            cluster_mode=cluster_mode,
            entries=params.get("NodeGroupConfiguration") or (),
        )
    parameter_group = named or references.default_parameter_group(
        ctx.catalog, request.version, cluster_mode=cluster_mode
    )
    chosen = await references.zones_for(tx, params.get("CacheSubnetGroupName"), name=request.name)
    plans = lay_out_group(
        request.name,
        shards.shard_requests(
            params,
            shard_count=request.shard_count,
            cluster_mode=cluster_mode,
            zones=chosen.zones,
        ),
        cluster_mode=cluster_mode,
        zones=chosen.zones,
        taken_names=await references.names_like(tx, request.name),
    )
    shards.check_failover(params, plans, cluster_mode=cluster_mode)
    if params.get("ClusterMode") == "compatible":
        shards.check_compatible(ctx.catalog, request.version, plans)
    engines.check_group_node_type(
        request.node_type,
        cluster_mode=cluster_mode,
        failover=bool(params.get("AutomaticFailoverEnabled")),
        multi_az=bool(params.get("MultiAZEnabled")),
    )
    shards.check_cluster_size(plans)
    await references.check_node_quota(tx, sum(len(plan.nodes) for plan in plans))
    return _Layout(
        cluster_mode=cluster_mode,
        parameter_group_name=parameter_group.name,
        subnet_group_name=chosen.subnet_group_name,
        plans=plans,
    )


def _check_request(ctx: RequestContext, params: Params) -> _Request:
    name = check_replication_group_id(params["ReplicationGroupId"])
    engine = engines.check_group_engine(params.get("Engine"))
    encrypted_at_rest = bool(params.get("AtRestEncryptionEnabled", engine == Engine.VALKEY))
    features.check_new_group_sources(params, encrypted_at_rest=encrypted_at_rest)
    settings.refuse_cache_security_groups(params)
    version = engines.resolve_version(ctx.catalog, engine, params.get("EngineVersion"))
    node_type = engines.check_node_type(ctx.catalog, params.get("CacheNodeType"), version)
    features.check_data_tiering(
        node_type.name, tiered=node_type.data_tiering, enabled=params.get("DataTieringEnabled")
    )
    engines.check_group_encryption(
        ctx.catalog,
        version,
        node_type,
        in_transit=bool(params.get("TransitEncryptionEnabled")),
        at_rest=_wants_encryption(params),
    )
    windows = choose_windows(
        region=ctx.region,
        name=name,
        maintenance=params.get("PreferredMaintenanceWindow"),
        snapshot=params.get("SnapshotWindow"),
        has_snapshots=True,
    )
    retention_days = settings.check_retention(
        params.get("SnapshotRetentionLimit"), node_type_has_snapshots=node_type.snapshots
    )
    network, discovery = settings.check_network(params)
    port = settings.check_port(params.get("Port"), engines.default_port(engine))
    topic = settings.check_topic(params.get("NotificationTopicArn"), ctx.scope)
    return _Request(
        name=name,
        version=version,
        node_type=node_type,
        shard_count=shards.count_shards(params),
        columns={
            "engine": engine.value,
            "engine_version": version.cluster_version,
            "node_type": node_type.name,
            "port": port,
            "at_rest_encryption_enabled": _wants_encryption(params),
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
            **_transit_columns(ctx, params),
        },
        tags=tags.parse(params.get("Tags")),
    )


def _transit_columns(ctx: RequestContext, params: Params) -> dict[str, Any]:
    """Return the columns of encryption in transit and of the AUTH token."""
    columns: dict[str, Any] = {}
    if params.get("TransitEncryptionEnabled"):
        columns["transit_encryption_enabled"] = True
        columns["transit_encryption_mode"] = params.get("TransitEncryptionMode") or "required"
    if params.get("AuthToken"):
        tokens = auth_tokens.first(auth_tokens.token_sha256(params["AuthToken"]))
        columns |= token_columns(tokens) | {"auth_token_changed_at": ctx.now}
    return columns


def token_columns(tokens: auth_tokens.Tokens) -> dict[str, Any]:
    """Return the columns of a group in which its AUTH tokens are kept."""
    return {
        "auth_token_enabled": tokens.enabled,
        "auth_token_sha256s": list(tokens.sha256s),
        "auth_token_required": tokens.required,
    }


def _wants_encryption(params: Params) -> bool:
    """Tell whether data is to be encrypted at rest; naming a key for it asks for it."""
    flag = params.get("AtRestEncryptionEnabled")
    return bool(params.get("KmsKeyId")) if flag is None else bool(flag)


def _new_group(
    ctx: RequestContext, params: Params, *, cluster_mode: bool, **columns: Any
) -> ReplicationGroup:
    failover = _word(params.get("AutomaticFailoverEnabled"))
    if failover == "enabled" and not cluster_mode:
        failover = "enabling"  # until the replicas are in sync
    return ReplicationGroup(
        uid=ids.new_uid(),
        account=ctx.account,
        region=ctx.region,
        status=lifecycle.CREATING,
        description=params["ReplicationGroupDescription"],
        cluster_mode=_mode(params, cluster_mode=cluster_mode),
        automatic_failover=failover,
        multi_az=_word(params.get("MultiAZEnabled")),
        created_at=ctx.now,
        snapshots_since=ctx.now,
        **columns,
    )


def _mode(params: Params, *, cluster_mode: bool) -> str:
    if cluster_mode and params.get("ClusterMode") == "compatible":
        return "compatible"
    return _word(cluster_mode)


def _word(flag: bool | None) -> str:
    return "enabled" if flag else "disabled"


async def _named_parameter_group(
    ctx: RequestContext, tx: Transaction, params: Params, version: EngineVersion
) -> parameter_groups.Group | None:
    name = params.get("CacheParameterGroupName")
    if not name:
        return None
    group = await references.find_parameter_group(tx, ctx.catalog, name)
    references.check_family(ctx.catalog, group, version)
    return group


def _refuse_unavailable(
    ctx: RequestContext, params: Params, request: _Request, layout: _Layout
) -> None:
    refuse_outposts(params)
    refuse_durability(
        ctx.catalog,
        params.get("Durability"),
        version=request.version,
        node_type=request.node_type.name,
        cluster_mode=layout.cluster_mode,
        in_transit=bool(params.get("TransitEncryptionEnabled")),
        multi_az=bool(params.get("MultiAZEnabled")),
        replicas_min=min(len(plan.nodes) for plan in layout.plans) - 1,
        is_global=bool(params.get("GlobalReplicationGroupId")),
    )
    features.refuse_data_tiering(params)


def _add_shard(group: ReplicationGroup, plan: ShardPlan, params: Params, tx: Transaction) -> None:
    node_group = new_node_group(plan)
    group.node_groups.append(node_group)
    requested = _requested_zones(params)
    for node in plan.nodes:
        add_member(
            group,
            node_group,
            node,
            now=tx.now,
            requested_zone=node.zone if requested else None,
        )


def _choose_snapshotting(group: ReplicationGroup) -> None:
    """Name the member that automatic snapshots are taken of: the first replica, where any."""
    if group.snapshot_retention_limit and not group.cluster_enabled:
        group.snapshotting_cluster_id = choose_member(group).name


def _requested_zones(params: Params) -> bool:
    entries: Sequence[Mapping[str, Any]] = params.get("NodeGroupConfiguration") or ()
    return bool(params.get("PreferredCacheClusterAZs")) or any(
        entry.get("PrimaryAvailabilityZone") for entry in entries
    )


async def _file(
    tx: Transaction, ctx: RequestContext, group: ReplicationGroup, wanted: Mapping[str, str]
) -> Result:
    if wanted:
        await tags.put(tx, ReplicationGroup.arn_kind, group.name, wanted)
        for member in group.members:
            await tags.put(tx, CacheCluster.arn_kind, member.name, wanted)
    tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, token=ctx.request_id)
    if group.log_delivery:
        tx.enqueue(OperationKind.LOG_DELIVERY, subject_uid=group.uid, token=ctx.request_id)
    await tx.session.flush()
    return {"ReplicationGroup": replication_group_view(group)}


async def _create_around(ctx: RequestContext, params: Params) -> Result:
    """Record a group whose primary is a cluster that already runs and keeps its name."""
    name = _check_around(params)
    topic = settings.check_topic(params.get("NotificationTopicArn"), ctx.scope)
    asked_tags = tags.parse(params.get("Tags"))
    async with ctx.begin() as tx:
        await _require_free(tx, name)
        primary = await tx.get(CacheCluster, params["PrimaryClusterId"], lock=True)
        _check_primary(ctx, primary, params)
        plan = await _lay_out_around(tx, primary, params, name)
        user_group_ids = await user_groups_of_new(
            tx, params, engine=primary.engine, engine_version=primary.engine_version
        )
        refuse_outposts(params)
        if params.get("Durability") not in WITHOUT_DURABILITY:
            raise wrong_combination("Durability requires cluster mode to be enabled.")
        features.refuse_data_tiering(params)
        windows = choose_windows(
            region=ctx.region,
            name=name,
            maintenance=params.get("PreferredMaintenanceWindow") or primary.maintenance_window,
            snapshot=params.get("SnapshotWindow") or primary.snapshot_window,
            has_snapshots=True,
        )
        columns = settings_of(primary) | {
            "maintenance_window": windows.maintenance,
            "snapshot_window": windows.snapshot,
            "snapshot_retention_limit": settings.check_retention(
                params.get("SnapshotRetentionLimit"), node_type_has_snapshots=True
            )
            or primary.snapshot_retention_limit,
        }
        # A member delivers no logs of its own: what it did is its group's now.
        logs = new_log_delivery(
            ctx.catalog,
            params,
            engine=Engine(primary.engine),
            engine_version=primary.engine_version,
        )
        columns["log_delivery"], primary.log_delivery = logs or primary.log_delivery, []
        if topic:
            columns |= {"notification_topic_arn": topic, "notification_topic_status": "active"}
        if params.get("AutoMinorVersionUpgrade") is not None:
            columns["auto_minor_version_upgrade"] = params["AutoMinorVersionUpgrade"]
        columns["user_group_ids"] = user_group_ids
        group = _new_group(ctx, params, cluster_mode=False, name=name, **columns)
        await tx.insert(group)
        await tx.new_subject(group.resource, group.uid)
        await _adopt(tx, group, primary, plan)
        for node in plan.nodes[1:]:
            add_member(group, group.node_groups[0], node, now=tx.now)
        _choose_snapshotting(group)
        chosen_tags = asked_tags or await tags.listed(tx, CacheCluster.arn_kind, primary.name)
        await tags.forget(tx, CacheCluster.arn_kind, primary.name)
        return await _file(tx, ctx, group, chosen_tags)


def _check_around(params: Params) -> str:
    """Check what can be checked without the primary; return the group's name."""
    name = check_replication_group_id(params["ReplicationGroupId"])
    features.check_new_group_sources(
        params, encrypted_at_rest=bool(params.get("AtRestEncryptionEnabled"))
    )
    settings.refuse_cache_security_groups(params)
    if shards.count_shards(params) > 1:
        raise wrong_combination("PrimaryClusterId does not go with more than one node group.")
    shards.choose_cluster_mode(params, shard_count=1, group_enables=None)
    settings.check_retention(params.get("SnapshotRetentionLimit"), node_type_has_snapshots=True)
    settings.check_network(params)
    if _wants_encryption(params):
        raise wrong_combination(
            "AtRestEncryptionEnabled cannot be used together with PrimaryClusterId: the group "
            "takes its data over from the primary."
        )
    return name


def _check_primary(ctx: RequestContext, primary: CacheCluster, params: Params) -> None:
    """Refuse a primary that cannot become one, and settings other than those it has."""
    if primary.replication_group_uid is not None:
        raise wrong_value(f"Cache cluster {primary.name} is already in a replication group.")
    if primary.engine == Engine.MEMCACHED:
        raise wrong_value(f"Cache cluster {primary.name} does not run a Redis engine.")
    if lifecycle.target(primary.resource, primary.status, lifecycle.Event.MODIFY) is None:
        raise Fault(
            "InvalidCacheClusterStateFault",
            f"Cache cluster {primary.name} is not in available state.",
        )
    version = ctx.catalog.version_of(Engine(primary.engine), primary.engine_version)
    assert version is not None, primary.engine_version
    taken_over: Mapping[str, Any] = {
        "CacheNodeType": primary.node_type,
        "Engine": primary.engine,
        "EngineVersion": version.version,
        "CacheParameterGroupName": primary.parameter_group_name,
        "CacheSubnetGroupName": primary.subnet_group_name,
        "SecurityGroupIds": primary.security_group_ids,
        "Port": primary.port,
    }
    if params.get("TransitEncryptionEnabled"):
        raise wrong_combination(
            "TransitEncryptionEnabled cannot be used together with PrimaryClusterId: the group "
            "takes it over from the primary, which has none."
        )
    for parameter, value in taken_over.items():
        if features.is_given(params, parameter) and params[parameter] != value:
            raise wrong_combination(
                f"{parameter} cannot be used together with PrimaryClusterId: the group takes it "
                "over from the primary."
            )


async def _lay_out_around(
    tx: Transaction, primary: CacheCluster, params: Params, name: str
) -> ShardPlan:
    chosen = await references.zones_for(tx, primary.subnet_group_name, name=name)
    (node,) = primary.nodes
    (request,) = shards.shard_requests(
        params, shard_count=1, cluster_mode=False, zones=chosen.zones
    )
    (plan,) = lay_out_group(
        name,
        [replace(request, primary_zone=node.availability_zone)],
        cluster_mode=False,
        zones=chosen.zones,
        taken_names=await references.names_like(tx, name),
        primary_name=primary.name,
    )
    shards.check_failover(params, [plan], cluster_mode=False)
    await references.check_node_quota(tx, len(plan.nodes) - 1)
    return plan


async def _adopt(
    tx: Transaction, group: ReplicationGroup, primary: CacheCluster, plan: ShardPlan
) -> None:
    """Make a cluster that stands alone the first member of *group*, under its subject."""
    node_group = new_node_group(plan)
    group.node_groups.append(node_group)
    lifecycle.fire(primary, lifecycle.Event.MODIFY)
    for column, value in settings_of(group).items():
        setattr(primary, column, value)
    group.members.append(primary)
    (node,) = primary.nodes
    node.subject_uid = group.uid
    node.role = NodeRole.PRIMARY.value
    node_group.nodes.append(node)
    await tx.session.flush()
    for address in (
        await tx.session.scalars(
            select(EndpointAddress).where(EndpointAddress.subject_uid == primary.uid)
        )
    ).all():
        address.subject_uid = group.uid
    await tx.session.flush()
    subject = await tx.session.get(Subject, primary.uid)
    if subject is not None:
        await tx.session.delete(subject)
