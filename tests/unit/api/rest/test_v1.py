"""``/v1`` over an empty database: forms of requests and answers, identity, repetition, tags."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from cachefleet.api.app import create_app
from cachefleet.api.auth.identity import Identity
from cachefleet.api.context import RequestContext
from cachefleet.api.front_end import Ports
from cachefleet.api.protocol.model import load_model
from cachefleet.api.registry import Registry, action
from tests.builders import groups
from tests.support.api import SCOPE, Api, open_api
from tests.support.rest import ask
from tests.unit.api.driver import quiet_settings

pytestmark = pytest.mark.anyio
GROUPS = "/v1/replication-groups"
NEW = {
    "ReplicationGroupId": "demo",
    "ReplicationGroupDescription": "d",
    "CacheNodeType": "cache.t3.micro",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def test_a_resource_from_its_creation_to_its_end(api: Api) -> None:
    created = await ask(api.app, "POST", GROUPS, NEW)
    assert (created.status, created.document["Status"]) == (201, "creating")
    shown = await ask(api.app, "GET", f"{GROUPS}/DEMO")
    assert (shown.status, shown.document["ReplicationGroupId"]) == (200, "demo")
    listed = await ask(api.app, "GET", GROUPS)
    assert [one["ReplicationGroupId"] for one in listed.document["ReplicationGroups"]] == ["demo"]
    refused = await ask(api.app, "DELETE", f"{GROUPS}/demo")
    assert (refused.status, refused.code) == (400, "InvalidReplicationGroupState")
    gone = await ask(api.app, "GET", f"{GROUPS}/other")
    assert (gone.status, gone.code) == (404, "ReplicationGroupNotFoundFault")
    assert gone.document["resource"] == f"{GROUPS}/other"
    assert gone.document["request_id"] == gone.headers["x-amzn-requestid"]


async def test_both_doors_show_one_resource(api: Api) -> None:
    await ask(api.app, "POST", GROUPS, {**NEW, "Tags": [{"Key": "k", "Value": "v"}]})
    (by_query,) = (await api("DescribeReplicationGroups"))["ReplicationGroups"]
    by_rest = (await ask(api.app, "GET", f"{GROUPS}/demo")).document
    when = by_rest.pop("ReplicationGroupCreateTime")
    assert datetime.fromisoformat(when) == by_query.pop("ReplicationGroupCreateTime")
    assert by_rest == by_query
    busy = await ask(api.app, "GET", f"/v1/tags/{by_query['ARN']}")
    assert busy.code == "InvalidReplicationGroupState"  # it is creating


async def test_tags_are_under_the_name_of_their_resource(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        groups.subnet_group(tx, "one")
    path = "/v1/tags/arn:aws:elasticache:us-east-1:000000000000:subnetgroup:one"
    tags = [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}]
    assert (await ask(api.app, "POST", path, {"Tags": tags})).document == {"TagList": tags}
    left = await ask(api.app, "DELETE", path, query="TagKeys=k")
    assert left.document == {"TagList": tags[1:]}
    assert (await ask(api.app, "GET", path)).document == {"TagList": tags[1:]}


async def test_operation_without_result_answers_204(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        groups.subnet_group(tx, "one")
    deleted = await ask(api.app, "DELETE", "/v1/subnet-groups/one")
    assert (deleted.status, deleted.document) == (204, None)


async def test_pages(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        for number in range(25):
            groups.subnet_group(tx, f"group-{number:02}")
    first = await ask(api.app, "GET", "/v1/subnet-groups", query="MaxRecords=20")
    marker = first.document["Marker"]
    second = await ask(api.app, "GET", "/v1/subnet-groups", query=f"MaxRecords=20&Marker={marker}")
    assert len(first.document["CacheSubnetGroups"]) == 20  # "default" is the first
    assert [one["CacheSubnetGroupName"] for one in second.document["CacheSubnetGroups"]] == [
        f"group-{number}" for number in range(19, 25)
    ]
    assert "Marker" not in second.document


async def test_entity_tag_stands_until_something_changes(api: Api) -> None:
    await ask(api.app, "POST", GROUPS, NEW)
    for path in (GROUPS, f"{GROUPS}/demo"):
        tag = (await ask(api.app, "GET", path)).headers["etag"]
        for named in (tag, f'"x", W/{tag}', "*"):
            same = await ask(api.app, "GET", path, headers={"if-none-match": named})
            assert (same.status, same.document) == (304, None)
        assert (await ask(api.app, "GET", path, headers={"if-none-match": '"x"'})).status == 200
    tag = (await ask(api.app, "GET", GROUPS)).headers["etag"]
    await ask(api.app, "POST", GROUPS, {**NEW, "ReplicationGroupId": "other"})
    changed = await ask(api.app, "GET", GROUPS, headers={"if-none-match": tag})
    assert changed.status == 200


async def test_head_answers_without_a_body(api: Api) -> None:
    answer = await ask(api.app, "HEAD", GROUPS)
    assert (answer.status, answer.document) == (200, None)
    assert int(answer.headers["content-length"]) > 0


async def test_same_key_is_done_once(api: Api) -> None:
    key = {"idempotency-key": "create-demo"}
    first = await ask(api.app, "POST", GROUPS, NEW, headers=key)
    again = await ask(api.app, "POST", GROUPS, NEW, headers=key)
    assert (first.status, again.status) == (201, 201)
    assert again.document == first.document
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    without = await ask(api.app, "POST", GROUPS, NEW)
    assert without.code == "ReplicationGroupAlreadyExists"


async def test_same_key_with_another_request_is_refused(api: Api) -> None:
    key = {"idempotency-key": "k"}
    await ask(api.app, "POST", GROUPS, NEW, headers=key)
    other = await ask(api.app, "POST", GROUPS, {**NEW, "Port": 7000}, headers=key)
    assert (other.status, other.code) == (400, "IdempotentParameterMismatch")
    elsewhere = await ask(
        api.app, "POST", GROUPS, NEW, query="region=eu-west-1", headers=key
    )  # a key is of its scope
    assert elsewhere.status == 201


async def test_refused_request_leaves_its_key_free(api: Api) -> None:
    key = {"idempotency-key": "k"}
    refused = await ask(
        api.app, "POST", GROUPS, {**NEW, "CacheSubnetGroupName": "none"}, headers=key
    )
    assert refused.code == "CacheSubnetGroupNotFoundFault"
    assert (await ask(api.app, "POST", GROUPS, NEW, headers=key)).status == 201


async def test_same_key_at_once_is_done_once(api: Api) -> None:
    key = {"idempotency-key": "k"}
    answers = await asyncio.gather(
        *(ask(api.app, "POST", GROUPS, NEW, headers=key) for _ in range(5))
    )
    assert [answer.status for answer in answers] == [201] * 5
    assert len({str(answer.document) for answer in answers}) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä"])
async def test_refuses_bad_keys(api: Api, key: str) -> None:
    answer = await ask(api.app, "POST", GROUPS, NEW, headers={"idempotency-key": key})
    assert answer.code == "InvalidParameterValue"


async def test_says_which_account_and_region_are_meant(api: Api) -> None:
    there = "account=123456789012&region=eu-west-1"
    created = await ask(api.app, "POST", GROUPS, NEW, query=there)
    assert (
        created.document["ARN"]
        == "arn:aws:elasticache:eu-west-1:123456789012:replicationgroup:demo"
    )
    assert (await ask(api.app, "GET", GROUPS)).document == {"ReplicationGroups": []}
    assert (await ask(api.app, "GET", GROUPS, query="account=12")).code == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("method", "path", "query", "document", "headers", "status", "code"),
    [
        ("GET", "/v1/nothing", "", None, {}, 404, "NotFound"),
        ("GET", "/v1", "", None, {}, 404, "NotFound"),
        ("PUT", GROUPS, "", {}, {}, 405, "MethodNotAllowed"),
        ("PUT", "/v1/reset", "", {}, {}, 405, "MethodNotAllowed"),
        ("POST", GROUPS, "", b"{", {}, 400, "MalformedRequest"),
        ("POST", GROUPS, "", b"[1]", {}, 400, "MalformedRequest"),
        ("POST", GROUPS, "", {}, {"content-type": "text/plain"}, 415, "UnsupportedMediaType"),
        (
            "POST",
            GROUPS,
            "",
            {},
            {"content-type": "application/json; charset=latin-1"},
            415,
            "UnsupportedMediaType",
        ),
        ("POST", GROUPS, "", {"Nope": 1}, {}, 400, "InvalidParameterValue"),
        ("POST", GROUPS, "Nope=1", NEW, {}, 400, "InvalidParameterValue"),
        ("GET", GROUPS, "Nope=1", None, {}, 400, "InvalidParameterValue"),
        ("GET", GROUPS, "MaxRecords=two", None, {}, 400, "InvalidParameterValue"),
        ("GET", GROUPS, "MaxRecords=%ff", None, {}, 400, "MalformedRequest"),
        ("GET", GROUPS, "", {}, {}, 400, "MalformedRequest"),
        ("PATCH", f"{GROUPS}/a", "", {"ReplicationGroupId": "b"}, {}, 400, "MalformedRequest"),
        ("GET", GROUPS, "", None, {"host": "evil.example"}, 403, "AccessDenied"),
        ("GET", GROUPS, "", None, {"origin": "http://evil.example"}, 403, "AccessDenied"),
        ("POST", GROUPS, "", b" " * 2000, {}, 413, "RequestEntityTooLarge"),
        ("POST", "/v1/reset", "", {}, {}, 403, "AccessDenied"),
        ("GET", "/v1/events:stream", "LastEventId=x", None, {}, 400, "InvalidParameterValue"),
        ("GET", "/v1/metrics", "", None, {}, 400, "InvalidParameterValue"),
        ("POST", "/v1/service-updates/x:apply", "", {}, {}, 400, "InvalidParameterValue"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_one_error_shape(
    tmp_path: Path,
    method: str,
    path: str,
    query: str,
    document: Any,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    async with open_api(tmp_path) as api:
        app = create_app(
            store=api.store,
            settings=quiet_settings(body_bytes_max=1000),
            catalog=api.catalog,
            clock=api.clock,
        )
        answer = await ask(app, method, path, document, query=query, headers=headers)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert answer.document["request_id"] == answer.headers["x-amzn-requestid"]
    assert answer.document["resource"] == path
    assert answer.document["message"]
    assert answer.document.keys() <= {"code", "message", "request_id", "resource", "pointer"}


async def test_method_not_allowed_names_those_that_are(api: Api) -> None:
    assert (await ask(api.app, "PUT", GROUPS, {})).headers["allow"] == "GET, POST"
    assert (await ask(api.app, "GET", "/v1/reset")).headers["allow"] == "POST"


@action("DescribeUsers")
async def who_am_i(ctx: RequestContext, params: Mapping[str, Any]) -> dict[str, Any]:
    """Answer who asks; or break, where that is asked for."""
    if params.get("Engine") == "broken":
        raise RuntimeError("secret detail")
    return {"Users": [{"UserName": f"{ctx.account} {ctx.region} {ctx.identity.principal_arn}"}]}


class OneToken:
    async def identity_of(
        self, token: str, *, region: str | None, now: datetime
    ) -> Identity | None:
        if token != "good":
            return None
        return Identity("123456789012", region or "eu-west-1", "arn:mine", None, True)


async def _users(tmp_path: Path, auth: str, query: str = "", **headers: str) -> Any:
    async with open_api(tmp_path) as api:
        app = create_app(
            store=api.store,
            settings=quiet_settings(auth=auth),
            catalog=api.catalog,
            clock=api.clock,
            bearer_tokens=OneToken(),
            registry=Registry(load_model(), [who_am_i]),
        )
        return await ask(app, "GET", "/v1/users", query=query, headers=headers)


@pytest.mark.parametrize("auth", ["off", "enforce"])
async def test_takes_a_bearer_token(tmp_path: Path, auth: str) -> None:
    answer = await _users(tmp_path, auth, authorization="Bearer good")
    assert answer.document["Users"][0]["UserName"] == "123456789012 eu-west-1 arn:mine"
    there = await _users(tmp_path, auth, "region=us-west-2", authorization="bearer good")
    assert " us-west-2 " in there.document["Users"][0]["UserName"]
    other = await _users(tmp_path, auth, "account=000000000001", authorization="Bearer good")
    assert other.code == "AccessDenied"


async def test_refuses_a_bad_token_where_it_enforces(tmp_path: Path) -> None:
    for token in ("bad", "", "x" * 5000):
        answer = await _users(tmp_path, "enforce", authorization=f"Bearer {token}")
        assert (answer.status, answer.code) == (403, "InvalidClientTokenId")
    nobody = await _users(tmp_path, "enforce")
    assert (nobody.status, nobody.code) == (403, "MissingAuthenticationToken")
    believed = await _users(tmp_path, "off", authorization="Bearer bad")
    assert believed.document["Users"][0]["UserName"].startswith("000000000000 us-east-1 ")


async def test_what_breaks_is_an_internal_failure_without_detail(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await _users(tmp_path, "off", "Engine=broken")
    assert [log["event"] for log in logs] == ["request_failed"]
    assert (answer.status, answer.code) == (500, "InternalFailure")
    assert "secret" not in str(answer.document)


async def test_throttles_extras_and_operations_alike(api: Api) -> None:
    app = create_app(
        store=api.store,
        settings=quiet_settings(request_rate_max=1.0, request_burst_max=2),
        catalog=api.catalog,
        clock=api.clock,
    )
    codes = [(await ask(app, "GET", path)).code for path in (GROUPS, "/v1/metrics/catalog") * 2]
    assert codes == [None, None, "Throttling", "Throttling"]


class Deaf:
    def __init__(self) -> None:
        self.resets: list[str | None] = []

    async def reset(self, account: str | None) -> int:
        self.resets.append(account)
        return 3


async def test_resets_where_it_is_allowed(api: Api) -> None:
    resetter = Deaf()
    app = create_app(
        store=api.store,
        settings=quiet_settings(allow_reset=True),
        catalog=api.catalog,
        clock=api.clock,
        ports=Ports(resetter=resetter),
    )
    assert (await ask(app, "POST", "/v1/reset")).document == {"NodesEnded": 3}
    await ask(app, "POST", "/v1/reset", {"Account": "000000000001"})
    assert resetter.resets == [None, "000000000001"]
    wrong = await ask(app, "POST", "/v1/reset", {"Account": "me"})
    assert (wrong.code, wrong.document["pointer"]) == ("InvalidParameterValue", "/Account")
    unknown = await ask(app, "POST", "/v1/reset", {"Who": "me"})
    assert (unknown.code, unknown.document["pointer"]) == ("InvalidParameterValue", "/Who")
    apart = create_app(
        store=api.store,
        settings=quiet_settings(allow_reset=True),
        catalog=api.catalog,
        clock=api.clock,
    )
    assert (await ask(apart, "POST", "/v1/reset")).code == "NotImplemented"


async def test_topology_is_shown_without_a_word_from_the_nodes(api: Api) -> None:
    await ask(api.app, "POST", GROUPS, {**NEW, "NumCacheClusters": 2})
    shown = (await ask(api.app, "GET", f"{GROUPS}/demo/topology")).document
    (shard,) = shown["NodeGroups"]
    assert [(node["CacheClusterId"], node["Role"]) for node in shard["Nodes"]] == [
        ("demo-001", "primary"),
        ("demo-002", "replica"),
    ]
    assert {node["Reported"] for node in shard["Nodes"]} == {None}
    missing = await ask(api.app, "GET", f"{GROUPS}/none/topology")
    assert (missing.status, missing.code) == (404, "ReplicationGroupNotFoundFault")
