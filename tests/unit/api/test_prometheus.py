"""What Prometheus is told, and the dashboard that asks for it."""

from __future__ import annotations

import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cachefleet.api.endpoint import Served
from cachefleet.api.metrics_app import MetricsApp
from cachefleet.api.prometheus import ServedCounts
from cachefleet.engine.metrics.samples import HostSample, Sample
from cachefleet.engine.types import Engine
from cachefleet.provisioner.health.exposition import (
    GatewayCollector,
    NodeCollector,
    ProvisionerCollector,
)
from cachefleet.provisioner.health.sampler import Measured
from cachefleet.provisioner.state.tables import CacheNode
from tests.docs.runner import ROOT
from tests.unit.api.driver import make_app, quiet_settings, send

pytestmark = pytest.mark.anyio
NAME = re.compile(r"cachefleet_[a-z_]+")


class Newest:
    """Stands for the sampler: what was measured last."""

    def __init__(self, *measured: Measured) -> None:
        self.newest = {one.node.uid: one for one in measured}


class Busy:
    """Stands for a provisioner and its fleet: what they count."""

    def __init__(self) -> None:
        self.leases = dict.fromkeys("ab")
        self.watched = dict.fromkeys("abc")
        self.passes = {("settle", "done"): 3}
        self.pass_seconds = {"settle": 1.5}


def _node(engine: Engine, **fields: object) -> Measured:
    node = CacheNode(
        uid=str(engine),
        member_name=f"{engine}-001",
        cache_node_id="0001",
        availability_zone="us-east-1a",
        role="primary",
    )
    sample = Sample(
        engine=engine,
        at_s=0.0,
        pid=1,
        fields={name: str(value) for name, value in fields.items()},
        host=HostSample(cpu_percent=0.0, memory_available_bytes=0, swap_used_bytes=0),
        lag_s=2.0,
    )
    return Measured(node, "000000000000", "us-east-1", sample, {"CurrItems": 7.0})


def _families(text: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {
        sample.name: [(one.labels, one.value) for one in family.samples if one.name == sample.name]
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def _all() -> dict[str, list[tuple[dict[str, str], float]]]:
    newest = Newest(
        _node(Engine.VALKEY, used_memory=10, keyspace_hits=3, used_cpu_user=1, used_cpu_sys=2),
        _node(Engine.MEMCACHED, bytes=20, get_hits=4, rusage_user=1, rusage_system=0.5),
    )
    counts = ServedCounts(
        (
            NodeCollector(newest),  # type: ignore[arg-type]
            ProvisionerCollector(Busy(), Busy()),  # type: ignore[arg-type]
            GatewayCollector(),
        )
    )
    counts.note(Served("DescribeUsers", 200, None, 0.003))
    counts.note(Served(None, 400, "InvalidAction", 0.001, "v1"))
    return _families(counts.text())


async def test_counts_what_was_served() -> None:
    found = _all()["cachefleet_http_requests_total"]
    assert (
        {"door": "query", "operation": "DescribeUsers", "status": "200", "code": "none"},
        1.0,
    ) in found
    assert ({"door": "v1", "operation": "none", "status": "400", "code": "InvalidAction"}, 1.0) in (
        found
    )


async def test_one_name_for_what_engines_call_differently() -> None:
    found = _all()
    used = {labels["engine"]: value for labels, value in found["cachefleet_node_memory_used_bytes"]}
    hits = {labels["engine"]: value for labels, value in found["cachefleet_node_hits_total"]}
    cpu = {labels["engine"]: value for labels, value in found["cachefleet_node_cpu_seconds_total"]}
    assert used == {"valkey": 10, "memcached": 20}
    assert hits == {"valkey": 3, "memcached": 4}
    assert cpu == {"valkey": 3, "memcached": 1.5}


async def test_tells_of_the_provisioner_and_the_gateway() -> None:
    found = _all()
    assert found["cachefleet_provisioner_leases"] == [({}, 2.0)]
    assert found["cachefleet_provisioner_passes_total"] == [
        ({"kind": "settle", "outcome": "done"}, 3.0)
    ]
    assert found["cachefleet_gateway_up"] == [({}, 0.0)]


async def test_is_served_in_the_text_format() -> None:
    app = make_app(settings=quiet_settings())
    await send(app, method="GET", path="/v1/nothing")
    answer = await send(app, method="GET", path="/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert _families(answer.body)["cachefleet_http_requests_total"][0][0]["status"] == "404"


async def test_strangers_get_no_metrics() -> None:
    app = make_app(settings=quiet_settings())
    answer = await send(app, method="GET", path="/metrics", headers={"host": "evil.example"})
    assert answer.status == 403


def _apart() -> MetricsApp:
    busy = ProvisionerCollector(Busy(), Busy())  # type: ignore[arg-type]
    return MetricsApp(quiet_settings(), (busy, GatewayCollector()))


async def test_a_provisioner_apart_tells_what_it_knows_and_nothing_of_requests() -> None:
    answer = await send(_apart(), method="GET", path="/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = _families(answer.body)
    assert found["cachefleet_provisioner_leases"] == [({}, 2.0)]
    assert {"cachefleet_gateway_up", "cachefleet_build_info"} <= found.keys()
    assert not [name for name in found if name.startswith("cachefleet_http")]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", "/metrics", {"host": "evil.example"}, 403, id="strange-host"),
        pytest.param("GET", "/metrics", {"origin": "http://evil.example"}, 403, id="foreign-page"),
        pytest.param("POST", "/metrics", {}, 405, id="not-to-be-changed"),
        pytest.param("GET", "/v1/users", {}, 404, id="no-api-here"),
        pytest.param("GET", "/healthz", {}, 200, id="alive"),
    ],
)
async def test_a_provisioner_apart_refuses(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await send(_apart(), method=method, path=path, headers=headers)
    assert answer.status == status


async def test_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads((ROOT / "docs/grafana/cachefleet.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in NAME.findall(target["expr"])
    }
    served = {
        family.name + suffix
        for family in text_string_to_metric_families(_text())
        for suffix in ("", "_total", "_bucket", "_sum", "_count")
    }
    assert asked
    assert asked <= served
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def _text() -> str:
    counts = ServedCounts(
        (
            NodeCollector(Newest()),  # type: ignore[arg-type]
            ProvisionerCollector(Busy(), Busy()),  # type: ignore[arg-type]
            GatewayCollector(),
        )
    )
    return counts.text().decode()
