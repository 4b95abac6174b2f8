"""Every option, once: command line over environment (``CACHEFLEET_*``) over ``cachefleet.toml``."""

from __future__ import annotations

import ipaddress
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from cachefleet.api.settings import ApiSettings
from cachefleet.engine.discovery import EngineSettings
from cachefleet.provisioner.settings import ProvisionerSettings
from cachefleet.provisioner.state.addresses import LoopbackPool, PortsPool
from cachefleet.provisioner.state.master_key import FILE_NAME

SETTINGS_FILE = "cachefleet.toml"
DATABASE_FILE = "cachefleet.db"
POOL_ADDRESSES_MIN = 4  # the two ends of the network are never given


PEERS_MAX = 8
_PEER = re.compile(r"(?P<region>[a-z0-9-]{1,32})=(?P<url>https?://[^\s/?#@]{1,255})/?", re.ASCII)


def parse_peers(text: str) -> dict[str, str]:
    """Return endpoints by region, of ``eu-west-1=http://127.0.0.1:9379,...``.

    Raises:
        ValueError: it is not of that form, a region is named twice, or there are too many.
    """
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        peer = _PEER.fullmatch(part)
        if peer is None:
            raise ValueError(f"a peer is REGION=http://HOST:PORT, not {part}")
        if peer["region"] in found:
            raise ValueError(f"{peer['region']} has one peer")
        found[peer["region"]] = peer["url"]
    if len(found) > PEERS_MAX:
        raise ValueError(f"there are {PEERS_MAX} peers at most")
    return found


