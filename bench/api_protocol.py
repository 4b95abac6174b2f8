"""How fast the API's front-end is: microseconds to parse and to serialize, requests a second.

    python bench/api_protocol.py           # parse and serialize, beside botocore on the same bytes
    python bench/api_protocol.py --http    # also wrk against uvicorn, beside a bare application

Absolute numbers depend on the machine and on who else uses it: read the ratio to the peer.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import QueryParser

from cachefleet.api.app import create_app
from cachefleet.api.auth.sigv4 import SignedRequest
from cachefleet.api.context import RequestContext
from cachefleet.api.protocol.model import load_model
from cachefleet.api.protocol.query import RequestParser, parse_form
from cachefleet.api.protocol.xml import ResponseSerializer
from cachefleet.api.registry import Params, Registry, Result, action
from cachefleet.api.settings import ApiSettings
from cachefleet.api.stages import Exchange
from cachefleet.provisioner.clock import SystemClock

OPERATION = "DescribeReplicationGroups"
FORM = b"Action=DescribeReplicationGroups&Version=2015-02-02&MaxRecords=100&ReplicationGroupId=a"
ROUNDS = 7
CALLS = 300
CONNECTIONS = 8
WRK_S = 3
START_TIMEOUT_S = 10.0

WRK_SCRIPT = f"""
wrk.method = "POST"
wrk.body = "{FORM.decode()}"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
wrk.headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=test/20260102/us-east-1/elasticache/" ..
  "aws4_request, SignedHeaders=host;x-amz-date, Signature=00"
wrk.headers["X-Amz-Date"] = "20260102T030405Z"
"""


def replication_group(number: int) -> dict[str, Any]:
    """A group of two shards with two nodes each, as a view would show it."""
    endpoint = {"Address": f"127.100.0.{number}", "Port": 6379}
    return {
        "ReplicationGroupId": f"group-{number}",
        "Description": "sessions & carts",
        "GlobalReplicationGroupInfo": {},
        "Status": "available",
        "PendingModifiedValues": {},
        "MemberClusters": [f"group-{number}-00{member}" for member in range(4)],
        "NodeGroups": [
            {
                "NodeGroupId": f"000{shard}",
                "Status": "available",
                "PrimaryEndpoint": endpoint,
                "ReaderEndpoint": endpoint,
                "Slots": "0-8191",
                "NodeGroupMembers": [
                    {
                        "CacheClusterId": f"group-{number}-00{member}",
                        "CacheNodeId": "0001",
                        "ReadEndpoint": endpoint,
                        "PreferredAvailabilityZone": "us-east-1a",
                        "CurrentRole": "primary" if member == 0 else "replica",
                    }
                    for member in range(2)
                ],
            }
            for shard in range(2)
        ],
        "AutomaticFailover": "enabled",
        "MultiAZ": "enabled",
        "ConfigurationEndpoint": endpoint,
        "SnapshotRetentionLimit": 0,
        "SnapshotWindow": "05:00-06:00",
        "ClusterEnabled": True,
        "CacheNodeType": "cache.t4g.micro",
        "AuthTokenEnabled": False,
        "TransitEncryptionEnabled": True,
        "AtRestEncryptionEnabled": False,
        "ARN": f"arn:aws:elasticache:us-east-1:000000000000:replicationgroup:group-{number}",
        "LogDeliveryConfigurations": [],
        "DataTiering": "disabled",
        "AutoMinorVersionUpgrade": True,
        "NetworkType": "ipv4",
        "IpDiscovery": "ipv4",
        "ClusterMode": "enabled",
        "Engine": "valkey",
    }


RESULT = {"ReplicationGroups": [replication_group(number) for number in range(5)]}


@action(OPERATION)
async def describe_replication_groups(ctx: RequestContext, params: Params) -> Result:
    return RESULT


@action("DescribeCacheClusters")
async def describe_nothing(ctx: RequestContext, params: Params) -> Result:
    return {"CacheClusters": []}


def served() -> Any:
    """The application with two trivial handlers, for uvicorn."""
    return create_app(
        store=cast("Any", None),
        settings=ApiSettings(access_log=False),
        catalog=None,
        clock=SystemClock(),
        registry=Registry(load_model(), [describe_replication_groups, describe_nothing]),
    )


def bare() -> Any:
    """An ASGI application that answers with a fixed document of the same size."""
    model = load_model()
    document = ResponseSerializer(model).response(model.operations[OPERATION], RESULT, "0" * 36)
    headers = [(b"content-length", str(len(document)).encode()), (b"content-type", b"text/xml")]

    async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": document})

    return app


def best_us(call: Callable[[], object]) -> float:
    """Return the best mean of several rounds, in microseconds: the least disturbed one."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter() - started) / CALLS)
    return best * 1e6


