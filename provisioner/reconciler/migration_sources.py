"""Look at the servers outside that data is to be taken over from, and pair them with our shards.

Nothing is changed on either side. Why a source does not do is for customers to read.
"""

from __future__ import annotations

from collections.abc import Sequence

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.outside import OutsideAccess
from cachefleet.engine.types import Endpoint
from cachefleet.engine.valkey.cluster import NotAClusterReply, parse_slots
from cachefleet.engine.valkey.config import effective_maxmemory_bytes
from cachefleet.engine.valkey.source import (
    ANYBODY,
    SourceReport,
    read_shards,
    read_source,
)
from cachefleet.provisioner.planning.migration import MigrationTarget, pair_shards, refuse_source
from cachefleet.provisioner.reconciler.binaries import binary_for, dump_format, format_of
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord, own_endpoint

SOURCE_TIMEOUT_S = 3.0  # a server outside may be a network away


class SourceRefused(Exception):
    """Data cannot be taken over from there; the message says why, to the customer."""


async def choose_sources(
    record: SubjectRecord, given: Sequence[Endpoint], fleet: Fleet
) -> dict[str, Endpoint]:
    """Return whom each shard of the group is to follow, by the shard's uid.

    Raises:
        SourceRefused: one of *given*, or of their cluster, cannot be followed.
    """
    assert record.group is not None, "only groups migrate"
    target = target_of(record, fleet)
    for at in given:
        await _require(at, target)
    shards = record.group.node_groups
    if not record.cluster_enabled:
        return {shard.uid: given[0] for shard in shards}
    try:
        found = await read_shards(given[0], timeout_s=SOURCE_TIMEOUT_S)
    except (NodeUnreachable, CommandRefused, NotAClusterReply) as error:
        raise SourceRefused(f"the source at {given[0]} does not tell of its cluster") from error
    pairs = pair_shards({shard.uid: parse_slots(shard.slots) for shard in shards}, found)
    if isinstance(pairs, str):
        raise SourceRefused(pairs)
    for at in set(pairs.values()) - set(given):
        await _require(at, target)
    return pairs


async def _require(at: Endpoint, target: MigrationTarget) -> None:
    report = await look(at)
    refusal = refuse_source(
        report, writes_format=format_of(report.engine, report.version), at=at, target=target
    )
    if refusal is not None:
        raise SourceRefused(refusal)


async def look(at: Endpoint, access: OutsideAccess = ANYBODY) -> SourceReport:
    """Return what a server outside says of itself.

    Raises:
        SourceRefused: it says nothing, or will not have us.
    """
    try:
        return await read_source(at, timeout_s=SOURCE_TIMEOUT_S, access=access)
    except NodeUnreachable as error:
        raise SourceRefused(f"nothing that speaks the protocol answers at {at}") from error
    except CommandRefused as error:
        if error.code in ("NOAUTH", "WRONGPASS", "NOPERM"):
            what = "refuses the login of the secret" if access.password else "asks for a password"
            raise SourceRefused(f"the source at {at} {what}") from error
        if error.code == "DENIED":
            raise SourceRefused(f"the source at {at} is in protected mode") from error
        raise SourceRefused(f"the source at {at} refuses: {error.code}") from error


def target_of(
    record: SubjectRecord, fleet: Fleet, *, maxmemory_bytes: int | None = None
) -> MigrationTarget:
    """Return what data is to be taken over into; how much fits is the node type's, if not given."""
    node_type = fleet.catalog.node_type(record.settings.node_type)
    assert node_type is not None, record.settings.node_type
    parameters = fleet.effective_parameters(record)
    return MigrationTarget(
        cluster_enabled=record.cluster_enabled,
        databases=int(parameters.get("databases", "16")),
        maxmemory_bytes=maxmemory_bytes
        or effective_maxmemory_bytes(node_type.maxmemory_bytes, parameters),
        reads_format=dump_format(binary_for(record, fleet)),
        own=frozenset(
            [*(own_endpoint(node) for node in record.live_nodes)]
            + [Endpoint(row.host, row.port) for row in record.addresses]
        ),
    )
