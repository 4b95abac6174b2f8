"""S3 and KMS for tests: moto's server on a port of this machine, and clients of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@dataclass(frozen=True)
class Cloud:
    """Where the services are."""

    url: str

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a client of a service."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def bucket(self, name: str, region: str = REGION) -> str:
        """Make a bucket."""
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client("s3", region).create_bucket(
            Bucket=name, **({} if region == REGION else elsewhere)
        )
        return name

    def keys(self, bucket: str) -> list[str]:
        """Return the keys of a bucket's objects."""
        listed = self.client("s3").list_objects_v2(Bucket=bucket)
        return [entry["Key"] for entry in listed.get("Contents", ())]

    def body(self, bucket: str, key: str) -> bytes:
        """Return an object."""
        return bytes(self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())

    def put(self, bucket: str, key: str, body: bytes) -> str:
        """Write an object; return its ARN."""
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
        return f"arn:aws:s3:::{bucket}/{key}"


@contextlib.contextmanager
def serving_cloud() -> Iterator[Cloud]:
    """Give the services; whoever is to use them is told so and given credentials."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Cloud(f"http://{host}:{port}")
    finally:
        server.stop()


@contextlib.contextmanager
def credentials() -> Iterator[None]:
    """Give servers that are started meanwhile credentials for the services."""
    with mock.patch.dict(os.environ, CREDENTIALS):
        yield


@contextlib.contextmanager
def running_cloud() -> Iterator[Cloud]:
    """Give the services; servers that are started meanwhile have credentials for them."""
    with credentials(), serving_cloud() as cloud:
        yield cloud
