"""Where identifiers that nobody chose come from."""

from __future__ import annotations

import secrets
from contextvars import ContextVar

UID_BYTES = 8  # 16 hex digits: short enough for a unix socket path, long enough never to meet
ENGINE_ID_BYTES = 20  # Valkey's cluster node and shard ids: 40 hex digits
SECRET_BYTES = 24

# The request that is being handled: operations that it files carry its id to the provisioner's log.
request_token: ContextVar[str] = ContextVar("request_token", default="")


def new_uid() -> str:
    """Return a row id: 16 hex digits."""
    return secrets.token_hex(UID_BYTES)


def new_engine_id() -> str:
    """Return a cluster node or shard id: 40 hex digits."""
    return secrets.token_hex(ENGINE_ID_BYTES)


def new_secret() -> str:
    """Return the control plane's credential for one node."""
    return secrets.token_hex(SECRET_BYTES)
