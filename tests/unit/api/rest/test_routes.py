"""Every operation has a place, and every place one meaning."""

from __future__ import annotations

import pytest

from cachefleet.api.protocol.model import Model, load_model
from cachefleet.api.rest.routes import (
    UNPLACED,
    BadTable,
    Route,
    RouteTable,
    make_routes,
)
from tests.support.rest import routes

MODEL = load_model()


def test_every_operation_has_a_route() -> None:
    assert {route.operation.name for route in routes().routes} == set(MODEL.operations)


def test_no_operation_of_this_model_is_without_a_place() -> None:
    assert [route.path for route in routes().routes if UNPLACED in route.path] == []


def test_new_operation_of_a_newer_model_is_found() -> None:
    operation = MODEL.operations["DescribeUsers"]
    newer = Model(
        api_version="",
        xml_namespace="",
        operations={"WarmUpAZCache": operation},
        unsupported=frozenset(),
        faults={},
    )
    found = make_routes(newer).find("/v1/operations/warm-up-azcache")
    assert found is not None
    assert found.methods["POST"].operation is operation


def test_two_operations_in_one_place_are_refused() -> None:
    operation = MODEL.operations["DescribeUsers"]
    route = Route(operation=operation, method="GET", path="/v1/users", member=None)
    other = Route(operation=operation, method="GET", path="/v1/users", member=None, creates=True)
    with pytest.raises(BadTable):
        RouteTable([route, other])


@pytest.mark.parametrize(
    ("method", "path", "operation", "name"),
    [
        ("GET", "/v1/replication-groups", "DescribeReplicationGroups", None),
        ("POST", "/v1/replication-groups", "CreateReplicationGroup", None),
        ("PATCH", "/v1/replication-groups/demo", "ModifyReplicationGroup", "demo"),
        ("POST", "/v1/replication-groups/demo:test-failover", "TestFailover", "demo"),
        ("POST", "/v1/snapshots/automatic.demo-2026:copy", "CopySnapshot", "automatic.demo-2026"),
        ("GET", "/v1/tags/arn:aws:x:copy", "ListTagsForResource", "arn:aws:x:copy"),
        ("GET", "/v1/tags/arn%3Aaws%2Fy", "ListTagsForResource", "arn:aws/y"),
        ("GET", "/v1/parameter-groups/a%20b/parameters", "DescribeCacheParameters", "a b"),
    ],
)
def test_finds(method: str, path: str, operation: str, name: str | None) -> None:
    found = routes().find(path)
    assert found is not None
    assert found.methods[method].operation.name == operation
    assert found.name == name


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/replication-groups/",
        "/v1/replication-groups//parameters",
        "/v1/replication-groups/demo/nothing",
        "/v1/replication-groups/demo/parameters/more",
        "/v1/events:stream",
        "/v1/replication-groups/demo/topology",
    ],
)
def test_finds_nothing(path: str) -> None:
    assert routes().find(path) is None


def test_unknown_verb_is_part_of_a_name() -> None:
    found = routes().find("/v1/replication-groups/demo:explode")
    assert found is not None
    assert found.name == "demo:explode"
    assert "POST" not in found.methods
