"""Clients of the services that data and keys may lie in. One a service, endpoint and region."""

from __future__ import annotations

import functools
import threading
from typing import Any

import boto3
from botocore.config import Config

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 30.0
ATTEMPTS_MAX = 4

_making = threading.Lock()  # the library's session is not made for several threads


def aws_client(service: str, endpoint_url: str | None, region: str) -> Any:
    """Return a client; credentials come from where the library looks for them."""
    with _making:
        return _client(service, endpoint_url, region)


@functools.lru_cache(maxsize=64)
def _client(service: str, endpoint_url: str | None, region: str) -> Any:
    return boto3.session.Session().client(
        service,
        endpoint_url=endpoint_url,
        region_name=region,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
            # An endpoint by address has no names of buckets in front of it.
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        ),
    )
