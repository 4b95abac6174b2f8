"""TLS at the gateway: what a handshake gets, what plain clients get, and changes under way."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cachefleet.engine.gateway.listener import WELCOME_S_MAX
from cachefleet.engine.gateway.routes import Address, Route, RouteOptions, TlsMode, TlsOptions
from cachefleet.engine.gateway.tls import Contexts, UnusableCertificate, server_context
from tests.conformance.gateways import (
    CONFIG,
    DEADLINE_S,
    Streams,
    Worker,
    backend,
    discovery,
    echoes,
    free_address,
    named,
    read_to_end,
    tcp,
)

NAME = "demo.test"


def write_certificate(folder: Path, *, serial: int, name: str = "tls") -> TlsOptions:
    """A self-signed pair in *folder*; returns required TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return TlsOptions(
        mode=TlsMode.REQUIRED, certificate_path=str(certificate_path), key_path=str(key_path)
    )


def preferred(tls: TlsOptions) -> TlsOptions:
    return TlsOptions(
        mode=TlsMode.PREFERRED, certificate_path=tls.certificate_path, key_path=tls.key_path
    )


@contextlib.asynccontextmanager
async def connected(
    address: Address, tls: TlsOptions | None, *, version: ssl.TLSVersion | None = None
) -> AsyncIterator[Streams]:
    context = None
    if tls is not None:
        context = ssl.create_default_context(cafile=tls.certificate_path)
        if version is not None:
            context.minimum_version = context.maximum_version = version
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=context,
            server_hostname=NAME if context else None,
        )
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


def serial_seen(streams: Streams) -> int:
    der = streams[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_required_serves_tls_and_nothing_else(
    worker: Worker, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a, tls=tls))
        async with connected(listen, tls, version=version) as streams:
            assert await streams[0].readline() == b"a\n"
            assert await echoes(streams)
        async with connected(listen, None) as (reader, writer):
            writer.write(b"PING\r\n")
            assert await read_to_end(reader) == b""
        assert (await worker.control.status()).route("r").refused_total == 1


async def test_older_tls_is_refused(worker: Worker, tmp_path: Path) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    await worker.apply(tcp("r", listen, tls=tls))
    hello = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    hello.check_hostname = False
    hello.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        hello.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        hello.maximum_version = ssl.TLSVersion.TLSv1_1
    hello.set_ciphers("ALL:@SECLEVEL=0")  # else this side refuses before the gateway can
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.open_connection(listen.host, listen.port, ssl=hello)
    assert (await worker.control.status()).route("r").refused_total == 1


async def test_preferred_serves_both_on_one_port(worker: Worker, tmp_path: Path) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(echo) as a:
        await worker.apply(tcp("r", listen, a, tls=preferred(tls)))
        async with connected(listen, tls) as over_tls, connected(listen, None) as in_plain:
            assert await echoes(over_tls)
            assert await echoes(in_plain)
        async with connected(listen, None) as (reader, writer):
            writer.write_eof()  # said nothing at all
            assert await read_to_end(reader) == b""
        status = (await worker.control.status()).route("r")
        assert (status.refused_total, status.backends[0].connections_total) == (1, 2)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_a_mode_change_cuts_only_what_it_forbids(worker: Worker, tmp_path: Path) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(echo) as a:
        await worker.apply(tcp("r", listen, a))
        async with connected(listen, None) as in_plain:
            assert await echoes(in_plain)
            await worker.apply(tcp("r", listen, a, tls=preferred(tls)))
            assert await echoes(in_plain)
            async with connected(listen, tls) as over_tls:
                assert await echoes(over_tls)
                await worker.apply(tcp("r", listen, a, tls=tls))
                assert await read_to_end(in_plain[0]) == b""
                assert await echoes(over_tls)


async def test_a_route_that_listens_no_more_keeps_its_clients(
    worker: Worker, tmp_path: Path
) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(echo) as a:
        route = tcp("r", listen, a, tls=preferred(tls))
        await worker.apply(route)
        async with connected(listen, None) as in_plain, connected(listen, tls) as over_tls:
            assert await echoes(in_plain)
            assert await echoes(over_tls)
            left = replace(route, listen=(), options=RouteOptions())
            await worker.apply(left)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(listen.host, listen.port)
            assert await echoes(in_plain)
            assert await echoes(over_tls)
            await worker.apply(replace(left, options=RouteOptions(tls_only=True)))
            assert await read_to_end(in_plain[0]) == b""
            assert await echoes(over_tls)
            await worker.apply(replace(left, backends=()))
            assert await read_to_end(over_tls[0]) == b""


async def test_a_client_that_was_silent_gets_the_mode_of_when_it_speaks(
    worker: Worker, tmp_path: Path
) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(echo) as a:
        await worker.apply(tcp("r", listen, a, tls=preferred(tls)))
        async with connected(listen, None) as (reader, writer):
            await worker.apply(tcp("r", listen, a, tls=tls))
            writer.write(b"PING\r\n")
            assert await read_to_end(reader) == b""


async def test_a_new_certificate_is_shown_to_new_clients_only(
    worker: Worker, tmp_path: Path
) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(echo) as a:
        await worker.apply(tcp("r", listen, a, tls=tls))
        async with connected(listen, tls) as first:
            assert serial_seen(first) == 1
            write_certificate(tmp_path, serial=2)
            await worker.apply(tcp("r", listen, a, tls=tls))
            async with connected(listen, tls) as second:
                assert serial_seen(second) == 2
                assert await echoes(second)
            assert await echoes(first)