class Settings(BaseSettings):
    """What a cachefleet can be told."""

    model_config = SettingsConfigDict(
        env_prefix="CACHEFLEET_", toml_file=SETTINGS_FILE, extra="forbid"
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8379
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    data_dir: Path = Path("~/.local/share/cachefleet")
    database_url: str | None = None
    ephemeral: bool = False
    endpoint_mode: Literal["auto", "loopback", "ports"] = "auto"
    endpoint_network: str = "127.100.0.0/16"
    endpoint_host: str = "127.0.0.1"
    endpoint_names: Literal["addresses", "hosts", "dns"] = "addresses"
    endpoint_domain: Annotated[
        str, Field(pattern=r"^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){0,3}$", max_length=100)
    ] = "cachefleet.internal"
    dns_port: Annotated[int, Field(ge=0, le=65_535)] = 8353
    hosts_file: Path = Path("/etc/hosts")
    port_range: str = "20000-29999"
    auth: Literal["off", "enforce"] = "off"
    account_id: Annotated[str, Field(pattern=r"^\d{12}$")] = "000000000000"
    default_region: str = "us-east-1"
    allow_reset: bool = False
    allow_faults: bool = False
    serverless_gb_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 30)] = 1 << 30
    master_key_file: Path | None = None
    enforce_security_groups: bool = False
    ec2_endpoint_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2048)] | None = (
        None
    )
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    valkey_server: str | None = None
    redis_server: str | None = None
    memcached: str | None = None
    memcached_flavor: Literal["bundled", "stock"] = "bundled"
    snapshot_store: str | None = None
    s3_endpoint_url: str | None = None
    kms_endpoint_url: str | None = None
    secretsmanager_endpoint_url: str | None = None
    memory_dir: Path | None = None
    cloudwatch_endpoint_url: (
        Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2048)] | None
    ) = None
    cloudwatch_namespace: Annotated[
        str, Field(pattern=r"^[0-9A-Za-z.\-_/#:]+$", max_length=255)
    ] = "AWS/ElastiCache"
    sns_endpoint_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2048)] | None = (
        None
    )
    failover_timeout_s: Annotated[float, Field(ge=0.1, le=600)] = 1.0
    log_endpoint: str = "folder"
    peers: Annotated[str, Field(max_length=4096)] = ""
    peer_secret_file: Path | None = None
    service_update_days: Annotated[int, Field(ge=0, le=3650)] | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))

    @field_validator("port_range")
    @classmethod
    def _is_a_range(cls, value: str) -> str:
        first, _, last = value.partition("-")
        if not (first.isdigit() and last.isdigit() and 1024 <= int(first) <= int(last) <= 65_535):
            raise ValueError("a port range is FIRST-LAST between 1024 and 65535")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                backend = make_url(value).get_backend_name()
            except ArgumentError:
                backend = ""
            if backend not in ("postgresql", "sqlite"):
                raise ValueError("a database URL is postgresql://user:password@host:port/name")
        return value

    @field_validator("log_endpoint")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        if value not in ("folder", "aws") and not value.startswith(("http://", "https://")):
            raise ValueError("a log endpoint is folder, aws, or a URL")
        return value

    @field_validator("peers")
    @classmethod
    def _are_peers(cls, value: str) -> str:
        parse_peers(value)
        return value

    @field_validator("endpoint_network")
    @classmethod
    def _is_loopback(cls, value: str) -> str:
        network = ipaddress.ip_network(value)
        if not isinstance(network, ipaddress.IPv4Network) or not network.is_loopback:
            raise ValueError("the endpoint network has to lie in 127.0.0.0/8")
        if network.num_addresses < POOL_ADDRESSES_MIN:
            raise ValueError(f"the endpoint network needs {POOL_ADDRESSES_MIN} addresses or more")
        return value

    @model_validator(mode="after")
    def _peering(self) -> Settings:
        if self.default_region in self.peer_regions:
            raise ValueError(f"peers: {self.default_region} is the region of this cachefleet")
        if self.peers and self.peer_secret_file is None:
            raise ValueError("peers: they are spoken to under a secret; give peer_secret_file")
        return self

    @property
    def peer_regions(self) -> dict[str, str]:
        """Return where the cachefleets are that have other regions, by region."""
        return parse_peers(self.peers)

    @model_validator(mode="after")
    def _places(self) -> Settings:
        if self.ephemeral and "data_dir" not in self.model_fields_set:
            self.data_dir = Path(tempfile.mkdtemp(prefix="cachefleet-"))
        self.data_dir = self.data_dir.expanduser().absolute()
        return self

    @property
    def url(self) -> str:
        """Return the database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir / DATABASE_FILE}"

    @property
    def master_key_path(self) -> Path:
        """Return where the key is that secrets are sealed with."""
        return (self.master_key_file or self.data_dir / FILE_NAME).expanduser().absolute()

    @property
    def readonly_url(self) -> str:
        """Return the database's URL for those who only look: nothing is made where it leads."""
        if self.database_url is not None:
            return self.database_url
        return f"sqlite:///file:{quote(str(self.data_dir / DATABASE_FILE))}?mode=ro&uri=true"

    def provisioner_settings(self) -> ProvisionerSettings:
        """Return what the provisioner is told."""
        return ProvisionerSettings(
            data_dir=self.data_dir,
            pool=self._pool(),
            engines=EngineSettings(
                valkey_server=self.valkey_server,
                redis_server=self.redis_server,
                memcached=self.memcached,
                memcached_flavor=self.memcached_flavor,
            ),
            ephemeral=self.ephemeral,
            master_key_file=self.master_key_path,
            failover_timeout_s=self.failover_timeout_s,
            log_endpoint=self.log_endpoint,
            endpoint_domain=None if self.endpoint_names == "addresses" else self.endpoint_domain,
            snapshot_store=self.snapshot_store,
            s3_endpoint_url=self.s3_endpoint_url,
            kms_endpoint_url=self.kms_endpoint_url,
            secretsmanager_endpoint_url=self.secretsmanager_endpoint_url,
            region=self.default_region,
            memory_dir=self.memory_dir,
            allow_faults=self.allow_faults or self.ephemeral,
            serverless_gb_bytes=self.serverless_gb_bytes,
        )

    def api_settings(self) -> ApiSettings:
        """Return what the front-end is told."""
        return ApiSettings(
            host=self.host,
            auth=self.auth,
            master_key_path=self.master_key_path,
            enforce_security_groups=self.enforce_security_groups,
            account_id=self.account_id,
            default_region=self.default_region,
            s3_endpoint_url=self.s3_endpoint_url,
            kms_endpoint_url=self.kms_endpoint_url,
            allow_faults=self.allow_faults or self.ephemeral,
            allow_reset=self.allow_reset or self.ephemeral,
            endpoint_names=self.endpoint_names,
            endpoint_domain=self.endpoint_domain,
            serverless_gb_bytes=self.serverless_gb_bytes,
        )

    def _pool(self) -> LoopbackPool | PortsPool:
        mode = self.endpoint_mode
        if mode == "auto":
            # Only Linux answers on all of 127.0.0.0/8 without being told to.
            mode = "loopback" if sys.platform == "linux" else "ports"
        if mode == "loopback":
            return LoopbackPool(ipaddress.IPv4Network(self.endpoint_network))
        first, _, last = self.port_range.partition("-")
        return PortsPool(self.endpoint_host, int(first), int(last))
