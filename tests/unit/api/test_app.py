"""The whole front door, driven as an ASGI server would: envelopes, limits, methods, refusals."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import structlog
from fastapi import FastAPI
from starlette.types import Message

from cachefleet.api.auth.identity import Credential, StaticCredentials
from cachefleet.api.context import RequestContext
from cachefleet.api.endpoint import Served
from cachefleet.api.faults import Fault
from cachefleet.api.protocol.model import load_model
from cachefleet.api.registry import Params, Result, action
from cachefleet.provisioner.state.errors import NotFound, Stale
from tests.unit.api.auth.test_sigv4 import NOW, SECRET, sign
from tests.unit.api.driver import (
    FORM,
    START,
    VERSION,
    NoStore,
    Response,
    SteppedClock,
    make_app,
    post,
    quiet_settings,
    send,
)

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@action("DescribeUsers")
async def who_am_i(ctx: RequestContext, params: Params) -> Result:
    """Answer with what the context says."""
    assert isinstance(ctx.store, NoStore)
    assert ctx.now == START
    assert ctx.paging.size_param == "MaxRecords"
    return {
        "Users": [
            {"UserId": ctx.account, "UserName": ctx.region, "ARN": ctx.scope.arn("user", "a")}
        ],
        "Marker": params.get("Marker"),
    }


@action("DeleteUser")
async def delete_user(ctx: RequestContext, params: Params) -> Result:
    """Fail in the way that the user's name asks for."""
    match params["UserId"]:
        case "fault":
            raise Fault("UserNotFoundFault", "User <a> & co")
        case "state":
            raise NotFound("user", "demo")
        case "stale":
            raise Stale("lease lost")
        case "bug":
            raise ZeroDivisionError("secret detail")
        case "shape":
            return {"NoSuchMember": 1}
    return {"UserId": params["UserId"]}


def basic(**settings: Any) -> FastAPI:
    return make_app(who_am_i, delete_user, settings=quiet_settings(**settings))


def assert_error(response: Response, status: int, code: str, kind: str = "Sender") -> None:
    assert (response.status, response.code, response.text("Type")) == (status, code, kind)
    request_id = response.text("RequestId")
    assert request_id is not None
    assert UUID.fullmatch(request_id)
    assert response.headers["x-amzn-requestid"] == request_id
    assert response.headers["content-type"] == "text/xml"
    assert response.headers["content-length"] == str(len(response.body))
    assert [child.tag.partition("}")[2] for child in response.xml] == ["Error", "RequestId"]


async def test_answers_a_post() -> None:
    response = await post(basic(), "DescribeUsers")
    assert response.status == 200
    assert response.text("UserId") == "000000000000"
    assert response.text("UserName") == "us-east-1"
    assert response.headers["content-type"] == "text/xml"
    assert response.headers["x-amzn-requestid"] == response.text("RequestId")
    assert "access-control-allow-origin" not in response.headers


async def test_answers_a_get() -> None:
    response = await send(
        basic(), method="GET", query=f"Action=DescribeUsers&Version={VERSION}&Marker=a%20b"
    )
    assert (response.status, response.text("Marker")) == (200, "a b")


async def test_takes_fields_from_the_query_of_a_post() -> None:
    response = await send(
        basic(),
        query=f"Action=DescribeUsers&Version={VERSION}",
        headers={"content-type": FORM},
        body=b"Marker=m",
    )
    assert (response.status, response.text("Marker")) == (200, "m")


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_takes_a_body_however_it_arrives(pieces: int) -> None:
    body = urlencode({"Action": "DescribeUsers", "Version": VERSION, "Marker": "m" * 50}).encode()
    step = len(body) // pieces
    chunks = [body[at : at + step] for at in range(0, len(body), step)]
    response = await send(basic(), body=chunks)
    assert (response.status, response.text("Marker")) == (200, "m" * 50)


async def test_account_and_region_come_from_the_credential_scope() -> None:
    scope = "123456789012/20260102/eu-north-1/elasticache/aws4_request"
    header = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
    headers = {"authorization": header, "x-amz-date": "20260102T030405Z"}
    response = await post(basic(), "DescribeUsers", headers=headers)
    assert response.text("ARN") == "arn:aws:elasticache:eu-north-1:123456789012:user:a"


