"""Random requests to both doors, made from the model's shapes and then spoiled a little.

The seed of a request is the whole bug report: ``request(seed)`` is the same for ever. What has to
hold after any number of them is in :func:`violations`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from botocore.serialize import create_serializer

from cachefleet.api.protocol.model import load_model
from tests.parity.shapes import Generator, service_model
from tests.support.rest import routes

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JUNK = ("", "0", "-1", "99999999999999999999", "null", "true", "☃", "a" * 300, "%00", "../..", "{}")
NAMES = ("demo", "a", "b-1", "x" * 41, "default", "default.redis7")
SERVICE = service_model()
OPERATIONS = tuple(sorted(load_model().operations))
LISTINGS = tuple(
    sorted({route.path for route in routes().routes if route.reads and route.member is None})
)


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
    if dice.random() < 0.4:  # or the records would stay empty, and nothing would meet
        operation, params = _sensible(dice)
        if dice.random() < 0.5:
            return _query(operation, params, dice, spoils=(0, 0, 0, 1))
        return _rest(operation, params, dice, spoils=(0, 0, 0, 1))
    operation = dice.choice(OPERATIONS)
    shape = SERVICE.operation_model(operation).input_shape
    params = (
        Generator(seed, chance=dice.random() * 0.6, is_input=True).value(shape) if shape else {}
    )
    _use_known_names(params, dice)
    return (
        _query(operation, params, dice) if dice.random() < 0.5 else _rest(operation, params, dice)
    )


def _sensible(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """Return an operation with parameters that may well be accepted."""
    name = f"n{dice.randrange(12)}"
    group = {"ReplicationGroupId": name}
    cluster = {"CacheClusterId": name}
    parameters = {"CacheParameterGroupName": name}
    subnets = {"CacheSubnetGroupName": name, "SubnetIds": ["subnet-1"]}
    node = {"CacheNodeType": "cache.t3.micro"}
    choices: list[tuple[str, dict[str, Any]]] = [
        (
            "CreateReplicationGroup",
            {
                **group,
                **node,
                "ReplicationGroupDescription": "d",
                "NumCacheClusters": dice.randrange(1, 7),
            },
        ),
        (
            "CreateReplicationGroup",
            {
                **group,
                **node,
                "ReplicationGroupDescription": "d",
                "NumNodeGroups": dice.randrange(1, 4),
                "ReplicasPerNodeGroup": dice.randrange(3),
                "AutomaticFailoverEnabled": True,
            },
        ),
        (
            "CreateCacheCluster",
            {
                **cluster,
                **node,
                "Engine": dice.choice(["redis", "memcached"]),
                "NumCacheNodes": dice.randrange(1, 4),
            },
        ),
        (
            "CreateCacheParameterGroup",
            {**parameters, "CacheParameterGroupFamily": "redis7", "Description": "d"},
        ),
        ("CreateCacheSubnetGroup", {**subnets, "CacheSubnetGroupDescription": "d"}),
        ("ModifyCacheSubnetGroup", {**subnets, "SubnetIds": ["subnet-2"]}),
        (
            "ModifyCacheParameterGroup",
            {
                **parameters,
                "ParameterNameValues": [
                    {"ParameterName": "timeout", "ParameterValue": str(dice.randrange(99))}
                ],
            },
        ),
        ("DeleteCacheParameterGroup", parameters),
        ("DeleteCacheSubnetGroup", {"CacheSubnetGroupName": name}),
        ("DeleteReplicationGroup", group),
        ("DeleteCacheCluster", cluster),
        ("DescribeReplicationGroups", dice.choice([{}, group])),
        ("DescribeCacheClusters", dice.choice([{}, cluster, {"ShowCacheNodeInfo": True}])),
        ("DescribeEvents", {"MaxRecords": dice.randrange(20, 101)}),
        ("DescribeCacheParameters", parameters),
    ]
    return dice.choice(choices)


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
    if sent.path == "/":
        if not body and status == 302:
            return None
        root = ElementTree.fromstring(body)
        if status >= 400 and root.findtext(".//{*}Code") is None:
            return f"status {status} without a code"
        return None
    if not body:
        return None if status in (204, 304) else f"status {status} without a body"
    document = json.loads(body)
    if status >= 400 and not {"code", "message", "request_id", "resource"} <= document.keys():
        return f"status {status} in another shape: {document}"
    return None


async def violations(send: Send) -> list[str]:
    """Return what is broken in the records: every listing and every resource has to be shown."""
    found = []
    for path in LISTINGS:
        status, body = await send(FuzzRequest("GET", path, "", {}, b""))
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


def _get(path: str) -> FuzzRequest:
    return FuzzRequest("GET", path, "", {}, b"")
