"""A minute of samples as CloudWatch takes it, and taken by a real endpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
import structlog
from moto.server import ThreadedMotoServer

from cachefleet.engine.metrics.samples import HostSample, Sample
from cachefleet.engine.types import Engine
from cachefleet.provisioner.health.cloudwatch import PERIODS_WAITING_MAX, CloudWatch, Minute
from cachefleet.provisioner.health.sampler import Measured
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode

ACCOUNT = "123456789012"
BEGINS_AT_S = 1_767_322_800


def measured(member: str = "demo-001", **values: float) -> Measured:
    node = CacheNode(uid=member, member_name=member, cache_node_id="0001")
    sample = Sample(
        engine=Engine.VALKEY,
        at_s=0.0,
        pid=1,
        fields={},
        host=HostSample(cpu_percent=0.0, memory_available_bytes=0, swap_used_bytes=0),
    )
    return Measured(node, ACCOUNT, "us-east-1", sample, values)


def test_puts_the_samples_of_a_minute_together() -> None:
    minute = Minute(BEGINS_AT_S)
    for value in (1.0, 4.0, math.nan):
        minute.add([measured(CacheHits=value)])
    ((scope, (datum,)),) = minute.data().items()
    assert scope == Scope(ACCOUNT, "us-east-1")
    assert datum == {
        "MetricName": "CacheHits",
        "Dimensions": [
            {"Name": "CacheClusterId", "Value": "demo-001"},
            {"Name": "CacheNodeId", "Value": "0001"},
        ],
        "Timestamp": datetime.fromtimestamp(BEGINS_AT_S, UTC),
        "StatisticValues": {"SampleCount": 2.0, "Sum": 5.0, "Minimum": 1.0, "Maximum": 4.0},
        "Unit": "Count",
    }


def test_units_are_cloudwatchs() -> None:
    minute = Minute(BEGINS_AT_S)
    minute.add([measured(ActiveDefragHits=1.0, IsMaster=1.0, EngineCPUUtilization=1.0)])
    (data,) = minute.data().values()
    assert {one["MetricName"]: one["Unit"] for one in data} == {
        "ActiveDefragHits": "None",
        "IsMaster": "Count",
        "EngineCPUUtilization": "Percent",
    }


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.anyio
async def test_an_endpoint_takes_it(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    minute = Minute(int(datetime.now(UTC).timestamp()) // 60 * 60)
    minute.add([measured(CacheHits=2.0, CurrItems=7.0)])
    minute.add([measured(CacheHits=3.0)])
    await CloudWatch(endpoint).publish(minute)
    client: Any = boto3.client(
        "cloudwatch",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    try:
        listed = client.list_metrics(Namespace="AWS/ElastiCache")["Metrics"]
    finally:
        client.close()
    assert {one["MetricName"] for one in listed} == {"CacheHits", "CurrItems"}
    assert {"Name": "CacheNodeId", "Value": "0001"} in listed[0]["Dimensions"]


@pytest.mark.anyio
async def test_an_endpoint_that_is_away_costs_the_minute_only() -> None:
    minute = Minute(BEGINS_AT_S)
    minute.add([measured(CacheHits=2.0)])
    with structlog.testing.capture_logs() as logs:
        await CloudWatch("http://127.0.0.1:9").publish(minute)
    assert [log["event"] for log in logs] == ["metrics_not_published"]


@pytest.mark.anyio
async def test_a_slow_endpoint_loses_the_oldest_minutes() -> None:
    watch = CloudWatch("http://127.0.0.1:9")
    with structlog.testing.capture_logs() as logs:
        for number in range(PERIODS_WAITING_MAX + 3):
            watch.take([measured(CacheHits=1.0)], BEGINS_AT_S + 60 * number)
    assert [log["minute"] for log in logs] == [BEGINS_AT_S, BEGINS_AT_S + 60]


@pytest.mark.anyio
async def test_nothing_is_collected_without_an_endpoint() -> None:
    watch = CloudWatch(None)
    watch.take([measured(CacheHits=1.0)], BEGINS_AT_S)
    assert watch._minute is None