@pytest.mark.parametrize(
    ("action_name", "version", "code", "message"),
    [
        (None, VERSION, "MissingAction", "missing an action"),
        ("", VERSION, "MissingAction", "missing an action"),
        ("Describe<b>", VERSION, "InvalidAction", f"Describe<b> for version {VERSION}"),
        ("DescribeUsers", "2014-01-01", "InvalidAction", "DescribeUsers for version 2014-01-01"),
        ("DescribeUsers", None, "InvalidAction", "for version NO_VERSION_SPECIFIED"),
        ("x" * 9999, VERSION, "InvalidAction", "operation " + "x" * 64 + " for"),
    ],
)
async def test_refuses_unknown_operations(
    action_name: str | None, version: str | None, code: str, message: str
) -> None:
    response = await post(basic(), action_name, version=version)
    assert_error(response, 400, code)
    assert message in response.message


async def test_what_is_not_implemented_says_so() -> None:
    response = await post(basic(), "DescribeEvents")
    assert_error(response, 501, "NotImplemented", "Receiver")
    assert "DescribeEvents" in response.message


@pytest.mark.parametrize(
    ("user", "status", "code", "kind"),
    [
        ("fault", 404, "UserNotFound", "Sender"),
        ("state", 404, "UserNotFound", "Sender"),
        ("stale", 503, "ServiceUnavailable", "Receiver"),
        ("bug", 500, "InternalFailure", "Receiver"),
        ("shape", 500, "InternalFailure", "Receiver"),
    ],
)
async def test_answers_every_failure_of_a_handler(
    user: str, status: int, code: str, kind: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        response = await post(basic(), "DeleteUser", {"UserId": user})
    assert_error(response, status, code, kind)
    assert "secret" not in response.message
    reported = [entry for entry in logs if entry["event"] == "request_failed"]
    assert len(reported) == (status == 500)
    for entry in reported:
        assert entry["request_id"] == response.text("RequestId")
        assert entry["operation"] == "DeleteUser"
        assert isinstance(entry["exc_info"], Exception)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"MaxRecords": "x"}, 400, "InvalidParameterValue"),
        ({"Marker": "a\x00"}, 400, "InvalidParameterValue"),
        ({"Marker.x": "1"}, 404, "MalformedQueryString"),
        ({"Filters.member.1.Name": "a"}, 400, "InvalidParameterValue"),
    ],
)
async def test_refuses_parameters_that_do_not_fit(
    fields: dict[str, str], status: int, code: str
) -> None:
    assert_error(await post(basic(), "DescribeUsers", fields), status, code)


async def test_refuses_a_body_that_is_no_form() -> None:
    response = await send(basic(), headers={"content-type": FORM}, body=b"Action=%zz")
    assert_error(response, 404, "MalformedQueryString")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "multipart/form-data; boundary=x", FORM + "x", ""],
)
async def test_refuses_other_media(content_type: str) -> None:
    response = await send(basic(), headers={"content-type": content_type}, body=b"Action=X")
    assert_error(response, 415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded;charset=UTF-8",
        'application/x-www-form-urlencoded; charset="utf-8"',
    ],
)
async def test_takes_a_form_by_any_spelling(content_type: str) -> None:
    body = f"Action=DescribeUsers&Version={VERSION}".encode()
    response = await send(basic(), headers={"content-type": content_type}, body=body)
    assert response.status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_refuses_other_methods(method: str) -> None:
    response = await send(basic(), method=method, query="Action=DescribeUsers")
    assert_error(response, 405, "MethodNotAllowed")
    assert response.headers["allow"] == "GET, POST"


async def test_refuses_head_without_a_body() -> None:
    response = await send(basic(), method="HEAD", query="Action=DescribeUsers")
    assert (response.status, response.body) == (405, b"")


async def test_a_visitor_is_sent_to_the_console() -> None:
    response = await send(basic(), method="GET")
    assert (response.status, response.headers["location"]) == (302, "/console/")


