"""Start one node: what its process is given, and when it counts as started.

The row and its addresses are there before; the process holds its directory's lock. Data comes back
only where an orderly stop left it (``saved.rdb``, ``saved.items``): whatever else lies in the
directory is of a process that died, and ElastiCache starts such a node empty.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Endpoint, Engine, EngineBinary, NodeRole
from cachefleet.engine.valkey.acl import (
    ADMIN_RULES,
    OPEN_RULES,
    READ_ONLY_RULES,
    closed_rules,
    default_line,
)
from cachefleet.engine.valkey.cluster import parse_cluster_nodes, parse_slots
from cachefleet.engine.valkey.config import (
    CLUSTER_CONFIG_FILE,
    DUMP_FILE,
    PLACEHOLDER_TIMEOUT_MS,
    ClusterSeat,
    ValkeyConfig,
    hidden_renames,
    listening_directives,
    render_config,
    render_nodes_conf,
)
from cachefleet.provisioner.drivers.base import LaunchFailed, ProcessSpec
from cachefleet.provisioner.planning.access import EngineNames, access_lines
from cachefleet.provisioner.reconciler.binaries import (
    RESTORE_FILE,
    SAVED_DUMP_FILE,
    binary_for,
)
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet, command_prefix
from cachefleet.provisioner.reconciler.memcached import (
    SAVED_ITEMS_FILE,
    forget_items,
    memcached_spec,
)
from cachefleet.provisioner.reconciler.memory import memory_bytes
from cachefleet.provisioner.reconciler.places import forget_sealed
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    own_endpoint,
    replication_endpoint,
)
from cachefleet.provisioner.reconciler.sealing import bring_back
from cachefleet.provisioner.reconciler.transit import listening_for, transit_of
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

REPLICATION_USER = "cachefleet-replication"
REPLICATION_RULES = ("resetkeys", "resetchannels", "-@all", "+psync", "+replconf", "+ping")
CHANNELS_DEFAULT = "acl-pubsub-default"
CONFIG_FILE = "valkey.conf"
LOAD_BYTES_PER_S_MIN = 10e6  # engines load a hundred megabytes a second and more
READY_POLL_S = 0.004  # an engine is up within some 30 ms: looking less often would be felt


async def launch(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """Start the node's process, or find it running, and return once it serves commands.

    Raises:
        LaunchFailed: the process could not be started, ended, or never served.
        NoEngineBinary: nothing here can run this engine.
    """
    engine = record.engine
    await bring_back(node, record, fleet)
    binary = binary_for(record, fleet)
    await fleet.store.give_way()
    if engine is Engine.MEMCACHED:
        spec = memcached_spec(node, record, fleet, binary)
    else:
        spec = valkey_spec(node, record, fleet, binary)
    await fleet.forget(node.uid)
    await fleet.store.give_way()
    await fleet.driver.ensure(spec)
    await _ready(node, record, fleet, timeout_s=_start_timeout_s(node, fleet))
    fleet.watch(node, record)
    if engine is Engine.MEMCACHED and record.is_filling:
        forget_items(fleet.driver.directory(node.uid))
    if engine is not Engine.MEMCACHED:
        # Loaded: from here on the file is older than the node.
        for name in (SAVED_DUMP_FILE, DUMP_FILE):
            (fleet.driver.directory(node.uid) / name).unlink(missing_ok=True)
        forget_sealed(node.uid, fleet)
    log.info("node_launched", node=node.uid, member=node.member_name, engine=binary.detail)


def valkey_spec(
    node: CacheNode, record: SubjectRecord, fleet: Fleet, binary: EngineBinary
) -> ProcessSpec:
    """Return the process of a Valkey or Redis OSS node, with its files."""
    directory = fleet.driver.directory(node.uid)
    _prepare_dump(directory, fills=_fills(node, record))
    config, files = valkey_config(node, record, fleet, binary), {}
    if record.cluster_enabled and not _keeps_picture(node, record, directory):
        files[CLUSTER_CONFIG_FILE] = _nodes_conf(node, record, binary)
        if _begins(node, record) and not record.is_filling:
            config = replace(config, cluster_node_timeout_ms=PLACEHOLDER_TIMEOUT_MS)
    files[CONFIG_FILE] = render_config(config)
    return ProcessSpec(uid=node.uid, argv=(*binary.argv, str(directory / CONFIG_FILE)), files=files)


def _fills(node: CacheNode, record: SubjectRecord) -> bool:
    """Tell whether the node begins with data that was put there for it."""
    return record.is_filling and node.role == NodeRole.PRIMARY


def _start_timeout_s(node: CacheNode, fleet: Fleet) -> float:
    """Return how long a start may take: the longer, the more there is to load."""
    directory = fleet.driver.directory(node.uid)
    files = [directory / name for name in (DUMP_FILE, SAVED_ITEMS_FILE)]
    size_bytes = sum(file.stat().st_size for file in files if file.exists())
    return fleet.settings.start_timeout_s + size_bytes / LOAD_BYTES_PER_S_MIN


def valkey_config(
    node: CacheNode, record: SubjectRecord, fleet: Fleet, binary: EngineBinary
) -> ValkeyConfig:
    """Return what the node's configuration file is made from."""
    settings = record.settings
    own, upstream = own_endpoint(node), record.upstream(node)
    listening = listening_for(node, record, fleet, transit_of(record, fleet))
    return ValkeyConfig(
        directory=str(fleet.driver.directory(node.uid)),
        # Endpoints are bound later: their last holder may not have let go yet.
        binds=(own.host,),
        port=listening.port,
        tls_port=listening.tls_port,
        tls=listening.tls,
        tls_replication=listening.tls_replication,
        client_port=listening.client_port,
        unix_socket=str(fleet.driver.socket_path(node.uid)),
        announce_host=own.host,
        admin_user=ADMIN_USER,
        admin_password_sha256=hashlib.sha256(node.admin_secret.encode()).hexdigest(),
        primary_credentials=None
        if upstream is not None and upstream.outside
        else (REPLICATION_USER, settings.replication_secret),
        # Once loaded it gets its limit: with one, it would evict what it has just been given.
        # As a replica, one that is fed keeps whatever the other region's primary keeps.
        maxmemory_bytes=0 if _fills(node, record) or record.is_fed else memory_bytes(record, fleet),
        import_mode=record.is_fed,
        parameters=fleet.effective_parameters(record),
        cluster_enabled=record.cluster_enabled,
        cluster_bus_port=node.bus_port,
        replica_of=_replica_of(node, record),
        availability_zone=node.availability_zone,
        binary=binary,
        renamed_commands=hidden_renames(command_prefix(node)),
        secret_prefix=command_prefix(node),
        replication_user=REPLICATION_USER,
        acl_lines=acl_lines(record, fleet, binary),
    )


