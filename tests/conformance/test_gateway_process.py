"""The gateway worker as a process: how it starts, ends and is spoken to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import pytest
import uvloop

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.engine.gateway.listener import CLIENT_KEEPALIVE_S, listening_socket
from cachefleet.engine.gateway.routes import (
    Address,
    RouteTable,
    render_routes,
)
from cachefleet.engine.gateway.server import STOP_S_MAX, Gateway
from cachefleet.engine.gateway.service import met_itself
from tests.conformance.gateways import (
    DEADLINE_S,
    HOST,
    Worker,
    backend,
    connected,
    free_address,
    name_behind,
    named,
    read_to_end,
    tcp,
)

TRIES_MAX = 3


async def test_killed_and_started_again_it_serves_the_same(worker: Worker) -> None:
    listen = free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a))
        async with connected(listen) as streams:
            await streams[0].readline()
            worker.process.send_signal(signal.SIGKILL)
            assert await read_to_end(streams[0]) == b""
            await worker.process.wait()
        with pytest.raises(NodeUnreachable):
            await worker.control.ping()
        assert worker.control_path.exists()
        await worker.start()
        assert await worker.control.ping() == worker.process.pid
        assert await name_behind(listen) == "a"
        assert (await worker.control.status()).version == worker.version


async def test_a_second_gateway_does_not_take_the_first_ones_place(worker: Worker) -> None:
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cachefleet.engine.gateway",
        "--routes", str(worker.routes_path), "--control", str(worker.control_path),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE_S):
            _, said = await second.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            second.kill()
    assert second.returncode == 2
    assert b"another gateway owns" in said
    assert await worker.control.ping() == worker.process.pid


async def test_starts_without_routes_and_says_so(worker: Worker) -> None:
    await worker.end()
    worker.routes_path.unlink()
    await worker.start()
    status = await worker.control.status()
    assert status.version == 0
    assert status.error is not None
    assert "cannot read" in status.error


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
async def test_stops_in_order_with_connections_open(worker: Worker, how: str) -> None:
    listen = free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a))
        async with connected(listen) as streams:
            await streams[0].readline()
            if how == "stop":
                await worker.control.stop()
            else:
                worker.process.send_signal(signal.Signals[how])
            assert await read_to_end(streams[0]) == b""
            said = await worker.stderr()
            assert (await worker.process.wait(), said) == (0, "")
        assert not worker.control_path.exists()


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("turns", range(8))
def test_stops_whatever_it_is_doing_with_a_new_client(
    tmp_path: Path, turns: int, served: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def stop_after_turns() -> float:
        listen = free_address()
        async with contextlib.AsyncExitStack() as stack:
            target = await stack.enter_async_context(backend(named("a")))
            target = target if served else free_address()
            (tmp_path / "routes").write_text(
                render_routes(RouteTable(version=1, routes=(tcp("r", listen, target),)))
            )
            gateway = Gateway(tmp_path / "routes", connections_ceiling=9, clock=time.monotonic)
            await gateway.reload()
            with socket.create_connection((listen.host, listen.port)):
                for _ in range(turns):  # each a step further from the accept to the pump
                    await asyncio.sleep(0)
                began_s = time.monotonic()
                async with asyncio.timeout(DEADLINE_S):
                    await gateway.stop()
            assert gateway.status().connections == 0
            return time.monotonic() - began_s

    took_s = [STOP_S_MAX]
    # A stop that waits for a link takes so long each time, a busy machine now and then.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while took_s[-1] >= STOP_S_MAX and len(took_s) <= TRIES_MAX:
            took_s.append(runner.run(stop_after_turns()))
    assert took_s[-1] < STOP_S_MAX, took_s
    assert "stopped_with_links" not in caplog.text


async def test_the_control_socket_is_private_and_bounded(worker: Worker) -> None:
    assert stat.S_IMODE(worker.control_path.stat().st_mode) == 0o600
    reader, writer = await asyncio.open_unix_connection(str(worker.control_path))
    async with asyncio.timeout(DEADLINE_S):
        writer.write(b"dance\nping\n")
        assert b'"ok": false' in await reader.readline()
        assert b'"ok": true' in await reader.readline()
        writer.write(b"x" * 100_000)
        assert await read_to_end(reader) == b""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_client_library_tells_silence_from_refusal(tmp_path: Path) -> None:
    answers = [b"", b"{", b"[]\n", b'{"ok": true}\n', b'{"ok": "yes", "pid": 1}\n']

    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answers.pop(0))
        writer.close()

    server = await asyncio.start_unix_server(odd, path=str(tmp_path / "odd"))
    control = GatewayControl(tmp_path / "odd", timeout_s=DEADLINE_S)
    while answers:
        with pytest.raises(NodeUnreachable):
            await control.ping()
    server.close()
    with pytest.raises(NodeUnreachable):
        await control.ping()


async def test_a_silent_gateway_is_unreachable_in_time(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, path=str(tmp_path / "silent"))
    with pytest.raises(NodeUnreachable, match="ping"):
        await GatewayControl(tmp_path / "silent", timeout_s=0.05).ping()
    server.close()


def test_accepted_connections_notice_vanished_clients_and_do_not_wait() -> None:
    with (
        listening_socket(Address(HOST, free_address().port)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        listener.settimeout(DEADLINE_S)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            keep_idle_s = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert keep_idle_s == CLIENT_KEEPALIVE_S


def test_a_connection_that_met_itself_is_known() -> None:
    class Ends(asyncio.Transport):
        pass

    mine, yours = ("127.0.0.1", 40000), ("127.0.0.1", 6379)
    assert met_itself(Ends({"sockname": mine, "peername": mine}))
    assert not met_itself(Ends({"sockname": mine, "peername": yours}))
    assert not met_itself(Ends({}))
