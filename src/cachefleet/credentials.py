"""``cachefleet credentials``: the access keys of this fleet, for people at a terminal.

Works on the database itself, with or without a server that runs. A secret is printed once, when
its key is made, in a form that a shell can read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from cachefleet.control_plane import open_store
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.state import access_keys
from cachefleet.provisioner.state.access_keys import KeyPair, KeyScope, TooManyKeys
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.master_key import (
    MasterKey,
    UnusableMasterKey,
    ensure_master_key,
)
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.serving import CannotStart
from cachefleet.settings import Settings

NO_SCOPE = Scope("", "")

T = TypeVar("T")


class CannotManage(Exception):
    """What was asked for cannot be done; the message is one line."""


def create(settings: Settings, *, account: str, scope: KeyScope) -> KeyPair:
    """Make a key pair."""
    return _with_key(
        settings, lambda tx, key: access_keys.create(tx, key, account=account, scope=scope)
    )


def rotate(settings: Settings, access_key_id: str, *, overlap: timedelta) -> KeyPair:
    """Make a key in the place of another, which stays good for *overlap*."""
    return _with_key(
        settings, lambda tx, key: access_keys.rotate(tx, key, access_key_id, overlap=overlap)
    )


def delete(settings: Settings, access_key_id: str) -> None:
    """Make a key worthless."""
    _with_key(settings, lambda tx, _: access_keys.delete(tx, access_key_id))


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return what may be shown of every key."""

    async def rows(tx: Transaction, _: MasterKey) -> list[dict[str, Any]]:
        return [
            {
                "access_key_id": row.access_key_id,
                "account": row.account,
                "scope": row.scope,
                "created_at": row.created_at.isoformat(timespec="seconds"),
                "expires_at": row.expires_at and row.expires_at.isoformat(timespec="seconds"),
            }
            for row in await access_keys.listed(tx)
        ]

    return _with_key(settings, rows)


def shown_once(pair: KeyPair, *, as_json: bool) -> str:
    """Return the text that hands a new key over."""
    named = {
        "AWS_ACCESS_KEY_ID": pair.access_key_id,
        "AWS_SECRET_ACCESS_KEY": pair.secret_access_key,
    }
    if as_json:
        return json.dumps({**named, "account": pair.account, "scope": pair.scope.value})
    return "\n".join(f"{name}={value}" for name, value in named.items())


def _with_key(settings: Settings, work: Callable[[Transaction, MasterKey], Awaitable[T]]) -> T:
    async def run() -> T:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ensure_master_key(settings.master_key_path)
        clock = SystemClock()
        async with (
            open_store(settings, clock, patient=True) as store,
            store.begin(NO_SCOPE) as tx,
        ):
            return await work(tx, key)

    try:
        return asyncio.run(run())
    except NotFound as error:
        raise CannotManage(f"there is no access key {error.name}") from error
    except OSError as error:
        raise CannotManage(f"cannot use {settings.data_dir}: {error.strerror}") from error
    except (CannotStart, TooManyKeys, UnusableMasterKey) as error:
        raise CannotManage(str(error)) from error