async def test_a_certificate_that_turns_bad_is_reported_and_the_old_one_stays(
    worker: Worker, tmp_path: Path
) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(echo) as a:
        route = tcp("r", listen, a, tls=tls)
        await worker.apply(route)
        before = Path(tls.certificate_path).read_text()
        Path(tls.certificate_path).write_text("nonsense")
        report = await worker.control.reload()
        assert [failure.route for failure in report.failures] == ["r"]
        assert "the one before is served" in report.failures[0].reason
        Path(tls.certificate_path).write_text(before)
        async with connected(listen, tls) as streams:
            assert await echoes(streams)
        assert (await worker.control.reload()).failures == ()


async def test_a_route_without_its_certificate_is_not_served_in_plain(
    worker: Worker, tmp_path: Path
) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    missing = TlsOptions(
        mode=TlsMode.REQUIRED,
        certificate_path=str(tmp_path / "none"),
        key_path=str(tmp_path / "none"),
    )
    async with backend(echo) as a:
        await worker.apply(tcp("r", listen, a))
        worker.write(tcp("r", listen, a, tls=missing))
        report = await worker.control.reload()
        assert "No such file" in report.failures[0].reason
        assert (await worker.control.status()).route("r").listening == ()
        with pytest.raises(ConnectionRefusedError):
            async with connected(listen, None):
                pass
        await worker.apply(tcp("r", listen, a, tls=tls))
        async with connected(listen, tls) as streams:
            assert await echoes(streams)


async def test_much_data_over_tls_arrives_whole(worker: Worker, tmp_path: Path) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    sent = bytes(range(256)) * 65536  # 16 MiB

    async def answer_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(sent)))
        await writer.drain()

    async with backend(answer_and_leave) as a:
        await worker.apply(tcp("r", listen, a, tls=tls))
        async with connected(listen, tls) as (reader, writer):
            writer.write(sent)
            assert await reader.read() == sent


async def test_discovery_over_tls(worker: Worker, tmp_path: Path) -> None:
    async def stock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"VERSION 1\r\n" if line == b"version\r\n" else b"ERROR\r\n")

    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(stock) as node:
        base = discovery(listen, node)
        options = type(base.options)(**{**vars(base.options), "tls": tls})
        await worker.apply(Route(**{**vars(base), "options": options}))
        async with connected(listen, tls) as (reader, writer):
            writer.write(b"config get cluster\r\n")
            assert await reader.readexactly(len(CONFIG)) == CONFIG


async def test_stops_in_order_with_handshakes_under_way(worker: Worker, tmp_path: Path) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(echo) as a:
        await worker.apply(tcp("r", listen, a, tls=tls))
        async with (
            connected(listen, tls) as served,
            connected(listen, None),
            connected(listen, None) as half,
        ):
            half[1].write(b"\x16\x03")
            assert await echoes(served)
            async with asyncio.timeout(WELCOME_S_MAX / 2):
                await worker.end()


def test_routes_share_contexts_and_unchanged_files_keep_them(tmp_path: Path) -> None:
    contexts, tls = Contexts(), write_certificate(tmp_path, serial=1)
    assert contexts.refresh([tls, preferred(tls)]) == {}
    first = contexts.get(tls)
    assert first is contexts.get(preferred(tls))
    contexts.refresh([tls])
    assert contexts.get(tls) is first
    write_certificate(tmp_path, serial=2)
    contexts.refresh([tls])
    assert contexts.get(tls) is not first
    contexts.refresh([])
    assert not contexts.usable(tls)
    assert contexts.usable(None)


def test_refuses_a_key_that_does_not_belong_or_is_locked(tmp_path: Path) -> None:
    one = write_certificate(tmp_path, serial=1, name="one")
    two = write_certificate(tmp_path, serial=2, name="two")
    mixed = TlsOptions(
        mode=TlsMode.REQUIRED, certificate_path=one.certificate_path, key_path=two.key_path
    )
    with pytest.raises(UnusableCertificate, match=r"one\.crt"):
        server_context(mixed)
    key = serialization.load_pem_private_key(Path(one.key_path).read_bytes(), None)
    Path(one.key_path).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(UnusableCertificate):
        server_context(one)


@contextlib.asynccontextmanager
async def tls_backend(tls: TlsOptions) -> AsyncIterator[Address]:
    """A server that speaks TLS and says everything back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(tls))
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield Address(host, port)


async def test_backends_are_reached_by_tls_if_somebody_vouches_for_them(
    worker: Worker, tmp_path: Path
) -> None:
    own, other = (write_certificate(tmp_path, serial=n, name=f"b{n}") for n in (1, 2))
    listen = free_address()
    async with tls_backend(own) as address:
        for vouches, answered in ((own, b"hello"), (other, b""), (own, b"hello")):
            ca = Path(vouches.certificate_path).read_text()
            await worker.apply(tcp("r", listen, address, backend_ca=ca))
            async with connected(listen, None) as (reader, writer):
                writer.write(b"hello")
                got = b""
                with contextlib.suppress(ConnectionError):
                    got = await reader.read(100)
                assert got == answered


async def test_a_backend_in_plain_is_none_that_somebody_vouches_for(
    worker: Worker, tmp_path: Path
) -> None:
    listen, tls = free_address(), write_certificate(tmp_path, serial=1)
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a, backend_ca=Path(tls.certificate_path).read_text()))
        async with connected(listen, None) as (reader, writer):
            writer.write(b"hello")
            got = b""
            with contextlib.suppress(ConnectionError):
                got = await reader.read(100)
            assert got == b""
