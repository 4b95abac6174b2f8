"""What a request for a cache refers to by name, looked up: parameter groups and subnet groups.

Default parameter groups and the default subnet group have no rows: the catalogue and the region
stand for them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select

from cachefleet.api.faults import Fault
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.api.views.settings import Endpoints
from cachefleet.engine.catalog import Catalog, EngineVersion
from cachefleet.engine.types import Endpoint
from cachefleet.provisioner.state import parameter_groups, subnets
from cachefleet.provisioner.state.parameter_groups import Group
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ParameterGroup,
)
from cachefleet.provisioner.state.zones import rotate

NODES_PER_REGION_MAX = 300  # a quota of the service
CLUSTER_ENABLED = "cluster-enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """A subnet group and the zones it covers, in the order in which one resource takes them."""

    subnet_group_name: str
    zones: tuple[str, ...]


async def find_parameter_group(tx: Transaction, catalog: Catalog, name: str) -> Group:
    """Return a parameter group, default or custom; a custom one is held against its deletion.

    Raises:
        Fault: ``CacheParameterGroupNotFound``.
    """
    default = parameter_groups.default_group(catalog, name)
    if default is not None:
        return default
    row = await tx.find(ParameterGroup, name, lock=True)
    if row is None:
        raise Fault("CacheParameterGroupNotFoundFault", f"CacheParameterGroup not found: {name}")
    return parameter_groups.of_row(row)


def enables_cluster_mode(group: Group) -> bool:
    """Say whether caches with this parameter group are in cluster mode."""
    return group.values.get(CLUSTER_ENABLED, "no") == "yes"


def check_family(catalog: Catalog, group: Group, version: EngineVersion) -> None:
    """Refuse a parameter group of another engine or family."""
    if group.family == version.family:
        return
    engine_of_group = catalog.family(group.family).engine
    if engine_of_group is not version.engine:
        raise wrong_combination(
            f"{engine_of_group.value} parameter group is not applicable to engine "
            f"{version.engine.value}"
        )
    raise wrong_combination(
        f"Expected a parameter group of family {version.family} but found one of family "
        f"{group.family}"
    )


def default_parameter_group(
    catalog: Catalog, version: EngineVersion, *, cluster_mode: bool
) -> Group:
    """Return the parameter group that a cache gets where none was named."""
    default = catalog.family(version.family).default_group(cluster_enabled=cluster_mode)
    group = None if default is None else parameter_groups.default_group(catalog, default.name)
    if group is None:
        raise wrong_combination(f"{version.family} does not support cluster mode.")
    return group


async def zones_for(tx: Transaction, subnet_group_name: str | None, *, name: str) -> Zones:
    """Return the subnet group and its zones, as resource *name* takes them.

    Raises:
        NotFound: there is no such subnet group.
    """
    group = await subnets.get(tx, subnet_group_name or subnets.DEFAULT_GROUP, lock=True)
    zones = tuple(dict.fromkeys(str(subnet["az"]) for subnet in group.subnets))
    return Zones(subnet_group_name=group.name, zones=rotate(zones, name))


async def check_node_quota(tx: Transaction, added: int) -> None:
    """Refuse nodes beyond the region's quota.

    Raises:
        Fault: ``NodeQuotaForCustomerExceeded``.
    """
    present = await count_nodes(tx)
    if present + added > NODES_PER_REGION_MAX:
        raise Fault(
            "NodeQuotaForCustomerExceededFault",
            f"The request would exceed the quota of {NODES_PER_REGION_MAX} nodes in this region.",
        )


async def count_nodes(tx: Transaction) -> int:
    """Return how many nodes there are in this scope."""
    query = (
        select(func.count())
        .select_from(CacheNode)
        .join(CacheCluster, CacheCluster.uid == CacheNode.cache_cluster_uid)
        .where(CacheCluster.account == tx.scope.account, CacheCluster.region == tx.scope.region)
    )
    return int(await tx.session.scalar(query) or 0)


async def read_endpoints(tx: Transaction, subject_uids: Collection[str]) -> Endpoints:
    """Return the moving endpoints of subjects by (subject uid, kind), in one query."""
    if not subject_uids:
        return {}
    query = select(
        EndpointAddress.subject_uid,
        EndpointAddress.kind,
        EndpointAddress.host,
        EndpointAddress.port,
    ).where(
        EndpointAddress.subject_uid.in_(subject_uids),
        EndpointAddress.kind.in_(("primary", "reader", "configuration")),
    )
    rows = (await tx.session.execute(query)).all()
    return {(uid, kind): Endpoint(host, port) for uid, kind, host, port in rows}


async def names_like(tx: Transaction, group_name: str) -> frozenset[str]:
    """Return the names of clusters that a member of *group_name* could have, and are taken."""
    query = select(CacheCluster.name).where(
        CacheCluster.account == tx.scope.account,
        CacheCluster.region == tx.scope.region,
        CacheCluster.name.startswith(f"{group_name}-", autoescape=True),
    )
    return frozenset((await tx.session.scalars(query)).all())


def check_same_at_creation(catalog: Catalog, current: Group, wanted: Group) -> None:
    """Refuse to swap parameter groups that differ in what is fixed when a cache is created."""
    if enables_cluster_mode(current) != enables_cluster_mode(wanted):
        raise _differs(CLUSTER_ENABLED)
    if current.family != wanted.family:
        return
    family = catalog.family(wanted.family)
    for name in sorted(family.creation_time_parameters):
        parameter = family.parameter(name)
        default = parameter.value if parameter is not None else None
        if current.values.get(name, default) != wanted.values.get(name, default):
            raise _differs(name)


def _differs(parameter: str) -> Fault:
    return wrong_combination(
        f"The parameter {parameter} has a different value in the requested parameter group than "
        "the current parameter group. This parameter value cannot be changed for a cache cluster"
    )
