"""What the provisioner can be told. The composition root fills it from options and environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cachefleet.engine.discovery import EngineSettings
from cachefleet.provisioner.state.addresses import LoopbackPool, PortsPool
from cachefleet.provisioner.state.master_key import FILE_NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvisionerSettings:
    """Where nodes live, which addresses they get, and how patient we are with them."""

    data_dir: Path
    pool: LoopbackPool | PortsPool
    engines: EngineSettings = field(default_factory=EngineSettings)
    ephemeral: bool = False
    master_key_file: Path | None = None
    operations_at_once_max: int = 16
    # A node that has not served a command for this long after its start has failed to start.
    start_timeout_s: float = 30.0
    # A group or cluster that is not whole after this long has failed to be created.
    create_timeout_s: float = 120.0
    command_timeout_s: float = 2.0
    save_timeout_s: float = 60.0
    failover_timeout_s: float = 1.0
    # Where logs are delivered: "folder", "aws", or the URL of an endpoint.
    log_endpoint: str = "folder"
    # What endpoint names end in; None where endpoints have addresses only.
    endpoint_domain: str | None = None
    # A folder, or s3://bucket/prefix; None is a folder in the data directory.
    snapshot_store: str | None = None
    s3_endpoint_url: str | None = None
    kms_endpoint_url: str | None = None
    secretsmanager_endpoint_url: str | None = None
    region: str = "us-east-1"  # of buckets and keys that are the fleet's own
    # Memory-backed: where nodes live that are encrypted at rest. None: there is no such place.
    memory_dir: Path | None = None
    # What counts as one GB in the limits of serverless caches.
    serverless_gb_bytes: int = 1 << 30
    # Whether faults that people inject are carried out.
    allow_faults: bool = False

    @property
    def master_key_path(self) -> Path:
        """Return where the key is that secrets are sealed with."""
        return self.master_key_file or self.data_dir / FILE_NAME

    @property
    def endpoints_are_bound(self) -> bool:
        """Tell whether moving endpoints are addresses that nodes bind (loopback mode)."""
        return isinstance(self.pool, LoopbackPool)
