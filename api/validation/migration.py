"""What has to be so before data is taken over from outside: each check refuses as the service does.

What only a look at the source can tell (its version, a password, its memory) is not asked here: the
call succeeds then, and an event says what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.global_groups import refuse_member
from cachefleet.api.validation.group_changes import require_available
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state.errors import AlreadyExists
from cachefleet.provisioner.state.tables import ReplicationGroup

OLDEST_REDIS = (5, 0, 6)
SOURCES_WITHOUT_CLUSTER_MODE = 1
SOURCES_MAX = 500  # as many as a group can have shards
ADDRESS_CHARS_MAX = 255
PORT_MAX = 65_535


def check_target(catalog: Catalog, group: ReplicationGroup) -> None:
    """Refuse a group that cannot take data over."""
    if group.migration:
        raise AlreadyExists("migration", group.name)
    refuse_member(group)
    require_available(group)
    if group.cluster_mode == "compatible":
        raise Fault(
            "InvalidReplicationGroupStateFault",
            "Data cannot be migrated into a replication group while its cluster mode is "
            "compatible.",
        )
    version = catalog.version_of(Engine(group.engine), group.engine_version)
    assert version is not None, group.engine_version
    if version.engine is Engine.REDIS and version.numbers < OLDEST_REDIS:
        raise wrong_value("Online migration requires engine version 5.0.6 or higher.")
    if group.transit_encryption_enabled:
        raise wrong_value("Online migration does not support encryption in-transit.")
    if group.at_rest_encryption_enabled:
        raise wrong_value("Online migration does not support encryption at-rest.")
    if group.automatic_failover != "enabled" or group.multi_az != "enabled":
        raise wrong_value("Online migration requires Multi-AZ with automatic failover enabled.")
    if group.data_tiering == "enabled":
        raise wrong_value(f"Online migration does not support node type {group.node_type}.")


def check_endpoints(given: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Return addresses and ports as they are recorded; there is at least one."""
    sources = []
    for one in given or ():
        address, port = (one.get("Address") or "").strip(), one.get("Port")
        if not address or len(address) > ADDRESS_CHARS_MAX or not address.isprintable():
            raise wrong_value("Each CustomerNodeEndpoint must have an Address.")
        if " " in address:
            raise wrong_value(f"The Address {address} is not valid.")
        if port is None or not 1 <= port <= PORT_MAX:
            raise wrong_value("Each CustomerNodeEndpoint must have a Port within 1 and 65535.")
        sources.append({"Address": address, "Port": port})
    if not sources:
        raise wrong_value("CustomerNodeEndpointList must be provided.")
    return sources


def check_sources(
    group: ReplicationGroup, given: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """Return the source's nodes, as they are recorded."""
    sources = check_endpoints(given)
    if len(sources) != SOURCES_WITHOUT_CLUSTER_MODE and not group.cluster_enabled:
        raise wrong_value(
            "CustomerNodeEndpointList must have exactly one element where cluster mode is disabled."
        )
    if len(sources) > SOURCES_MAX:
        raise wrong_value(f"CustomerNodeEndpointList must have at most {SOURCES_MAX} elements.")
    return sources
