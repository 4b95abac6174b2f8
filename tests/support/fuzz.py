"""Random requests to both doors, made from the model's shapes and then spoiled a little.

The seed of a request is the whole bug report: ``request(seed)`` is the same for ever. What has to
hold after any number of them is in :func:`violations`.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from botocore.serialize import create_serializer

from cachefleet.api.protocol.model import load_model
from tests.parity.shapes import Generator, service_model
from tests.support.fuzz_calls import ACCOUNT, REGIONS, sensible
from tests.support.rest import routes

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JUNK = ("", "0", "-1", "99999999999999999999", "null", "true", "☃", "a" * 300, "%00", "../..", "{}")
NAMES = ("demo", "a", "b-1", "x" * 41, "default", "default.redis7", "n0", "n1", "n2", "cn0")
SERVICE = service_model()
COVERAGE = Path(__file__).parents[2] / "openapi/coverage.md"
OPERATIONS = tuple(sorted(load_model().operations))
LISTINGS = tuple(
    sorted({route.path for route in routes().routes if route.reads and route.member is None})
)


_OF_OPERATION = re.compile(r"The operation ([A-Za-z]+) is not implemented\.")


@dataclass(frozen=True)
class FuzzRequest:
    """One request, ready to be sent."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


Answer = tuple[int, bytes]
Send = Callable[[FuzzRequest], Awaitable[Answer]]


def request(seed: int) -> FuzzRequest:
    """Return the request of a seed."""
    dice = random.Random(seed)
    if dice.random() < 0.5:  # or the records would stay empty, and nothing would meet
        operation, params = sensible(dice)
        door = _query if dice.random() < 0.5 else _rest
        region = REGIONS[dice.random() < 0.2]
        return in_region(region, door(operation, params, dice, spoils=(0, 0, 0, 1)))
    operation = dice.choice(OPERATIONS)
    shape = SERVICE.operation_model(operation).input_shape
    params = (
        Generator(seed, chance=dice.random() * 0.6, is_input=True).value(shape) if shape else {}
    )
    _use_known_names(params, dice)
    return (
        _query(operation, params, dice) if dice.random() < 0.5 else _rest(operation, params, dice)
    )


def in_region(region: str, one: FuzzRequest) -> FuzzRequest:
    """Return a request that means another region; nobody checks its signature."""
    scope = f"{ACCOUNT}/20260101/{region}/elasticache/aws4_request"
    signed = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"
    dated = {"authorization": signed, "x-amz-date": "20260101T000000Z"}
    return replace(one, headers={**one.headers, **dated})


def _use_known_names(params: dict[str, Any], dice: random.Random) -> None:
    """Have requests meet: most names are one of a few."""
    for name, value in params.items():
        if isinstance(value, str) and name.endswith(("Id", "Name")) and dice.random() < 0.8:
            params[name] = dice.choice(NAMES)
        if name == "CacheNodeType" and dice.random() < 0.8:
            params[name] = "cache.t3.micro"
        if name in ("Engine", "EngineVersion") and dice.random() < 0.5:
            params[name] = dice.choice(("redis", "valkey", "memcached", "7.1", "8.0"))


def _query(
    operation: str,
    params: dict[str, Any],
    dice: random.Random,
    spoils: tuple[int, ...] = (0, 0, 1, 3),
) -> FuzzRequest:
    model = SERVICE.operation_model(operation)
    serialized = create_serializer("query", include_validation=False).serialize_to_request(
        params, model
    )
    fields = [(key, str(value)) for key, value in serialized["body"].items()]
    for _ in range(dice.choice(spoils)):
        _spoil_fields(fields, dice)
    body = urlencode(fields).encode("utf-8", "replace")
    if dice.random() < 0.05:
        body = bytes(dice.randrange(256) for _ in range(dice.randrange(200)))
    if dice.random() < 0.1:
        return FuzzRequest("GET", "/", quote(body, safe="=&%+.") or "Action=x", {}, b"")
    return FuzzRequest("POST", "/", "", {"content-type": FORM}, body)


def _spoil_fields(fields: list[tuple[str, str]], dice: random.Random) -> None:
    place = dice.randrange(len(fields))
    key, value = fields[place]
    match dice.randrange(5):
        case 0:
            fields[place] = (key, dice.choice(JUNK))
        case 1:
            fields[place] = (key + dice.choice((".1", ".member.1", ".", "..x", ".0")), value)
        case 2:
            fields.append((key, dice.choice(JUNK)))
        case 3:
            fields.append((dice.choice(JUNK) or "x", value))
        case 4 if len(fields) > 1:
            del fields[place]


