"""Engines, versions and node types of a request, by the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.catalog import Catalog, EngineVersion, NodeType
from cachefleet.engine.types import Engine

REDIS_PORT = 6379
MEMCACHED_PORT = 11211

# Since this version memcached keeps items that are larger than a slab in chunks.
MEMCACHED_WITH_CHUNKS = (1, 4, 33)
# Of the memory that is left for items, one may take a quarter.
ITEM_SHARE_MIN = 4

_NO_TLS_FAMILIES = frozenset({"m1", "m2"})
_NO_TLS_FAMILIES_MEMCACHED = frozenset({"m1", "m2", "m3", "r3", "t2"})
_NEVER_IN_CLUSTER_MODE = "t1"
_MIB = 1 << 20


def check_cluster_engine(engine: str | None) -> Engine:
    """Return the engine of a cluster that stands alone: memcached or redis."""
    if not engine:
        raise wrong_value("The parameter Engine must be provided and must not be null.")
    chosen = _engine(engine)
    if chosen is Engine.VALKEY:
        raise wrong_value(
            "This API doesn't support creating valkey cache clusters. "
            "Use CreateReplicationGroup instead."
        )
    return chosen


def check_group_engine(engine: str | None) -> Engine:
    """Return the engine of a replication group: valkey or redis, the latter by default."""
    chosen = _engine(engine or Engine.REDIS)
    if chosen is Engine.MEMCACHED:
        raise wrong_value("Replication groups are not supported for engine memcached.")
    return chosen


def _engine(name: str) -> Engine:
    try:
        return Engine(name.lower())
    except ValueError:
        raise wrong_value(f"The parameter Engine has an unknown value: {name}") from None


def default_port(engine: Engine) -> int:
    """Return the port on which the engine's nodes listen where none was asked for."""
    return MEMCACHED_PORT if engine is Engine.MEMCACHED else REDIS_PORT


def resolve_version(catalog: Catalog, engine: Engine, wanted: str | None) -> EngineVersion:
    """Return the version that a request names, or the engine's default.

    Raises:
        Fault: ``InvalidParameterCombination`` for one that is unknown, ended, or too precise.
    """
    version = catalog.resolve_version(engine, wanted or None)
    if version is None or not version.creatable:
        raise wrong_combination(f"Cannot find version {wanted} for {engine.value}")
    return version


def check_node_type(catalog: Catalog, name: str | None, version: EngineVersion) -> NodeType:
    """Return the node type, which must run this version."""
    if not name:
        raise wrong_value("The parameter CacheNodeType must be provided and must not be null.")
    node_type = catalog.node_type(name)
    if node_type is None:
        raise wrong_value(f"The parameter CacheNodeType has an unknown value: {name}")
    if not node_type.runs(version.engine, version.numbers):
        raise wrong_combination(
            f"The node type {name} is not supported for {version.engine.value} {version.version}"
        )
    return node_type


def check_group_node_type(
    node_type: NodeType, *, cluster_mode: bool, failover: bool, multi_az: bool
) -> None:
    """Refuse node types that cannot do what the group asks of them."""
    if cluster_mode and node_type.family == _NEVER_IN_CLUSTER_MODE:
        raise wrong_combination(f"{node_type.name} does not support cluster mode.")
    if (failover or multi_az) and not node_type.multi_az:
        raise wrong_combination(
            f"{node_type.name} does not support automatic failover and Multi-AZ."
        )


def check_group_encryption(
    catalog: Catalog,
    version: EngineVersion,
    node_type: NodeType,
    *,
    in_transit: bool,
    at_rest: bool,
) -> None:
    """Refuse encryption where version or node type lack it."""
    features = {"in_transit_encryption": in_transit, "at_rest_encryption": at_rest}
    for feature, wanted in features.items():
        if not wanted:
            continue
        if not catalog.supports(feature, version.engine, version.version):
            raise wrong_combination(
                f"Encryption features are not supported for engine version {version.version}."
            )
        if node_type.family in _NO_TLS_FAMILIES:
            raise wrong_combination(f"Encryption is not supported with {node_type.name}.")


def check_cluster_encryption(catalog: Catalog, version: EngineVersion, node_type: NodeType) -> None:
    """Refuse encryption in transit for clusters that cannot have it: all but newer memcached."""
    if version.engine is not Engine.MEMCACHED:
        raise wrong_combination(
            f"Encryption feature is not supported for engine {version.engine.value.upper()}."
        )
    if not catalog.supports("in_transit_encryption", version.engine, version.version):
        raise wrong_combination(
            f"Encryption features are not supported for engine version {version.version}. "
            "Please use engine version 1.6.12"
        )
    if node_type.family in _NO_TLS_FAMILIES_MEMCACHED:
        raise wrong_combination(f"Encryption is not supported with {node_type.name}.")


def check_memcached_sizes(
    catalog: Catalog, version: EngineVersion, node_type: NodeType, values: Mapping[str, str]
) -> None:
    """Refuse a parameter group with which memcached could not store its largest items."""
    if version.numbers < MEMCACHED_WITH_CHUNKS:
        return
    in_force = catalog.resolve_parameters(version.family, values, node_type, cluster_enabled=False)
    item_bytes = int(in_force["max_item_size"])
    chunk_bytes = int(in_force.get("slab_chunk_max", item_bytes))
    overhead_mb = int(in_force["memcached_connections_overhead"])
    free_bytes = (int(in_force["max_cache_memory"]) - overhead_mb) * _MIB
    if chunk_bytes > item_bytes or item_bytes % chunk_bytes:
        raise wrong_combination(
            "max_item_size must be a multiple of slab_chunk_max and not less than it."
        )
    if item_bytes > free_bytes / ITEM_SHARE_MIN:
        raise wrong_combination(
            "max_item_size must not be above a quarter of the memory that is left for items."
        )
