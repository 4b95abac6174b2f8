"""``GET /v1/metrics``: what was measured of nodes in the last day, by period, under AWS's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import select

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.answers import instant
from cachefleet.api.rest.requests import scope_of
from cachefleet.engine.metrics.definitions import Metric, metrics_of
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import metrics
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, ReplicationGroup

PERIOD_S = 60
PERIODS_MAX = 1500  # of one series; a day by the minute is 1440
NAMES_MAX = 20
NODES_MAX = 100
SPAN = timedelta(hours=1)


class MetricDefinition(BaseModel):
    """One metric that nodes have."""

    MetricName: str
    Unit: str
    DefaultStatistic: str = Field(description="Sum of what is counted, Average of what is read")


class EngineMetrics(BaseModel):
    """The metrics of one engine's nodes."""

    Engine: str
    Metrics: list[MetricDefinition]


class MetricCatalog(BaseModel):
    """Every metric there is."""

    PeriodSeconds: int = Field(description="How often nodes are measured.")
    KeptSeconds: int = Field(description="How long what was measured is kept.")
    Engines: list[EngineMetrics]


class Series(BaseModel):
    """One metric of one node. The n-th value is of the period that begins at the n-th instant."""

    CacheClusterId: str
    CacheNodeId: str
    MetricName: str
    Unit: str
    Statistic: str
    Timestamps: list[str]
    Values: list[float]


class MetricData(BaseModel):
    """The metrics that were asked for. A period without a sample is left out."""

    StartTime: str
    EndTime: str
    Period: int
    Series: list[Series]


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["Metrics"])
    services = front_end.services

    @routes.get(
        "/v1/metrics/catalog",
        operation_id="DescribeMetricCatalog",
        summary="The names, units and statistics of all metrics.",
    )
    async def catalog() -> MetricCatalog:
        """Answer what ``MetricName`` can be, by engine."""
        return MetricCatalog(
            PeriodSeconds=metrics.SAMPLE_EVERY_S,
            KeptSeconds=metrics.KEPT_S,
            Engines=[
                EngineMetrics(
                    Engine=engine,
                    Metrics=[
                        MetricDefinition(
                            MetricName=one.name, Unit=one.unit, DefaultStatistic=one.statistic
                        )
                        for one in metrics_of(engine).values()
                    ],
                )
                for engine in Engine
            ],
        )

    @routes.get(
        "/v1/metrics",
        operation_id="GetMetrics",
        summary="What was measured of the nodes of one cluster or group, by period.",
    )
    async def data(
        request: Request,
        MetricName: Annotated[  # noqa: N803 - the wire's names, here and below
            list[str], Query(min_length=1, max_length=NAMES_MAX)
        ],
        CacheClusterId: Annotated[str | None, Query(max_length=255)] = None,  # noqa: N803
        ReplicationGroupId: Annotated[str | None, Query(max_length=255)] = None,  # noqa: N803
        CacheNodeId: Annotated[str | None, Query(max_length=4)] = None,  # noqa: N803
        StartTime: Annotated[  # noqa: N803
            datetime | None, Query(description="An hour before EndTime where it is absent.")
        ] = None,
        EndTime: Annotated[  # noqa: N803
            datetime | None, Query(description="Now, where it is absent.")
        ] = None,
        Period: Annotated[  # noqa: N803
            int, Query(ge=metrics.SAMPLE_EVERY_S, le=86_400, multiple_of=metrics.SAMPLE_EVERY_S)
        ] = PERIOD_S,
        Statistic: Annotated[  # noqa: N803
            Literal["Average", "Sum", "Minimum", "Maximum", "SampleCount"] | None,
            Query(description="Each metric's own where it is absent: see the catalogue."),
        ] = None,
    ) -> MetricData:
        """Answer one series a node and metric, empty where nothing was measured."""
        end = _aware(EndTime) if EndTime is not None else services.clock.now()
        start = _aware(StartTime) if StartTime is not None else end - SPAN
        start_s, end_s = _span(start, end, Period)
        async with services.store.read(scope_of(request)) as tx:
            nodes = await _nodes(tx, CacheClusterId, ReplicationGroupId, CacheNodeId)
            found: list[Series] = []
            for engine, node in nodes:
                wanted = _wanted(engine, MetricName)
                statistics = {name: Statistic or one.statistic for name, one in wanted.items()}
                series = await metrics.series(
                    tx,
                    node.uid,
                    list(wanted),
                    start_s=start_s,
                    end_s=end_s,
                    period_s=Period,
                    statistics=statistics,
                )
                found += [
                    _series(node, one, statistics[name], series[name])
                    for name, one in wanted.items()
                ]
        return MetricData(
            StartTime=_text(start_s), EndTime=_text(end_s), Period=Period, Series=found
        )

    return routes


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _span(start: datetime, end: datetime, period_s: int) -> tuple[int, int]:
    """Return whole periods from *start* to *end*, in seconds since 1970."""
    start_s, end_s = int(start.timestamp()), int(end.timestamp()) + 1
    if start_s >= end_s:
        raise Fault("InvalidParameterValueException", "StartTime must be before EndTime.")
    start_s -= start_s % period_s
    if (end_s - start_s) / period_s > PERIODS_MAX:
        raise Fault(
            "InvalidParameterValueException",
            f"That is more than {PERIODS_MAX} periods: take a longer Period or a shorter time.",
        )
    return start_s, end_s


async def _nodes(
    tx: Transaction, cluster: str | None, group: str | None, node_id: str | None
) -> Sequence[tuple[Engine, CacheNode]]:
    if (cluster is None) == (group is None):
        raise Fault(
            "InvalidParameterCombinationException",
            "Exactly one of CacheClusterId and ReplicationGroupId is required.",
        )
    if cluster is not None:
        clusters = [await tx.get(CacheCluster, cluster)]
    else:
        assert group is not None
        owner = await tx.get(ReplicationGroup, group)
        query = select(CacheCluster).where(CacheCluster.replication_group_uid == owner.uid)
        clusters = list((await tx.session.scalars(query.order_by(CacheCluster.name))).all())
    found = [
        (Engine(one.engine), node)
        for one in clusters
        for node in one.nodes
        if node_id in (None, node.cache_node_id)
    ]
    if node_id is not None and not found:
        raise NotFound("cache_node", node_id)
    if len(found) > NODES_MAX:
        raise Fault(
            "InvalidParameterValueException",
            f"The group has more than {NODES_MAX} nodes: ask for its clusters one by one.",
        )
    return found


def _wanted(engine: Engine, names: Sequence[str]) -> Mapping[str, Metric]:
    known = metrics_of(engine)
    for name in names:
        if name not in known:
            raise Fault(
                "InvalidParameterValueException", "There is no such MetricName of this engine."
            )
    return {name: known[name] for name in names}


def _series(
    node: CacheNode, metric: Metric, statistic: str, points: Sequence[metrics.Point]
) -> Series:
    return Series(
        CacheClusterId=node.member_name,
        CacheNodeId=node.cache_node_id,
        MetricName=metric.name,
        Unit=metric.unit,
        Statistic=statistic,
        Timestamps=[_text(point.at_s) for point in points],
        Values=[point.value for point in points],
    )


def _text(at_s: int) -> str:
    return instant(datetime.fromtimestamp(at_s, UTC))
