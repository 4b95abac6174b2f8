"""How long a token opens a connection: the gateway itself, sockets and all, on a clock of ours."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cachefleet.engine.gateway.iam_keys import SigningKey, render_keys
from cachefleet.engine.gateway.iam_token import signing_key
from cachefleet.engine.gateway.opening import encode
from cachefleet.engine.gateway.routes import (
    Address,
    AuthOptions,
    IamOptions,
    IamUser,
    RouteTable,
    render_routes,
)
from cachefleet.engine.gateway.server import Gateway
from tests.conformance.gateways import (
    DEADLINE_S,
    Streams,
    backend,
    connected,
    echoes,
    free_address,
    read_to_end,
    tcp,
)

USER, PASSWORD, CACHE = "someone", "internal-password", "guarded"
ACCOUNT, REGION, KEY_ID, SECRET = "1" * 12, "eu-west-1", "CFAKEXAMPLE", "secret"
BEGAN = datetime(2025, 1, 1, 6, tzinfo=UTC)
HOURS_MAX = 12


class Hours:
    """A clock that the test turns, and what is to happen by it."""

    def __init__(self) -> None:
        self.now = BEGAN
        self._due: dict[int, tuple[datetime, Callable[[], None]]] = {}
        self._numbers = itertools.count()

    def read(self) -> datetime:
        return self.now

    def timer(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        number = next(self._numbers)
        self._due[number] = (self.now + timedelta(seconds=delay_s), callback)
        return Alarm(self._due, number)

    def turn(self, hours: float) -> None:
        self.now += timedelta(hours=hours)
        for number, (at, callback) in list(self._due.items()):
            if at <= self.now:
                del self._due[number]
                callback()

    @property
    def alarms(self) -> int:
        return len(self._due)


class Alarm:
    def __init__(self, due: dict[int, tuple[datetime, Callable[[], None]]], number: int) -> None:
        self._due = due
        self._number = number

    def cancel(self) -> None:
        self._due.pop(self._number, None)


def token(at: datetime) -> str:
    """Return what a client signs at an instant."""
    day, stamp = at.strftime("%Y%m%d"), at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{day}/{REGION}/elasticache/aws4_request"
    query = (
        f"Action=connect&User={USER}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
        f"{KEY_ID}%2F{scope.replace('/', '%2F')}&X-Amz-Date={stamp}&X-Amz-Expires=900"
        "&X-Amz-SignedHeaders=host"
    )
    empty = hashlib.sha256(b"").hexdigest()
    request = f"GET\n/\n{query}\nhost:{CACHE}\n\nhost\n{empty}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = signing_key(SECRET, day=day, region=REGION)
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    return f"{CACHE}/?{query}&X-Amz-Signature={signature}"


@contextlib.asynccontextmanager
async def opened(tmp_path: Path, hours: Hours) -> AsyncIterator[Address]:
    """A gateway in front of an engine that answers what it is told: an echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    days = [BEGAN.strftime("%Y%m%d"), (BEGAN + timedelta(days=1)).strftime("%Y%m%d")]
    keys, routes, listen = tmp_path / "keys", tmp_path / "routes", free_address()
    keys.write_text(
        render_keys(
            SigningKey(
                access_key_id=KEY_ID,
                account=ACCOUNT,
                region=REGION,
                day=day,
                key=signing_key(SECRET, day=day, region=REGION),
            )
            for day in days
        )
    )
    iam = IamOptions(
        cache_name=CACHE,
        account=ACCOUNT,
        region=REGION,
        keys_path=str(keys),
        users=(IamUser(user_name=USER, password=PASSWORD),),
    )
    async with backend(echo) as engine:
        table = RouteTable(version=1, routes=(tcp("r", listen, engine, auth=AuthOptions(iam=iam)),))
        routes.write_text(render_routes(table))
        gateway = Gateway(
            routes,
            connections_ceiling=16,
            clock=time.monotonic,
            now=hours.read,
            session_timer=hours.timer,
        )
        await gateway.reload()
        try:
            yield listen
        finally:
            await gateway.stop()


async def logs_in(streams: Streams, credential: str) -> bool:
    """Authenticate; tell whether the engine was told the right password."""
    reader, writer = streams
    writer.write(encode([b"AUTH", USER.encode(), credential.encode()]))
    async with asyncio.timeout(DEADLINE_S):
        await reader.readuntil(b"$4\r\nAUTH\r\n")
        told = [await reader.readline() for _ in range(4)]
    return told[3] == PASSWORD.encode() + b"\r\n"


async def is_open(streams: Streams) -> bool:
    async with asyncio.timeout(DEADLINE_S):
        return await echoes(streams)


async def test_a_connection_ends_twelve_hours_after_its_token(tmp_path: Path) -> None:
    hours = Hours()
    async with opened(tmp_path, hours) as listen, connected(listen) as streams:
        assert await logs_in(streams, token(hours.now))
        hours.turn(HOURS_MAX - 0.01)
        assert await is_open(streams)
        hours.turn(0.01)
        assert await read_to_end(streams[0]) == b""


@pytest.mark.parametrize("age_h", [0, 0.2], ids=["fresh", "almost-expired"])
async def test_a_fresh_token_gives_another_twelve_hours(tmp_path: Path, age_h: float) -> None:
    hours = Hours()
    async with opened(tmp_path, hours) as listen, connected(listen) as streams:
        assert await logs_in(streams, token(hours.now))
        hours.turn(11)
        assert await logs_in(streams, token(hours.now - timedelta(hours=age_h)))
        hours.turn(HOURS_MAX - 0.01)
        assert await is_open(streams)
        hours.turn(0.01)
        assert await read_to_end(streams[0]) == b""


async def test_a_token_that_is_no_good_gives_none(tmp_path: Path) -> None:
    hours = Hours()
    async with opened(tmp_path, hours) as listen, connected(listen) as streams:
        first = token(hours.now)
        assert await logs_in(streams, first)
        hours.turn(11)
        assert not await logs_in(streams, first)
        assert not await logs_in(streams, "nonsense")
        hours.turn(1)
        assert await read_to_end(streams[0]) == b""


async def test_who_leaves_is_waited_for_no_more(tmp_path: Path) -> None:
    hours = Hours()
    async with opened(tmp_path, hours) as listen:
        async with connected(listen) as streams:
            assert await logs_in(streams, token(hours.now))
            assert hours.alarms == 1
        async with asyncio.timeout(DEADLINE_S):
            while hours.alarms:
                await asyncio.sleep(0.01)


async def test_who_did_not_come_with_a_token_may_stay(tmp_path: Path) -> None:
    hours = Hours()
    async with opened(tmp_path, hours) as listen, connected(listen) as streams:
        assert await is_open(streams)
        hours.turn(HOURS_MAX * 2)
        assert await is_open(streams)