async def test_a_get_with_fields_but_no_action_is_a_call() -> None:
    assert_error(await send(basic(), method="GET", query="Version=1"), 400, "MissingAction")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
)
async def test_refuses_strangers_before_anything_runs(headers: dict[str, str]) -> None:
    response = await post(basic(), "DeleteUser", {"UserId": "bug"}, headers=headers)
    assert_error(response, 403, "AccessDenied")
    elsewhere = await send(basic(), path="/healthz", headers=headers)
    assert elsewhere.status == 403
    assert elsewhere.body.startswith(b"AccessDenied: ")
    beside = await send(basic(), path="/v1/anything", headers=headers)
    assert beside.status == 403
    assert json.loads(beside.body)["code"] == "AccessDenied"


async def test_refuses_two_hosts_and_none() -> None:
    two = [("host", "localhost"), ("host", "evil.example")]
    for hosts in (two, two[::-1], [("host", "")]):
        assert_error(await send(basic(), headers=hosts), 403, "AccessDenied")


async def test_sends_no_stranger_to_the_console() -> None:
    response = await send(basic(), method="GET", headers={"host": "evil.example"})
    assert_error(response, 403, "AccessDenied")


async def test_refuses_a_declared_body_that_is_too_large() -> None:
    for length in ("101", "9" * 400, "-1", "x"):
        response = await send(
            basic(body_bytes_max=100), headers={"content-length": length}, body=b"", ends=False
        )
        assert_error(response, 413, "RequestEntityTooLarge")
        assert response.headers["connection"] == "close"


async def test_refuses_a_body_that_grows_too_large() -> None:
    response = await send(basic(body_bytes_max=100), body=[b"A=" + b"a" * 60] * 2, ends=False)
    assert_error(response, 413, "RequestEntityTooLarge")
    fits = await send(basic(body_bytes_max=100), body=[b"A=" + b"a" * 48, b"&B=" + b"b" * 47])
    assert_error(fits, 400, "MissingAction")


async def test_refuses_headers_and_queries_that_are_too_large() -> None:
    response = await send(basic(header_bytes_max=200), headers={"x-a": "a" * 200})
    assert_error(response, 431, "RequestHeaderFieldsTooLarge")
    response = await send(basic(query_bytes_max=20), query="A=" + "a" * 20)
    assert_error(response, 414, "RequestURITooLong")


async def test_a_client_that_hangs_up_gets_no_answer() -> None:
    response = await send(basic(), body=b"Action=", ends=False)
    assert response.status == 0


async def test_refuses_a_body_that_does_not_come() -> None:
    app = basic(body_timeout_s=0.001)
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    async def keep(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    async with asyncio.timeout(30):
        await app(scope, receive, keep)
    assert sent[0]["status"] == 408
    assert b"RequestTimeout" in sent[1]["body"]


async def test_limits_the_body_of_other_routes_too() -> None:
    app = basic(body_bytes_max=10)
    received: list[str] = []

    @app.post("/echo")
    async def echo(payload: dict[str, Any]) -> None:
        received.append(str(payload))

    headers = {"content-type": "application/json", "host": "localhost"}
    assert (await send(app, path="/echo", headers=headers, body=b'{"a":1}')).status == 200
    declared = {**headers, "content-length": "11"}
    assert (await send(app, path="/echo", headers=declared, body=b'{"a": 12 }')).status == 413
    await send(app, path="/echo", headers=headers, body=[b'{"a": 1', b"234567}"])
    assert received == ["{'a': 1}"]


async def test_websockets_are_guarded() -> None:
    app = basic()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def keep(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"origin", b"http://evil.example")],
    }
    await app(scope, receive, keep)
    assert sent[0]["type"] == "websocket.close"
    assert sent[0]["code"] == 1008


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (None, 200, None),
        ("the database is away", 503, "the database is away"),
        (OSError("secret"), 503, "the readiness check failed"),
    ],
)
async def test_readiness(answer: str | Exception | None, status: int, reason: str | None) -> None:
    async def check() -> str | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with structlog.testing.capture_logs():
        response = await send(make_app(readiness=check), method="GET", path="/readyz")
    assert response.status == status
    assert (reason or "ready").encode() in response.body
    assert b"secret" not in response.body


