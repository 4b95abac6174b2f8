"""What a snapshot is made of, written down beside its files. Pure.

The manifest is the last thing written and the first thing read: files that it does not name, or
that are not as it says, are no part of the snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MANIFEST_FILE = "manifest.json"
FORMAT = 1
MANIFEST_BYTES_MAX = 1 << 20  # 500 shards make some hundred kilobytes


class BadManifest(Exception):
    """The manifest is not one that was written here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFile:
    """One shard's data. ``size_bytes`` and ``sha256`` are of the RDB, sealed or not.

    ``stored_bytes`` and ``stored_sha256`` are of the file as it lies in the store: the same, unless
    it is sealed.
    """

    name: str
    node_group_id: str
    slots: str
    member: str
    size_bytes: int
    sha256: str
    stored_bytes: int
    stored_sha256: str
    sealed: bool
    rdb: str  # REDIS0011, VALKEY080
    keys: int | None  # by the node's own count when the copy began; None where nobody counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A whole snapshot."""

    snapshot: str
    engine: str
    engine_version: str
    cluster_enabled: bool
    created_at: str
    shards: tuple[ShardFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(shard.size_bytes for shard in self.shards)

    def render(self) -> bytes:
        """Return the manifest as it is written."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        BadManifest: it is not one, or newer than this cachefleet.
    """
    try:
        told: Mapping[str, Any] = json.loads(data)
        if told["format"] != FORMAT:
            raise BadManifest(f"its format {told['format']} is not known")
        fields = {name: value for name, value in told.items() if name != "format"}
        shards = tuple(ShardFile(**shard) for shard in fields.pop("shards"))
        return Manifest(**fields, shards=shards)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadManifest("it cannot be read") from error