def wanted_listening(record: SubjectRecord, fleet: Fleet) -> dict[str, dict[str, str]]:
    """Return the ports of each node that runs, by uid, as directives it can be set to."""
    transit, binary = transit_of(record, fleet), binary_for(record, fleet)
    return {
        node.uid: listening_directives(
            listening_for(node, record, fleet, transit),
            binary,
            cluster_enabled=record.cluster_enabled,
        )
        # A node that is being created is started with them.
        for node in record.live_nodes
        if node.status != lifecycle.NODE_CREATING
    }


def acl_lines(record: SubjectRecord, fleet: Fleet, binary: EngineBinary) -> tuple[str, ...]:
    """Return the users of a node beside the control plane's own.

    Customers get everything but what the service keeps to itself, or what their user groups say.
    Replicas get what replication needs; in cluster mode they also carry slots, which the engine
    does by running every command.
    """
    secret = hashlib.sha256(record.settings.replication_secret.encode()).hexdigest()
    rules = ADMIN_RULES if record.cluster_enabled else REPLICATION_RULES
    replication = f"user {REPLICATION_USER} on #{secret} {' '.join(rules)}"
    closed = closed_rules(directives=binary.directives)
    if record.is_fed:
        closed += READ_ONLY_RULES
    if record.users is None:
        return (
            default_line(rules=(*OPEN_RULES, *closed), password_sha256s=required_tokens(record)),
            replication,
        )
    names = EngineNames(
        closed=closed,
        channels_default=fleet.effective_parameters(record).get(CHANNELS_DEFAULT, "allchannels"),
        known_commands=binary.commands,
    )
    customers = access_lines(record.users, names=names, secret=record.settings.replication_secret)
    return (*customers, replication)


def required_tokens(record: SubjectRecord) -> tuple[str, ...]:
    """Return the hashes of the AUTH tokens without which nobody gets in; none leaves it open."""
    group = record.group
    if group is None or not group.auth_token_required:
        return ()
    return tuple(group.auth_token_sha256s)


