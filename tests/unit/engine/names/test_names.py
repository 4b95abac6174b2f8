"""Names as the service shapes them, a server that knows them, and a block in a hosts file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from cachefleet.engine.names.hosts import with_block, write_block
from cachefleet.engine.names.server import answer, serve_names
from cachefleet.engine.names.shapes import (
    Place,
    configuration_name,
    node_name,
    primary_name,
    reader_name,
    region_code,
)

PLACE = Place(account="000000000000", region="us-east-1", domain="test.internal")
CODE = PLACE.code
DOMAIN = "cachefleet.internal"
NAMES = {f"demo.{DOMAIN}": "127.100.0.7", f"six.{DOMAIN}": "::1"}


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("us-east-1", "use1"),
        ("eu-west-2", "euw2"),
        ("ca-central-1", "cac1"),
        ("ap-southeast-1", "apse1"),
        ("us-gov-west-1", "usgw1"),
    ],
)
def test_regions(region: str, code: str) -> None:
    assert region_code(region) == code


def test_names_are_shaped_like_the_services() -> None:
    tail = "use1.cache.test.internal"
    assert primary_name("rg", tls=False, place=PLACE) == f"rg.{CODE}.ng.0001.{tail}"
    assert primary_name("rg", tls=True, place=PLACE) == f"master.rg.{CODE}.{tail}"
    assert reader_name("rg", tls=False, place=PLACE) == f"rg-ro.{CODE}.ng.0001.{tail}"
    assert reader_name("rg", tls=True, place=PLACE) == f"replica.rg.{CODE}.{tail}"
    named = [
        configuration_name("c", memcached=memcached, tls=tls, place=PLACE)
        for memcached, tls in ((True, False), (False, False), (False, True))
    ]
    assert named == [
        f"c.{CODE}.cfg.{tail}",
        f"c.{CODE}.clustercfg.{tail}",
        f"clustercfg.c.{CODE}.{tail}",
    ]
    assert node_name("m", "0002", group=None, tls=True, place=PLACE) == f"m.{CODE}.0002.{tail}"
    assert node_name("rg-001", "0001", group="rg", tls=True, place=PLACE) == (
        f"rg-001.rg.{CODE}.{tail}"
    )


def test_code_is_of_account_and_region() -> None:
    other = Place(account="000000000001", region="us-east-1", domain="x")
    assert len(CODE) == 6
    assert other.code != CODE
    assert Place(account="000000000000", region="us-east-1", domain="y").code == CODE


def _ask(name: str, kind: str = "A") -> DNSRecord:
    reply = answer(DNSRecord.question(name, kind).pack(), DOMAIN, NAMES.get)
    assert reply is not None
    return DNSRecord.parse(reply)


def test_answers_what_it_knows_whatever_the_case() -> None:
    for name in (f"demo.{DOMAIN}", f"DEMO.{DOMAIN.upper()}."):
        reply = _ask(name)
        assert [str(row.rdata) for row in reply.rr] == ["127.100.0.7"]
        assert reply.header.aa
    assert [str(row.rdata) for row in _ask(f"six.{DOMAIN}", "AAAA").rr] == ["::1"]


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        (f"demo.{DOMAIN}", "AAAA", "NOERROR"),
        (f"demo.{DOMAIN}", "MX", "NOERROR"),
        (DOMAIN, "A", "NOERROR"),
        (f"other.{DOMAIN}", "A", "NXDOMAIN"),
        ("example.com", "A", "REFUSED"),
        (f"not{DOMAIN}", "A", "REFUSED"),
    ],
)
def test_has_no_answer(name: str, kind: str, code: str) -> None:
    reply = _ask(name, kind)
    assert (RCODE.get(reply.header.rcode), reply.rr) == (code, [])
    has_authority = [QTYPE.get(row.rtype) for row in reply.auth] == ["SOA"]
    assert has_authority == (code != "REFUSED")


@pytest.mark.parametrize("query", [b"", b"short", b"\x00" * 12, b"\xff" * 40, b"\x00" * 500])
def test_survives_what_is_no_query(query: bytes) -> None:
    reply = answer(query, DOMAIN, NAMES.get)
    assert reply is None or len(reply) >= 12


def test_does_not_answer_answers() -> None:
    packed = _ask(f"demo.{DOMAIN}").pack()
    assert answer(packed, DOMAIN, NAMES.get) is None


@pytest.mark.anyio
async def test_serves_both_transports_on_one_port() -> None:
    async with serve_names("127.0.0.1", 0, domain=DOMAIN, lookup=NAMES.get) as port:
        question = DNSRecord.question(f"demo.{DOMAIN}")
        for tcp in (False, True):
            reply = await asyncio.to_thread(question.send, "127.0.0.1", port, tcp=tcp, timeout=20)
            assert str(DNSRecord.parse(reply).short()) == "127.100.0.7"


def test_block_is_put_in_changed_and_taken_out() -> None:
    before = "127.0.0.1 localhost\n"
    with_one = with_block(before, {"b": "127.0.0.2", "a": "127.0.0.3"})
    assert "127.0.0.3 a\n127.0.0.2 b\n" in with_one
    assert with_one.startswith(before)
    assert with_block(with_one, {"a": "127.0.0.3", "b": "127.0.0.2"}) == with_one
    assert with_block(with_one, {}) == before
    assert with_block("no end", {"a": "127.0.0.3"}).startswith("no end\n")


def test_file_keeps_what_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    write_block(path, {"a": "127.0.0.3"})
    inode = path.stat().st_ino
    write_block(path, {})
    assert path.read_text() == "127.0.0.1 localhost\n"
    assert path.stat().st_ino == inode  # it may be mounted