def measure_protocol() -> None:
    model = load_model()
    parser, serializer = RequestParser(model), ResponseSerializer(model)
    operation = model.operations[OPERATION]
    service = ServiceModel(Loader().load_service_model("elasticache", "service-2"), "elasticache")
    shape = service.operation_model(OPERATION).output_shape
    document = serializer.response(operation, RESULT, "0" * 36)
    response = {"status_code": 200, "headers": {}, "body": document}
    rows = {
        "parse the request": lambda: parser.parse(OPERATION, parse_form(FORM)),
        "serialize five groups": lambda: serializer.response(operation, RESULT, "0" * 36),
        "botocore parses the same answer": lambda: QueryParser().parse(response, shape),
    }
    for name, call in rows.items():
        print(f"{name:36} {best_us(call):9.1f} us")
    print(f"{'size of the answer':36} {len(document):9d} bytes")
    pipeline = served().state.front_end.pipeline
    loop = asyncio.new_event_loop()
    try:
        print(f"{'the whole pipeline':36} {best_us(lambda: _answer(loop, pipeline)):9.1f} us")
    finally:
        loop.close()


def _answer(loop: asyncio.AbstractEventLoop, pipeline: Any) -> None:
    request = SignedRequest("POST", "/", b"", {b"host": b"localhost"}, FORM)
    exchange = Exchange(request=request, request_id="0" * 36, now=pipeline.services.clock.now())
    answer = loop.run_until_complete(pipeline.answer(exchange))
    assert answer.status == 200


@contextmanager
def server(factory: str, port: int) -> Iterator[None]:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    options += ["--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", f"api_protocol:{factory}", *options],
        cwd=Path(__file__).parent,
    )
    try:
        _wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def measure_http(port: int) -> None:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed")
    with tempfile.TemporaryDirectory() as folder:
        for name, body in (
            ("five groups", FORM),
            ("empty list", b"Action=DescribeCacheClusters&Version=2015-02-02"),
        ):
            script = Path(folder) / "post.lua"
            script.write_text(WRK_SCRIPT.replace(FORM.decode(), body.decode()))
            rates = {}
            for factory in ("bare", "served"):
                with server(factory, port):
                    rates[factory] = _wrk(wrk, script, port)
            print(
                f"{name:24} {rates['served']:8.0f} requests/s; bare ASGI {rates['bare']:8.0f}"
                f" ({rates['served'] / rates['bare']:.2f}x)"
            )


def _wrk(wrk: str, script: Path, port: int) -> float:
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{WRK_S}s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
    )
    if "Non-2xx" in done.stdout:
        raise SystemExit(done.stdout)
    line = next(line for line in done.stdout.splitlines() if line.startswith("Requests/sec"))
    return float(line.split()[1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--http", action="store_true", help="also measure over HTTP with wrk")
    arguments.add_argument("--port", type=int, default=18379)
    chosen = arguments.parse_args()
    measure_protocol()
    if chosen.http:
        measure_http(chosen.port)


if __name__ == "__main__":
    main()
