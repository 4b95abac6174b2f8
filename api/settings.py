"""Settings of the front-end. Each is also an environment variable, ``CACHEFLEET_<NAME>``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Names = Annotated[tuple[str, ...], NoDecode]

BODY_BYTES_MAX = 1 << 20  # the largest sensible request (500 shards) is a third of this
HEADER_BYTES_MAX = 32 << 10  # a session token is a few kilobytes
QUERY_BYTES_MAX = 64 << 10
BODY_TIMEOUT_S = 30.0


class ApiSettings(BaseSettings):
    """How the front-end listens, whom it trusts, and its limits."""

    model_config = SettingsConfigDict(env_prefix="CACHEFLEET_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1", description="The address that the API listens on.")
    auth: Literal["off", "enforce"] = Field(
        default="off", description="Whether request signatures are verified."
    )
    account_id: str = Field(
        default="000000000000",
        pattern=r"^[0-9]{12}$",
        description="The account of requests whose access key id is not itself an account.",
    )
    default_region: str = Field(
        default="us-east-1",
        pattern=r"^[a-z0-9-]{1,32}$",
        description="The region of requests that carry no credential scope.",
    )
    allow_faults: bool = Field(
        default=False, description="Whether faults may be injected (`/v1/faults`)."
    )
    allowed_hosts: Names = Field(
        default=(
            "localhost",
            "*.localhost",
            "127.0.0.1",
            "::1",
            "elasticache.*.amazonaws.com",
            "elasticache-fips.*.amazonaws.com",
        ),
        description="Host names that requests may be addressed to; * stands for one label. "
        "The address that the API listens on is always allowed.",
    )
    allowed_origins: Names = Field(
        default=(),
        description="Web origins beside our own that may send requests, "
        "such as http://localhost:5173.",
    )
    s3_endpoint_url: str | None = Field(
        default=None, description="Where S3 is, for exports and seeds; none is AWS itself."
    )
    kms_endpoint_url: str | None = Field(
        default=None, description="Where KMS is, for encryption keys; none is AWS itself."
    )
    master_key_path: Path | None = Field(
        default=None, description="Where the key is that secrets are sealed with; none keeps none."
    )
    allow_reset: bool = Field(
        default=False, description="Whether `POST /v1/reset` may remove every resource."
    )
    enforce_security_groups: bool = Field(
        default=False, description="Whether VPC security groups say who reaches caches."
    )
    endpoint_names: Literal["addresses", "hosts", "dns"] = Field(
        default="addresses", description="Whether endpoints are answered by address or by name."
    )
    serverless_gb_bytes: int = Field(
        default=1 << 30,
        ge=1 << 20,
        le=1 << 30,
        description="What counts as one GB in the limits of serverless caches.",
    )
    endpoint_domain: str = Field(
        default="cachefleet.internal", description="What the names of endpoints end in."
    )
    access_log: bool = Field(default=True, description="Whether each request is logged.")
    request_rate_max: float | None = Field(
        default=None, gt=0, description="Requests a second of one account; more are throttled."
    )
    request_burst_max: int = Field(
        default=100,
        gt=0,
        description="Requests that an account may send at once before it is throttled.",
    )
    body_bytes_max: int = Field(default=BODY_BYTES_MAX, gt=0, description="Largest request body.")
    header_bytes_max: int = Field(
        default=HEADER_BYTES_MAX, gt=0, description="Largest sum of a request's header fields."
    )
    query_bytes_max: int = Field(default=QUERY_BYTES_MAX, gt=0, description="Longest query string.")
    body_timeout_s: float = Field(
        default=BODY_TIMEOUT_S, gt=0, description="How long a request's body may take to arrive."
    )

    @field_validator("allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value
