"""Values that the Valkey tests begin with; each test changes what it is about."""

from __future__ import annotations

from typing import Any

from cachefleet.engine.types import Engine, EngineBinary
from cachefleet.engine.valkey.config import ValkeyConfig


def binary(
    kind: Engine = Engine.VALKEY, version: tuple[int, ...] = (9, 1, 2), **fields: Any
) -> EngineBinary:
    defaults: dict[str, Any] = {"tls": True, "source": "path", "detail": "", "argv": ("/engine",)}
    return EngineBinary(kind=kind, version=version, **{**defaults, **fields})


def config(**fields: Any) -> ValkeyConfig:
    defaults: dict[str, Any] = {
        "directory": "/nodes/a",
        "binds": ("127.0.5.1",),
        "port": 6379,
        "unix_socket": "/nodes/a/s",
        "announce_host": "127.0.5.1",
        "admin_user": "admin",
        "admin_password_sha256": "a" * 64,
        "binary": binary(),
    }
    return ValkeyConfig(**{**defaults, **fields})
