"""botocore against the protocol code, both ways, for every operation of its model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import QueryParser
from botocore.serialize import QuerySerializer

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault, fault_shape
from cachefleet.api.protocol.model import load_model
from cachefleet.api.protocol.query import RequestParser, parse_form
from cachefleet.api.protocol.xml import ResponseSerializer
from cachefleet.api.registry import Params, Result, action
from tests.parity.shapes import Generator, service_model
from tests.unit.api.driver import make_app

SERVICE = service_model()
OPERATIONS = tuple(SERVICE.operation_names)
SEEDS = range(8)
REQUEST_ID = "5a5f1c1e-0000-4000-8000-000000000000"
START_TIMEOUT_S = 30.0

PARSER = RequestParser(load_model())
SERIALIZER = ResponseSerializer(load_model())


def chance_of(seed: int) -> float:
    """The first seed takes every member, the second only what is required."""
    return {0: 1.1, 1: -0.1}.get(seed, 0.5)


def botocore_body(name: str, params: dict[str, Any]) -> bytes:
    request = QuerySerializer().serialize_to_request(params, SERVICE.operation_model(name))
    prepared = AWSRequest(
        method="POST", url="http://localhost/", data=request["body"], headers=request["headers"]
    ).prepare()
    body = prepared.body
    return body if isinstance(body, bytes) else str(body).encode()


def test_every_operation_of_botocore_is_in_the_model() -> None:
    model = load_model()
    assert set(model.operations) == set(OPERATIONS)
    assert not model.unsupported
    assert len(OPERATIONS) >= 77


@pytest.mark.parametrize("name", OPERATIONS)
def test_parses_what_botocore_sends(name: str) -> None:
    shape = SERVICE.operation_model(name).input_shape
    for seed in SEEDS:
        params = Generator(seed, chance=chance_of(seed), is_input=True).value(shape)
        fields = parse_form(botocore_body(name, params))
        assert fields["Action"] == name
        assert PARSER.parse(name, fields) == params, f"seed {seed}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_botocore_parses_what_is_answered(name: str) -> None:
    operation, shape = load_model().operations[name], SERVICE.operation_model(name).output_shape
    for seed in SEEDS:
        result = (
            {}
            if shape is None
            else Generator(seed, chance=chance_of(seed), is_input=False).value(shape)
        )
        document = SERIALIZER.response(operation, result, REQUEST_ID)
        parsed = QueryParser().parse({"status_code": 200, "headers": {}, "body": document}, shape)
        assert parsed.pop("ResponseMetadata")["RequestId"] == REQUEST_ID
        assert parsed == result, f"seed {seed}"


@pytest.mark.parametrize("name", sorted(load_model().faults))
def test_botocore_recognises_every_fault(name: str) -> None:
    fault = Fault(name, "it is <not> so & so\x00")
    shape = SERVICE.shape_for(name)
    document = SERIALIZER.error(
        code=fault.code, message=fault.message, status=fault.status, request_id=REQUEST_ID
    )
    parsed = QueryParser().parse(
        {"status_code": fault.status, "headers": {}, "body": document},
        SERVICE.operation_model("DescribeCacheClusters").output_shape,
    )
    assert parsed["Error"]["Code"] == shape.metadata["error"]["code"]
    assert parsed["Error"]["Message"] == "it is <not> so & so\ufffd"
    assert parsed["Error"]["Type"] == "Sender"
    assert parsed["ResponseMetadata"] == {
        "RequestId": REQUEST_ID,
        "HTTPStatusCode": shape.metadata["error"]["httpStatusCode"],
        "HTTPHeaders": {},
    }
    assert fault_shape(shape.metadata["error"]["code"]).code == fault.code


@action("DescribeCacheClusters")
async def describe_cache_clusters(ctx: RequestContext, params: Params) -> Result:
    if "CacheClusterId" in params:
        raise Fault("CacheClusterNotFoundFault", f"not found: {params['CacheClusterId']}")
    return {"CacheClusters": [{"CacheClusterId": f"{ctx.account}-{ctx.region}", "CacheNodes": []}]}


@action("DeleteCacheSubnetGroup")
async def delete_cache_subnet_group(ctx: RequestContext, params: Params) -> Result:
    assert params == {"CacheSubnetGroupName": "gone"}
    return None


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = make_app(describe_cache_clusters, delete_cache_subnet_group)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    )
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not server.started:
                assert not task.done()
                await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def test_boto3_client_over_http(url: str) -> None:
    def converse() -> None:
        client = boto3.client(
            "elasticache",
            endpoint_url=url,
            region_name="eu-west-3",
            aws_access_key_id="123456789012",
            aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 0}),
        )
        try:
            answer = client.describe_cache_clusters()
            assert answer["CacheClusters"] == [
                {"CacheClusterId": "123456789012-eu-west-3", "CacheNodes": []}
            ]
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            assert headers["x-amzn-requestid"] == answer["ResponseMetadata"]["RequestId"]
            assert headers["content-type"] == "text/xml"
            client.delete_cache_subnet_group(CacheSubnetGroupName="gone")
            with pytest.raises(client.exceptions.CacheClusterNotFoundFault) as refused:
                client.describe_cache_clusters(CacheClusterId="x")
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
            with pytest.raises(ClientError, match="NotImplemented") as missing:
                client.describe_events()
            assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        finally:
            client.close()

    await asyncio.to_thread(converse)
