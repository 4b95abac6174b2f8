"""``Idempotency-Key``: a request that changes something is done once, however often it is sent.

What was answered is written in the very transaction that made the change, so that there is never
one without the other. The same key with other parameters is refused; what was refused is not kept,
so a corrected request may use the key again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.provisioner.state import idempotency
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.store import Transaction

ATTEMPTS_MAX = 3  # the same key sent twice at once: the second finds what the first has written
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kept:
    """What was answered to a key."""

    status: int
    body: bytes
    is_replay: bool


class OneTransaction:
    """A store whose transactions are all the one that is open already."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    @contextlib.asynccontextmanager
    async def begin(self, _: object) -> AsyncIterator[Transaction]:
        yield self._transaction
        await self._transaction.flush()

    read = begin


def key_of(header: bytes) -> str:
    """Return the key in a header.

    Raises:
        Fault: it is empty, too long, or not printable.
    """
    text = header.decode("latin-1").strip()
    if not _KEY.fullmatch(text):
        raise Fault(
            "InvalidParameterValueException",
            "An Idempotency-Key is 1 to 255 printable ASCII characters.",
        )
    return text


async def once(
    context: RequestContext,
    key: str,
    what: str,
    params: Mapping[str, Any],
    act: Callable[[RequestContext], Awaitable[tuple[int, bytes]]],
) -> Kept:
    """Return what *act* answers, or what it answered when the key was first sent.

    Raises:
        Fault: the key was sent with another request, or *act* refused.
    """
    digest = _digest(what, params)
    for attempt in range(ATTEMPTS_MAX):
        try:
            return await _once(context, key, digest, act)
        except Stale:
            if attempt == ATTEMPTS_MAX - 1:
                raise
    raise AssertionError("unreachable")


async def _once(
    context: RequestContext,
    key: str,
    digest: str,
    act: Callable[[RequestContext], Awaitable[tuple[int, bytes]]],
) -> Kept:
    async with context.begin() as tx:
        row = await idempotency.find(tx, key)
        if row is not None:
            if row.request_digest != digest:
                raise Fault(
                    "IdempotentParameterMismatch",
                    "The Idempotency-Key was sent with another request.",
                )
            return Kept(row.status, row.body.encode(), is_replay=True)
        status, body = await act(context.within(OneTransaction(tx)))
        idempotency.keep(tx, key, request_digest=digest, status=status, body=body.decode())
        return Kept(status, body, is_replay=False)


def _digest(what: str, params: Mapping[str, Any]) -> str:
    text = json.dumps([what, params], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
