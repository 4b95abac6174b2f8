"""What was measured is kept, within its bounds, and given back by period."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from cachefleet.provisioner.state import metrics
from cachefleet.provisioner.state.metric_tables import MetricSample
from cachefleet.provisioner.state.tables import CacheNode
from tests.support.api import SCOPE, Api, open_api
from tests.support.rest import ask

pytestmark = pytest.mark.anyio
NAMES = ("A", "B")
START_S = 1_767_322_800  # a whole hour


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        await opened(
            "CreateCacheCluster",
            CacheClusterId="one",
            Engine="redis",
            CacheNodeType="cache.t3.micro",
            NumCacheNodes=1,
        )
        yield opened


async def _uid(api: Api) -> str:
    async with api.store.read(SCOPE) as tx:
        return (await tx.session.scalars(select(CacheNode.uid))).one()


async def _keep(api: Api, *samples: tuple[int, dict[str, float]], names: tuple[str, ...]) -> None:
    uid = await _uid(api)
    async with api.store.begin(SCOPE) as tx:
        layout = await metrics.ensure_layout(tx, names)
        for at_s, values in samples:
            await metrics.keep(tx, uid, at_s, layout, metrics.pack(values, names))


async def _read(
    api: Api, *names: str, period_s: int = 60, statistic: str = "Average"
) -> dict[str, list[metrics.Point]]:
    uid = await _uid(api)
    async with api.store.read(SCOPE) as tx:
        return await metrics.series(
            tx,
            uid,
            names,
            start_s=START_S,
            end_s=START_S + 3600,
            period_s=period_s,
            statistics=dict.fromkeys(names, statistic),
        )


def test_packs_and_unpacks_exactly() -> None:
    numbers = metrics.unpack(metrics.pack({"A": 2.0**53, "C": 1.0}, NAMES))
    assert numbers[0] == 2.0**53
    assert math.isnan(numbers[1])


@pytest.mark.parametrize(
    ("statistic", "value"),
    [("Average", 2.0), ("Sum", 6.0), ("Minimum", 1.0), ("Maximum", 3.0), ("SampleCount", 3.0)],
)
async def test_reduces_a_period(api: Api, statistic: str, value: float) -> None:
    await _keep(api, *((START_S + 15 * n, {"A": float(n)}) for n in (1, 2, 3)), names=NAMES)
    found = await _read(api, "A", "B", statistic=statistic)
    assert found == {"A": [metrics.Point(START_S, value)], "B": []}


async def test_parts_periods_and_leaves_out_empty_ones(api: Api) -> None:
    await _keep(
        api,
        (START_S, {"A": 1.0}),
        (START_S + 60, {"B": 1.0}),
        (START_S + 135, {"A": 5.0}),
        names=NAMES,
    )
    assert (await _read(api, "A"))["A"] == [
        metrics.Point(START_S, 1.0),
        metrics.Point(START_S + 120, 5.0),
    ]


async def test_reads_samples_of_an_older_layout(api: Api) -> None:
    await _keep(api, (START_S, {"A": 1.0}), names=("A",))
    await _keep(api, (START_S + 15, {"A": 3.0}), names=("B", "A"))
    await _keep(api, (START_S + 30, {"A": 5.0}), names=("A",))
    assert (await _read(api, "A"))["A"] == [metrics.Point(START_S, 3.0)]


async def test_second_sample_of_an_instant_takes_its_place(api: Api) -> None:
    await _keep(api, (START_S, {"A": 1.0}), (START_S, {"A": 2.0}), names=NAMES)
    assert (await _read(api, "A"))["A"] == [metrics.Point(START_S, 2.0)]


async def _count(api: Api) -> int:
    async with api.store.read(SCOPE) as tx:
        return int(await tx.session.scalar(select(func.count()).select_from(MetricSample)) or 0)


async def test_forgets_what_is_older_than_a_day(api: Api) -> None:
    await _keep(api, (START_S, {"A": 1.0}), (START_S + 15, {"A": 2.0}), names=NAMES)
    async with api.store.begin(SCOPE) as tx:
        assert await metrics.forget(tx, START_S + metrics.KEPT_S + 1) == 1
    assert await _count(api) == 1


async def test_forgets_the_oldest_where_there_is_too_much(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SAMPLES_MAX", 2)
    await _keep(api, *((START_S + 15 * n, {"A": float(n)}) for n in range(5)), names=NAMES)
    async with api.store.begin(SCOPE) as tx:
        assert await metrics.forget(tx, START_S + 60) == 3
    assert [point.value for point in (await _read(api, "A", period_s=15))["A"]] == [3.0, 4.0]


async def test_next_instant_is_a_quarter_of_a_minute() -> None:
    assert metrics.next_sample_s(0.0) == 15
    assert metrics.next_sample_s(14.999) == 15
    assert metrics.next_sample_s(15.0) == 30


async def test_v1_answers_series(api: Api) -> None:
    now_s = int(api.clock.now().timestamp())
    at_s = now_s - now_s % 60
    await _keep(
        api,
        (at_s, {"CacheHits": 2.0}),
        (at_s + 15, {"CacheHits": 3.0}),
        names=("CacheHits",),
    )
    api.clock.advance(60)
    answer = await ask(
        api.app,
        "GET",
        "/v1/metrics",
        query="CacheClusterId=ONE&MetricName=CacheHits&MetricName=CurrItems",
    )
    hits, items = answer.document["Series"]
    assert (hits["Statistic"], hits["Unit"], hits["Values"]) == ("Sum", "Count", [5.0])
    assert (items["Statistic"], items["Values"], items["Timestamps"]) == ("Average", [], [])
    assert (hits["CacheClusterId"], hits["CacheNodeId"]) == ("one", "0001")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("MetricName=CurrItems", 400, "InvalidParameterCombination"),
        (
            "MetricName=CurrItems&CacheClusterId=a&ReplicationGroupId=b",
            400,
            "InvalidParameterCombination",
        ),
        ("MetricName=CurrItems&CacheClusterId=none", 404, "CacheClusterNotFound"),
        ("MetricName=CurrItems&ReplicationGroupId=none", 404, "ReplicationGroupNotFoundFault"),
        ("MetricName=Nonsense&CacheClusterId=one", 400, "InvalidParameterValue"),
        ("MetricName=CurrItems&CacheClusterId=one&Period=20", 400, "InvalidParameterValue"),
        ("MetricName=CurrItems&CacheClusterId=one&Statistic=Median", 400, "InvalidParameterValue"),
        ("MetricName=CurrItems&CacheClusterId=one&CacheNodeId=0009", 400, "InvalidParameterValue"),
        (
            "MetricName=CurrItems&CacheClusterId=one&Period=15&StartTime=2026-01-01T00:00:00Z",
            400,
            "InvalidParameterValue",
        ),
        (
            "MetricName=CurrItems&CacheClusterId=one&StartTime=2026-02-01&EndTime=2026-01-01",
            400,
            "InvalidParameterValue",
        ),
        (
            "&".join(["MetricName=CurrItems"] * 21) + "&CacheClusterId=one",
            400,
            "InvalidParameterValue",
        ),
    ],
)
async def test_v1_refuses(api: Api, query: str, status: int, code: str) -> None:
    answer = await ask(api.app, "GET", "/v1/metrics", query=query)
    assert (answer.status, answer.code) == (status, code)


async def test_catalogue_names_every_metric(api: Api) -> None:
    answer = (await ask(api.app, "GET", "/v1/metrics/catalog")).document
    assert [one["Engine"] for one in answer["Engines"]] == ["valkey", "redis", "memcached"]
    names = {one["MetricName"] for one in answer["Engines"][0]["Metrics"]}
    assert {"CurrItems", "EngineCPUUtilization"} <= names