def _rest(
    operation: str,
    params: dict[str, Any],
    dice: random.Random,
    spoils: tuple[int, ...] = (0, 0, 1, 3),
) -> FuzzRequest:
    params = dict(params)
    route = dice.choice([one for one in routes().routes if one.operation.name == operation])
    path = route.path
    if route.member is not None:
        name = str(params.pop(route.member, dice.choice(NAMES)))
        path = path.replace(f"{{{route.member}}}", quote(name, safe="") or "x")
    document = json.loads(json.dumps(params, default=_text))
    for _ in range(dice.choice(spoils)):
        document = _spoiled(document, dice)
    headers = {}
    if dice.random() < 0.3 and not route.reads:
        headers["idempotency-key"] = f"key-{dice.randrange(20)}"
    if not route.takes_body:
        pairs = document.items() if isinstance(document, dict) else ()
        query = urlencode([(key, _text(value)) for key, value in pairs])
        return FuzzRequest(route.method, path, query, headers, b"")
    body = json.dumps(document).encode()
    if dice.random() < 0.05:
        body = body[: dice.randrange(len(body) + 1)]
    return FuzzRequest(
        route.method, path, "", {**headers, "content-type": "application/json"}, body
    )


def _spoiled(document: Any, dice: random.Random) -> Any:
    if isinstance(document, dict) and document and dice.random() < 0.9:
        key = dice.choice(list(document))
        match dice.randrange(4):
            case 0:
                return {**document, key: _spoiled(document[key], dice)}
            case 1:
                return {name: value for name, value in document.items() if name != key}
            case 2:
                return {**document, dice.choice(JUNK): document[key]}
    if isinstance(document, list) and document and dice.random() < 0.7:
        return [*document[:-1], _spoiled(document[-1], dice)]
    return dice.choice([None, True, 0, -1, 2**70, 1.5, "", "x", [], {}, [[]], {"a": {}}, *JUNK])


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def wrong(sent: FuzzRequest, status: int, body: bytes) -> str | None:
    """Return what is wrong with an answer, or None."""
    if status >= 500 and status != 501:
        return f"status {status}: {body[:300]!r}"
    if not body:
        expected = status == 302 if sent.path == "/" else status in (204, 304)
        return None if expected else f"status {status} without a body"
    if sent.path == "/":
        root = ElementTree.fromstring(body)
        code, message = root.findtext(".//{*}Code"), root.findtext(".//{*}Message")
    else:
        document = json.loads(body)
        if status < 400:
            return None
        if not {"code", "message", "request_id", "resource"} <= document.keys():
            return f"status {status} in another shape: {document}"
        code, message = document["code"], document["message"]
    if status >= 400 and not code:
        return f"status {status} without a code"
    if status == 501 and not is_documented(message or ""):
        return f"status 501 with a sentence that no page has: {message}"
    return None


def is_documented(sentence: str) -> bool:
    """Tell whether the coverage page has what a 501 says."""
    operation = _OF_OPERATION.fullmatch(sentence)
    if operation is not None:
        return any(operation[1] in re.split(r"[:, ]+", line) for line in _unbuilt())
    return sentence in _unbuilt() or sentence.startswith("This process runs no nodes")


@functools.cache
def _unbuilt() -> frozenset[str]:
    lines = COVERAGE.read_text().splitlines()
    return frozenset(line.removeprefix("* ") for line in lines if line.startswith("* "))


async def violations(send: Send, region: str = REGIONS[0]) -> list[str]:
    """Return what is broken in the records: every listing and every resource has to be shown."""
    found = []

    def _get(path: str) -> FuzzRequest:
        return in_region(region, FuzzRequest("GET", path, "", {}, b""))

    for path in LISTINGS:
        status, body = await send(_get(path))
        if status not in (200, 501):
            found.append(f"{path}: {status} {body[:200]!r}")
    for group in json.loads((await send(_get("/v1/replication-groups")))[1])["ReplicationGroups"]:
        name = group["ReplicationGroupId"]
        status, body = await send(_get(f"/v1/replication-groups/{name}/topology"))
        nodes = [
            node["CacheClusterId"]
            for shard in json.loads(body).get("NodeGroups", ())
            for node in shard["Nodes"]
        ]
        if status != 200 or sorted(nodes) != sorted(set(nodes)) or not nodes:
            found.append(f"{name}: {status}, nodes {nodes}")
        roles = [
            [node["Role"] for node in shard["Nodes"]].count("primary")
            for shard in json.loads(body).get("NodeGroups", ())
        ]
        if any(count != 1 for count in roles):
            found.append(f"{name}: primaries by shard {roles}")
    return found