async def _ready(node: CacheNode, record: SubjectRecord, fleet: Fleet, *, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not await _answers(node, record, fleet):
                if await fleet.driver.find(node.uid) is None:
                    raise LaunchFailed(fleet.driver.explain(node.uid))
                await asyncio.sleep(READY_POLL_S)
    except TimeoutError:
        raise LaunchFailed(
            f"it did not answer within {timeout_s:.0f} s: {fleet.driver.explain(node.uid)}"
        ) from None


async def _answers(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> bool:
    adapter = fleet.memcached(node) if record.engine is Engine.MEMCACHED else fleet.valkey(node)
    stock = record.engine is Engine.MEMCACHED and fleet.stock_memcached
    if not stock and not fleet.driver.socket_path(node.uid).exists():
        return False
    try:
        await adapter.ping()
    except NodeUnreachable:
        return False
    except CommandRefused as refusal:
        # A big data set takes its time to load; the node is up and will serve.
        return refusal.code != "LOADING"
    return True


def _prepare_dump(directory: Path, *, fills: bool) -> None:
    """Put the data that the node is to begin with where the engine loads it, and nothing else."""
    saved, dump = directory / SAVED_DUMP_FILE, directory / DUMP_FILE
    dump.unlink(missing_ok=True)
    if fills:
        # It stays until the cache serves: a start that breaks off is made again with it.
        os.link(directory / RESTORE_FILE, dump)
        return
    (directory / RESTORE_FILE).unlink(missing_ok=True)
    if saved.exists():
        os.link(saved, dump)


def _replica_of(node: CacheNode, record: SubjectRecord) -> Endpoint | None:
    """Return whom the node follows from its start on.

    A new replica is attached by command instead, which connects at once: the configured one would
    wait for the engine's next round, and nobody knows the node yet.
    """
    upstream = record.upstream(node)
    if upstream is not None and not record.cluster_enabled:
        # From its first moment on: as a primary it would take writes that are lost again.
        return upstream.endpoint
    primary = record.shard_primary(node)
    unknown = node.status == lifecycle.NODE_CREATING
    if record.cluster_enabled or node.role != NodeRole.REPLICA or unknown or primary is None:
        return None
    return replication_endpoint(primary)


def _keeps_picture(node: CacheNode, record: SubjectRecord, directory: Path) -> bool:
    """Tell whether the node's own file is what it may start with.

    A primary that ended before it took over from its placeholder has a file without one. A primary
    that was lost may have written down slots which it was just being given, and told nobody. Back
    as a replica, and empty, it would claim them against those who have their keys.
    """
    file = directory / CLUSTER_CONFIG_FILE
    if not file.exists():
        return False
    myself = next((peer for peer in parse_cluster_nodes(file.read_text()) if peer.myself), None)
    if _begins(node, record):
        return myself is not None and bool(myself.slots)
    if record.is_creating or node.role != NodeRole.REPLICA:
        return True
    return myself is not None and myself.role is NodeRole.REPLICA


def _begins(node: CacheNode, record: SubjectRecord) -> bool:
    """Tell whether the node is a primary of a cluster that is being put together."""
    return (record.is_creating or record.is_forming) and node.role == NodeRole.PRIMARY


def _nodes_conf(node: CacheNode, record: SubjectRecord, binary: EngineBinary) -> str:
    """Return the node's first picture of the cluster.

    A cluster that is being created is written whole, and so is the primary's picture of one that a
    group is being made into. A replica that the cluster knows begins as one. Any other node begins
    alone; it is met and given its role by the next steps.
    """
    assert record.group is not None
    if record.is_creating or _begins(node, record):
        return render_nodes_conf(
            first_seats(record),
            node.engine_node_id,
            binary=binary,
            # What waits for its data has no need to serve sooner.
            placeholder=not record.is_filling,
        )
    primary = record.shard_primary(node)
    known = node.status != lifecycle.NODE_CREATING
    if known and primary is not None and primary.uid != node.uid:
        seats = [
            _seat(primary, record, primary_id=None),
            _seat(node, record, primary_id=primary.engine_node_id),
        ]
        return render_nodes_conf(seats, node.engine_node_id, binary=binary, rejoins=True)
    alone = _seat(node, record, primary_id=None)
    return render_nodes_conf([alone], node.engine_node_id, binary=binary)


def _seat(node: CacheNode, record: SubjectRecord, *, primary_id: str | None) -> ClusterSeat:
    assert record.group is not None
    shard = next(s for s in record.group.node_groups if s.uid == node.node_group_uid)
    return ClusterSeat(
        id=node.engine_node_id,
        endpoint=replication_endpoint(node),
        bus_port=node.bus_port or 0,
        primary_id=primary_id,
        shard_id=shard.engine_shard_id,
        epoch=0,
    )


def first_seats(record: SubjectRecord) -> list[ClusterSeat]:
    """Return every node's place in a cluster that is being created."""
    assert record.group is not None
    seats: list[ClusterSeat] = []
    for number, shard in enumerate(record.group.node_groups, start=1):
        members = [n for n in record.live_nodes if n.node_group_uid == shard.uid]
        primary = next(n for n in members if n.role == NodeRole.PRIMARY)
        seats.extend(
            ClusterSeat(
                id=member.engine_node_id,
                endpoint=replication_endpoint(member),
                bus_port=member.bus_port or 0,
                primary_id=None if member is primary else primary.engine_node_id,
                slots=tuple(parse_slots(shard.slots)) if member is primary else (),
                shard_id=shard.engine_shard_id,
                epoch=number if member is primary else 0,
            )
            for member in members
        )
    return seats


def keep_saved(directory: Path) -> None:
    """Mark what an orderly stop wrote as the data to start with."""
    dump = directory / DUMP_FILE
    if dump.exists():
        shutil.move(dump, directory / SAVED_DUMP_FILE)
