"""``/v1/faults`` over an empty database: who may, what is refused, what is filed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from cachefleet.api.app import create_app
from cachefleet.provisioner.state import faults
from cachefleet.provisioner.state.faults import OPEN_FAULTS_MAX, FaultTarget, HitState
from tests.builders import groups
from tests.support.api import SCOPE, Api, open_api
from tests.support.rest import RestResponse, ask
from tests.unit.api.driver import quiet_settings

pytestmark = pytest.mark.anyio
FAULTS = "/v1/faults"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        async with opened.store.begin(SCOPE) as tx:
            await groups.replication_group(tx, "demo")
        yield opened


@pytest.fixture
def allowing(api: Api) -> FastAPI:
    settings = quiet_settings(allow_faults=True)
    return create_app(store=api.store, settings=settings, catalog=api.catalog, clock=api.clock)


async def inject(app: FastAPI, **request: Any) -> RestResponse:
    return await ask(app, "POST", FAULTS, {"Kind": "stop", "CacheClusterId": "demo-001", **request})


async def test_a_server_that_does_not_allow_it_refuses(api: Api) -> None:
    refused = await inject(api.app)
    assert (refused.status, refused.code) == (403, "AccessDenied")
    assert (await ask(api.app, "DELETE", f"{FAULTS}/x")).code == "AccessDenied"
    assert (await ask(api.app, "GET", FAULTS)).document == {"Faults": []}


async def test_a_fault_is_filed_shown_and_undone(api: Api, allowing: FastAPI) -> None:
    filed = await inject(allowing, Kind="partition", Cut="nodes", DurationSeconds=5)
    [fault] = filed.document["Faults"]
    assert (filed.status, fault["State"], fault["Cut"]) == (201, "requested", "nodes")
    assert fault["Target"]["CacheClusterId"] == "demo-001"
    [node] = fault["Nodes"]
    assert (node["CacheClusterId"], node["State"]) == ("demo-001", "requested")
    path = f"{FAULTS}/{fault['FaultId']}"
    assert (await ask(allowing, "GET", path)).document == fault
    assert (await ask(allowing, "GET", FAULTS)).document["Faults"] == [fault]
    assert (await ask(allowing, "DELETE", path)).status == 200
    async with api.store.read(SCOPE) as tx:
        [hit] = await faults.open_hits(tx)
        assert hit.undone


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param({"Kind": "explode"}, "InvalidParameterValue", id="kind"),
        pytest.param({"CacheClusterId": None}, "InvalidParameterValue", id="no-target"),
        pytest.param({"CacheClusterId": ""}, "InvalidParameterValue", id="empty-target"),
        pytest.param({"AvailabilityZone": "us-east-1a"}, "InvalidParameterValue", id="two-targets"),
        pytest.param(
            {"CacheClusterId": None, "AvailabilityZone": "us-east-1a", "CacheNodeId": "0001"},
            "InvalidParameterValue",
            id="node-without-cluster",
        ),
        pytest.param({"CacheClusterId": "other"}, "CacheClusterNotFound", id="no-such-cluster"),
        pytest.param(
            {"CacheClusterId": None, "ReplicationGroupId": "other"},
            "ReplicationGroupNotFoundFault",
            id="no-such-group",
        ),
        pytest.param({"CacheNodeId": "0002"}, "InvalidParameterValue", id="no-such-node"),
        pytest.param(
            {"CacheClusterId": None, "AvailabilityZone": "mars-1a"},
            "InvalidParameterValue",
            id="empty-zone",
        ),
        pytest.param({"DurationSeconds": 3601}, "InvalidParameterValue", id="too-long"),
        pytest.param({"DurationSeconds": -1}, "InvalidParameterValue", id="negative"),
        pytest.param({"DurationSeconds": 0}, "InvalidParameterValue", id="a-stop-of-no-time"),
        pytest.param({"RunShare": 1.5}, "InvalidParameterValue", id="share"),
        pytest.param({"Cut": "half"}, "InvalidParameterValue", id="cut"),
        pytest.param({"Unknown": 1}, "InvalidParameterValue", id="unknown-field"),
    ],
)
async def test_refuses(api: Api, allowing: FastAPI, request_: dict[str, Any], code: str) -> None:
    refused = await inject(allowing, **request_)
    assert refused.code == code, refused.document
    async with api.store.read(SCOPE) as tx:
        assert await faults.open_hits(tx) == []


async def test_another_accounts_nodes_are_out_of_reach(api: Api, allowing: FastAPI) -> None:
    body = {"Kind": "stop", "CacheClusterId": "demo-001"}
    other = await ask(allowing, "POST", FAULTS, body, query="account=111111111111")
    assert other.code == "CacheClusterNotFound"
    [fault] = (await inject(allowing)).document["Faults"]
    path = f"{FAULTS}/{fault['FaultId']}"
    for method in ("GET", "DELETE"):
        hidden = await ask(allowing, method, path, query="account=111111111111")
        assert (hidden.status, hidden.code) == (404, "NotFound")


async def test_continue_ends_what_stopped_a_node_and_nothing_else(
    api: Api, allowing: FastAPI
) -> None:
    [stopped] = (await inject(allowing)).document["Faults"]
    await inject(allowing, Kind="partition")
    answered = (await inject(allowing, Kind="continue")).document["Faults"]
    assert [fault["FaultId"] for fault in answered] == [stopped["FaultId"]]
    async with api.store.read(SCOPE) as tx:
        assert {hit.fault.kind: hit.undone for hit in await faults.open_hits(tx)} == {
            "stop": True,
            "partition": False,
        }
    assert (await inject(allowing, Kind="continue", CacheClusterId="demo-002")).document == {
        "Faults": []
    }


async def test_there_may_be_so_many_faults_and_no_more(api: Api, allowing: FastAPI) -> None:
    async with api.store.begin(SCOPE) as tx:
        for _ in range(OPEN_FAULTS_MAX):
            await faults.inject(
                tx,
                kind=faults.FaultKind.STOP,
                target=FaultTarget(cache_cluster_id="demo-001"),
                duration_s=5,
            )
    assert (await inject(allowing)).code == "Throttling"
    async with api.store.begin(SCOPE) as tx:
        hit = (await faults.open_hits(tx))[0]
        await faults.end_hit(tx, hit, HitState.ENDED)
    assert (await inject(allowing)).status == 201


async def test_what_ended_long_ago_is_forgotten(api: Api, allowing: FastAPI) -> None:
    await inject(allowing)
    api.clock.advance(faults.KEPT.total_seconds() + 60)
    async with api.store.begin(SCOPE) as tx:
        await faults.forget_ended(tx)
    assert (await ask(allowing, "GET", FAULTS)).document == {"Faults": []}
