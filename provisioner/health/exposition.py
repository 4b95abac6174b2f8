"""What Prometheus is told of nodes, of the provisioner and of the gateway: collectors.

Nodes are shown as they were measured last, at most a quarter of a minute ago. What engines count
is given as they count it, so that Prometheus can tell rates and restarts itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cachefleet.engine.gateway.reports import GatewayStatus
from cachefleet.engine.gateway.routes import RouteKind
from cachefleet.engine.metrics.samples import Sample, number
from cachefleet.engine.types import Engine
from cachefleet.provisioner.health.sampler import Measured, MetricsSampler
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.loop import Provisioner

LABELS: Final = (
    "account",
    "region",
    "cache_cluster_id",
    "cache_node_id",
    "engine",
    "availability_zone",
    "role",
)
ROUTE_LABELS: Final = ("route", "kind")

# Name, help, the field of Valkey and Redis, the field of memcached.
_GAUGES: Final = (
    ("memory_used_bytes", "Memory that items take.", "used_memory", "bytes"),
    ("memory_max_bytes", "Memory that items may take.", "maxmemory", "limit_maxbytes"),
    ("connections", "Connections of clients.", "connected_clients", "curr_connections"),
    ("uptime_seconds", "Since the process began.", "uptime_in_seconds", "uptime"),
    ("blocked_clients", "Clients that wait in a command.", "blocked_clients", None),
    ("connected_replicas", "Replicas that follow.", "connected_slaves", None),
    ("memory_fragmentation_ratio", "Resident by used memory.", "mem_fragmentation_ratio", None),
)
_COUNTERS: Final = (
    (
        "connections_accepted",
        "Connections taken.",
        "total_connections_received",
        "total_connections",
    ),
    ("commands_processed", "Commands run.", "total_commands_processed", None),
    ("hits", "Reads that found their key.", "keyspace_hits", "get_hits"),
    ("misses", "Reads that did not.", "keyspace_misses", "get_misses"),
    ("evictions", "Items removed for want of memory.", "evicted_keys", "evictions"),
    ("expirations", "Items that ran out.", "expired_keys", "reclaimed"),
    ("network_receive_bytes", "Bytes from clients.", "total_net_input_bytes", "bytes_read"),
    ("network_transmit_bytes", "Bytes to clients.", "total_net_output_bytes", "bytes_written"),
    ("error_replies", "Commands that were refused or failed.", "total_error_replies", None),
    ("replication_offset_bytes", "Bytes of the replication stream.", "master_repl_offset", None),
)


class NodeCollector(Collector):
    """The nodes that this process holds, as they were measured last."""

    def __init__(self, sampler: MetricsSampler) -> None:
        self._sampler = sampler

    def collect(self) -> Iterator[Metric]:
        """Yield one family a metric, one sample a node."""
        measured = list(self._sampler.newest.values())
        up = GaugeMetricFamily("cachefleet_node_up", "Nodes that answered; 1.", labels=LABELS)
        for one in measured:
            up.add_metric(_labels(one), 1.0)
        yield up
        for gauge in _GAUGES:
            yield _family(GaugeMetricFamily, gauge, measured)
        for counter in _COUNTERS:
            yield _family(CounterMetricFamily, counter, measured)
        yield _items(measured)
        yield _cpu(measured)
        yield _lag(measured)
        yield _regional_lag(measured)


class ProvisionerCollector(Collector):
    """What the provisioner of this process is doing."""

    def __init__(self, provisioner: Provisioner, fleet: Fleet) -> None:
        self._provisioner = provisioner
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """Yield leases, nodes that are watched, and passes by kind and outcome."""
        yield _single(
            "cachefleet_provisioner_leases",
            "Groups and clusters that this process looks after.",
            len(self._provisioner.leases),
        )
        yield _single(
            "cachefleet_provisioner_nodes_watched",
            "Nodes whose end or silence would be noticed.",
            len(self._fleet.watched),
        )
        passes = CounterMetricFamily(
            "cachefleet_provisioner_passes",
            "Passes over operations, by kind and by how they ended.",
            labels=("kind", "outcome"),
        )
        for (kind, outcome), count in sorted(self._provisioner.passes.items()):
            passes.add_metric((kind, outcome), count)
        yield passes
        spent = CounterMetricFamily(
            "cachefleet_provisioner_pass_seconds",
            "Time that passes took, by kind.",
            labels=("kind",),
        )
        for kind, seconds in sorted(self._provisioner.pass_seconds.items()):
            spent.add_metric((kind,), seconds)
        yield spent


class GatewayCollector(Collector):
    """What the gateway said of itself last; nothing where there is none."""

    def __init__(self) -> None:
        self.status: GatewayStatus | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield connections and bytes by route."""
        status = self.status
        yield _single("cachefleet_gateway_up", "Whether a gateway runs.", int(status is not None))
        connections = GaugeMetricFamily(
            "cachefleet_gateway_connections", "Connections now.", labels=ROUTE_LABELS
        )
        received = CounterMetricFamily(
            "cachefleet_gateway_receive_bytes", "Bytes from clients.", labels=ROUTE_LABELS
        )
        sent = CounterMetricFamily(
            "cachefleet_gateway_transmit_bytes", "Bytes to clients.", labels=ROUTE_LABELS
        )
        refused = CounterMetricFamily(
            "cachefleet_gateway_refused_connections",
            "Connections turned away at a limit.",
            labels=ROUTE_LABELS,
        )
        unserved = CounterMetricFamily(
            "cachefleet_gateway_unserved_connections",
            "Connections closed because no node answered.",
            labels=ROUTE_LABELS,
        )
        units = CounterMetricFamily(
            "cachefleet_gateway_processing_units",
            "Processing units (ECPU) that a serverless cache used.",
            labels=ROUTE_LABELS,
        )
        throttled = CounterMetricFamily(
            "cachefleet_gateway_throttled_commands",
            "Commands that had to wait for processing units.",
            labels=ROUTE_LABELS,
        )
        for route in status.routes if status is not None else ():
            labels = (route.name, str(route.kind))
            connections.add_metric(labels, route.connections)
            received.add_metric(labels, route.bytes_from_clients)
            sent.add_metric(labels, route.bytes_from_backends)
            refused.add_metric(labels, route.refused_total)
            unserved.add_metric(labels, route.unserved_total)
            if route.kind is RouteKind.SERVERLESS:
                units.add_metric(labels, route.units_total)
                throttled.add_metric(labels, route.throttled_total)
        yield from (connections, received, sent, refused, unserved, units, throttled)


