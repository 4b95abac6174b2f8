"""A DNS server for endpoint names: authoritative for one domain, over UDP and TCP.

It answers what it knows at the moment it is asked, with a short lifetime, and refuses every other
domain: it resolves nothing for anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

from dnslib import AAAA, QTYPE, RCODE, RR, SOA, A, DNSError, DNSHeader, DNSRecord

TTL_S: Final = 1
MESSAGE_BYTES_MAX: Final = 4096
TCP_IDLE_S: Final = 10.0
TCP_CLIENTS_MAX: Final = 64

# Returns the address of a name in lower case, or None.
Lookup = Callable[[str], str | None]


def answer(query: bytes, domain: str, lookup: Lookup) -> bytes | None:
    """Return the reply to a query; None to what is no query at all."""
    try:
        request = DNSRecord.parse(query)
    except (DNSError, ValueError, IndexError):
        if len(query) < 12:
            return None
        identity = int.from_bytes(query[:2], "big")
        return cast("bytes", DNSRecord(DNSHeader(id=identity, qr=1, rcode=RCODE.FORMERR)).pack())
    if request.header.qr or len(request.questions) != 1:
        return None
    reply = request.reply(ra=0, aa=1)
    name = str(request.q.qname).rstrip(".").lower()
    if name != domain and not name.endswith(f".{domain}"):
        reply.header.rcode = RCODE.REFUSED
        reply.header.aa = 0
        return cast("bytes", reply.pack())
    address = lookup(name)
    kind = QTYPE.get(request.q.qtype, "")
    if address is not None and kind in ("A", "ANY") and ":" not in address:
        reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=TTL_S))
    elif address is not None and kind in ("AAAA", "ANY") and ":" in address:
        reply.add_answer(RR(request.q.qname, QTYPE.AAAA, rdata=AAAA(address), ttl=TTL_S))
    else:
        if address is None and name != domain:
            reply.header.rcode = RCODE.NXDOMAIN
        reply.add_auth(_authority(domain))
    return cast("bytes", reply.pack())


def _authority(domain: str) -> RR:
    times = (1, 60, 60, 60, TTL_S)
    soa = SOA(f"ns.{domain}", f"hostmaster.{domain}", times)
    return RR(domain, QTYPE.SOA, rdata=soa, ttl=TTL_S)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, domain: str, lookup: Lookup) -> None:
        self._domain = domain
        self._lookup = lookup
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(data, self._domain, self._lookup)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def serve_names(host: str, port: int, *, domain: str, lookup: Lookup) -> AsyncIterator[int]:
    """Answer queries while the block lasts; gives the port, the same for UDP and TCP.

    Raises:
        OSError: the address cannot be listened on.
    """
    clients: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(clients) >= TCP_CLIENTS_MAX:
            writer.close()
            return
        clients.add(task)
        try:
            await _converse(reader, writer, domain, lookup)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # whoever asks by TCP may go at any time
        finally:
            clients.discard(task)
            writer.close()

    server = await asyncio.start_server(client, host, port)
    bound: int = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(domain, lookup), local_addr=(host, bound)
        )
    except OSError:
        server.close()
        raise
    try:
        yield bound
    finally:
        transport.close()
        server.close()
        for task in clients:
            task.cancel()


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str, lookup: Lookup
) -> None:
    while True:
        async with asyncio.timeout(TCP_IDLE_S):
            length = int.from_bytes(await reader.readexactly(2), "big")
            if length > MESSAGE_BYTES_MAX:
                return
            reply = answer(await reader.readexactly(length), domain, lookup)
            if reply is None:
                return
            writer.write(len(reply).to_bytes(2, "big") + reply)
            await writer.drain()