async def test_health_needs_no_check() -> None:
    assert (await send(basic(), method="GET", path="/healthz")).status == 200
    assert (await send(basic(), method="GET", path="/readyz")).status == 200


KEYS = StaticCredentials(Credential("AKIDEXAMPLE", SECRET))
CALL = urlencode({"Action": "DescribeUsers", "Version": VERSION}).encode()


async def test_enforced_authentication() -> None:
    app = make_app(
        who_am_i,
        settings=quiet_settings(auth="enforce"),
        clock=SteppedClock(NOW),
        credentials=KEYS,
    )
    assert_error(await post(app, "DescribeUsers"), 403, "MissingAuthenticationToken")
    signed = sign(body=CALL, headers={"Content-Type": FORM}, region="eu-west-2")
    headers = {name.decode(): value.decode() for name, value in signed.headers.items()}
    response = await send(app, headers=headers, body=CALL)
    assert (response.status, response.text("UserName")) == (200, "eu-west-2")
    changed = await send(app, headers=headers, body=CALL + b"&Marker=x")
    assert_error(changed, 403, "SignatureDoesNotMatch")
    url = f"http://localhost:8379/?{CALL.decode()}"
    presigned = sign(method="GET", url=url, body=b"", expires_s=60)
    response = await send(app, method="GET", query=presigned.query.decode())
    assert response.status == 200


async def test_throttles_an_account() -> None:
    clock = SteppedClock()
    app = make_app(
        who_am_i,
        settings=quiet_settings(request_rate_max=1.0, request_burst_max=1),
        clock=clock,
    )
    assert (await post(app, "DescribeUsers")).status == 200
    assert_error(await post(app, "DescribeUsers"), 400, "Throttling")


async def test_reports_what_was_served() -> None:
    served: list[Served] = []
    app = make_app(
        who_am_i, delete_user, settings=quiet_settings(access_log=True), observe=served.append
    )
    with structlog.testing.capture_logs() as logs:
        response = await post(app, "DescribeUsers")
        await post(app, "DeleteUser", {"UserId": "fault"})
        await post(app, "Nonsense")
    assert [(one.operation, one.status, one.code) for one in served] == [
        ("DescribeUsers", 200, None),
        ("DeleteUser", 404, "UserNotFound"),
        (None, 400, "InvalidAction"),
    ]
    assert logs[0] == {
        "event": "request_served",
        "log_level": "info",
        "operation": "DescribeUsers",
        "status": 200,
        "code": None,
        "duration_ms": 0.0,
        "request_id": response.text("RequestId"),
        "door": "query",
    }


OPERATIONS = sorted(load_model().operations)


@pytest.mark.parametrize("seed", range(150))
async def test_nothing_that_a_client_sends_is_an_internal_failure(seed: int) -> None:
    dice = random.Random(seed)
    app = basic()
    fields = [("Action", dice.choice(["DescribeUsers", "DeleteUser", *OPERATIONS, "x"]))]
    fields.append(("Version", VERSION))
    for _ in range(dice.randrange(6)):
        key = dice.choice(["UserId", "Marker", "MaxRecords", "Filters.member.1.Name", "A.B.x", ""])
        fields.append((key, "".join(chr(dice.randrange(0xD7FF)) for _ in range(dice.randrange(5)))))
    body = bytearray(urlencode(fields, quote_via=quote).encode())
    for _ in range(dice.randrange(4)):
        body[dice.randrange(len(body))] = dice.randrange(256)
    headers = {
        dice.choice(["authorization", "content-type", "content-length", "origin", "x-amz-date"]): (
            dice.choice(["AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, x", FORM, ""])
            + "".join(chr(dice.randrange(32, 256)) for _ in range(dice.randrange(9)))
        )
    }
    response = await send(app, headers=headers, body=bytes(body))
    assert response.status in (200, 400, 403, 404, 405, 408, 413, 415, 501)
    assert response.xml.tag.startswith("{http://elasticache.amazonaws.com/doc/2015-02-02/}")