def _labels(one: Measured) -> Sequence[str]:
    node = one.node
    return (
        one.account,
        one.region,
        node.member_name,
        node.cache_node_id,
        str(one.sample.engine),
        node.availability_zone,
        node.role or "",
    )


def _family(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    row: tuple[str, str, str, str | None],
    measured: Sequence[Measured],
) -> Metric:
    name, text, valkey, memcached = row
    family = kind(f"cachefleet_node_{name}", text, labels=LABELS)
    for one in measured:
        field = memcached if one.sample.engine is Engine.MEMCACHED else valkey
        value = None if field is None else number(one.sample.fields, field)
        if value is not None:
            family.add_metric(_labels(one), value)
    return family


def _items(measured: Sequence[Measured]) -> Metric:
    family = GaugeMetricFamily("cachefleet_node_items", "Items that are held.", labels=LABELS)
    for one in measured:
        value = one.metrics.get("CurrItems")
        if value is not None:
            family.add_metric(_labels(one), value)
    return family


def _cpu(measured: Sequence[Measured]) -> Metric:
    family = CounterMetricFamily(
        "cachefleet_node_cpu_seconds", "Time that the process spent.", labels=LABELS
    )
    for one in measured:
        value = _cpu_s(one.sample)
        if value is not None:
            family.add_metric(_labels(one), value)
    return family


def _cpu_s(sample: Sample) -> float | None:
    names = (
        ("rusage_user", "rusage_system")
        if sample.engine is Engine.MEMCACHED
        else ("used_cpu_user", "used_cpu_sys")
    )
    spent = [number(sample.fields, name) for name in names]
    return None if None in spent else sum(value for value in spent if value is not None)


def _lag(measured: Sequence[Measured]) -> Metric:
    family = GaugeMetricFamily(
        "cachefleet_node_replication_lag_seconds",
        "Since a replica was last heard of by its primary.",
        labels=LABELS,
    )
    for one in measured:
        if one.sample.lag_s is not None:
            family.add_metric(_labels(one), one.sample.lag_s)
    return family


def _regional_lag(measured: Sequence[Measured]) -> Metric:
    family = GaugeMetricFamily(
        "cachefleet_global_datastore_replication_lag_seconds",
        "How far a shard of a secondary region is behind the one that leads.",
        labels=LABELS,
    )
    for one in measured:
        if one.sample.global_lag_s is not None:
            family.add_metric(_labels(one), one.sample.global_lag_s)
    return family


def _single(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
