"""Auto discovery in front of a stock memcached, however the bytes arrive.

A small memcached stands behind the interceptor: it reads what was forwarded with a framing of
its own and answers as memcached does, so a reply out of order or a request torn apart shows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachefleet.engine.gateway.discovery import Discovery, render_cluster_config
from cachefleet.engine.gateway.interception import WireViolation
from cachefleet.engine.gateway.memcached_text import LINE_BYTES_MAX, PENDING_MAX

PAYLOAD = b"12\na.cfg|10.0.0.1|11211 b.cfg||11211\n"
CONFIG = b"CONFIG cluster 0 %d\r\n%b\r\nEND\r\n" % (len(PAYLOAD), PAYLOAD)
LEGACY = b"VALUE AmazonElastiCache:cluster 0 %d\r\n%b\r\n" % (len(PAYLOAD), PAYLOAD)
VERSION = b"VERSION 1.6.18\r\n"


class TextNode:
    """What a memcached would say, for requests that the tests use; data blocks by length."""

    def __init__(self) -> None:
        self.unread = b""
        self.values: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> bytes:
        self.unread += data
        out = []
        while (end := self.unread.find(b"\n")) >= 0:
            words = self.unread[:end].removesuffix(b"\r").split(b" ")
            rest = self.unread[end + 1 :]
            if words[0] in (b"set", b"ms"):
                size = int(words[4 if words[0] == b"set" else 2])
                if len(rest) < size + 2:
                    break
                self.values[words[1]], rest = rest[:size], rest[size + 2 :]
                quiet = words[-1] in (b"noreply", b"q")
                out.append(b"" if quiet else b"STORED\r\n" if words[0] == b"set" else b"HD\r\n")
            else:
                out.append(self.answer(words))
            self.unread = rest
        return b"".join(out)

    def answer(self, words: list[bytes]) -> bytes:
        match words[0]:
            case b"get" | b"gets" | b"gat" | b"gats":
                keys = words[2:] if words[0].startswith(b"gat") else words[1:]
                return b"".join(self.found(key) for key in keys) + b"END\r\n"
            case b"mg":
                value = self.values.get(words[1])
                if value is None:
                    return b"" if b"q" in words else b"EN\r\n"
                return b"VA %d\r\n%b\r\n" % (len(value), value)
            case b"version":
                return VERSION
            case b"stats":
                return b"STAT version 1.6.18\r\nEND\r\n"
            case _:
                return b"ERROR\r\n"

    def found(self, key: bytes) -> bytes:
        value = self.values.get(key)
        return b"" if value is None else b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value)


TRICKY = b"VERSION 9\r\nEND\r\nconfig get cluster\r\n"
SET_TRICKY = b"set k 0 0 %d\r\n%b\r\n" % (len(TRICKY), TRICKY)
GOT_TRICKY = b"VALUE k 0 %d\r\n%b\r\n" % (len(TRICKY), TRICKY)

CASES = [
    pytest.param(b"config get cluster\r\n", CONFIG, id="config"),
    pytest.param(b"config get cluster\n", CONFIG, id="bare-line-feed"),
    pytest.param(b" config  get   cluster \r\n", CONFIG, id="spaces"),
    pytest.param(b"config get other\r\n", b"END\r\n", id="other-key"),
    pytest.param(b"config get x cluster\r\n", CONFIG, id="two-keys"),
    pytest.param(b"config get\r\n", b"ERROR\r\n", id="no-key"),
    pytest.param(b"config\r\n", b"ERROR\r\n", id="bare-config"),
    pytest.param(b"config delete cluster\r\n", b"ERROR\r\n", id="delete-is-refused"),
    pytest.param(
        b"config set cluster 0 9\r\nversion\r\n\r\nversion\r\n",
        b"ERROR\r\n" + VERSION,
        id="set-is-refused-with-its-block",
    ),
    pytest.param(
        b"config set cluster 0 1\r\nx\r\nset k 0 0 1\r\ny\r\nget k\r\n",
        b"ERROR\r\nSTORED\r\nVALUE k 0 1\r\ny\r\nEND\r\n",
        id="only-the-refused-block-is-dropped",
    ),
    pytest.param(b"get AmazonElastiCache:cluster\r\n", LEGACY + b"END\r\n", id="legacy"),
    pytest.param(
        b"gets AmazonElastiCache:cluster\r\n",
        LEGACY.replace(b"\r\n", b" 12\r\n", 1) + b"END\r\n",
        id="legacy-gets-carries-the-version",
    ),
    pytest.param(
        b"gat 60 AmazonElastiCache:cluster\r\n", LEGACY + b"END\r\n", id="legacy-get-and-touch"
    ),
    pytest.param(
        SET_TRICKY + b"get x AmazonElastiCache:cluster k\r\n",
        b"STORED\r\n" + LEGACY + GOT_TRICKY + b"END\r\n",
        id="legacy-beside-others",
    ),
    pytest.param(b"get AmazonElastiCache:clusters\r\n", b"END\r\n", id="not-quite-legacy"),
    pytest.param(b"mg AmazonElastiCache:cluster v\r\n", b"EN\r\n", id="meta-get-is-not-legacy"),
    pytest.param(
        b"version\r\nconfig get cluster\r\nversion\r\n",
        VERSION + CONFIG + VERSION,
        id="the-clients-own-version",
    ),
    pytest.param(b"version please\r\n", VERSION, id="version-with-words"),
    pytest.param(
        SET_TRICKY + b"get k\r\nconfig get cluster\r\n",
        b"STORED\r\n" + GOT_TRICKY + b"END\r\n" + CONFIG,
        id="value-that-looks-like-protocol",
    ),
    pytest.param(
        b"ms k 18\r\nconfig get cluster\r\nmg k v\r\nconfig get cluster\r\n".replace(
            b"cluster\r\nmg", b"cluster\r\n\r\nmg"
        ).replace(b"18", b"20"),
        b"HD\r\nVA 20\r\nconfig get cluster\r\n\r\n" + CONFIG,
        id="meta-set",
    ),
    pytest.param(
        b"set k 0 0 1 noreply\r\nx\r\nms j 1 q\r\ny\r\nmg none v q\r\n"
        b"config get cluster\r\nget j\r\n",
        CONFIG + b"VALUE j 0 1\r\ny\r\nEND\r\n",
        id="quiet-commands-do-not-shift",
    ),
    pytest.param(b"set k 0 0 0\r\n\r\nversion\r\n", b"STORED\r\n" + VERSION, id="empty-value"),
    pytest.param(b"stats\r\nconfig get cluster\r\n", b"STAT version 1.6.18\r\nEND\r\n" + CONFIG,
                 id="stats"),
    pytest.param(b"dance\r\n\r\nconfig get cluster\r\n", b"ERROR\r\nERROR\r\n" + CONFIG,
                 id="errors"),
]  # fmt: skip


def play(pieces: Iterable[bytes], *, reply_step: int = 1 << 20) -> bytes:
    """Return what the client gets when the pieces arrive one by one."""
    session, node = Discovery(lambda: PAYLOAD), TextNode()
    out: list[bytes] = []
    for piece in pieces:
        reply = node.feed(session.client_sent(piece))
        steps = range(0, len(reply), reply_step)
        out.extend(session.backend_sent(reply[n : n + reply_step]) for n in steps)
    out.append(session.backend_finished())
    return b"".join(out)


@pytest.mark.parametrize(("wire", "replies"), CASES)
def test_same_answers_however_the_bytes_arrive(wire: bytes, replies: bytes) -> None:
    assert play([wire]) == replies
    assert play([bytes([byte]) for byte in wire]) == replies
    assert play([wire], reply_step=1) == replies
    trailed = play([wire + b"get ne", b"xt\r\n"])
    assert trailed == replies + b"END\r\n"


@settings(max_examples=200)
@given(st.lists(st.sampled_from([case.values[0] for case in CASES]), max_size=8), st.data())
def test_pipelines_cut_anywhere(wires: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(wires)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) if a < b]
    replies = play(pieces, reply_step=data.draw(st.integers(1, 64)))
    # One at a time, on a connection where nothing can get out of order.
    assert replies == play(wires)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_what_is_not_asked_for_passes_untouched(noise: bytes, step: int) -> None:
    # Nothing that intercepts can be spelled without these letters.
    wire = b"x" + noise.translate(None, b"cgv")
    session = Discovery(lambda: PAYLOAD)
    passed = [session.client_sent(wire[n : n + step]) for n in range(0, len(wire), step)]
    assert b"".join(passed) + session.client_finished() == wire


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=20))
def test_noise_never_breaks_anything_but_the_connection(pieces: list[bytes]) -> None:
    session = Discovery(lambda: PAYLOAD)
    try:
        for piece in pieces:
            session.client_sent(piece)
            session.backend_sent(piece)
        session.client_finished()
        session.backend_finished()
    except WireViolation:
        pass


MALFORMED = [
    pytest.param(b"set k 0 0 x\r\n", id="size-not-a-number"),
    pytest.param(b"set k 0 0 -1\r\n", id="negative-size"),
    pytest.param(b"set k 0 0 1_0\r\n", id="underscore"),
    pytest.param(b"set k 0 0 2147483647\r\n", id="huge-size"),
    pytest.param(b"set k -1 0 4\r\n", id="negative-flags"),
    pytest.param(b"set k 4294967296 0 4\r\n", id="flags-too-large"),
    pytest.param(b"set k 0 2147483648 4\r\n", id="expiry-too-large"),
    pytest.param(b"set k 0 4\r\n", id="too-few-words"),
    pytest.param(b"set k 0 0 4 noreply x\r\n", id="too-many-words"),
    pytest.param(b"set " + b"k" * 251 + b" 0 0 4\r\n", id="endless-key"),
    pytest.param(b"cas k 0 0 4 x\r\n", id="cas-not-a-number"),
    pytest.param(b"ms k\r\n", id="meta-set-without-size"),
    pytest.param(b"ms k S4\r\n", id="meta-set-old-size"),
    pytest.param(b"ms " + b"k" * 251 + b" 4\r\n", id="meta-set-endless-key"),
    pytest.param(b"mset k 0 0 4\r\n", id="no-such-command"),
    pytest.param(b"set\tk 0 0 4 4\r\n", id="tab-is-no-space"),
    pytest.param(b"set k 0 0\0 4\r\n", id="nul-ends-the-line"),
]


@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_store_has_no_block(line: bytes) -> None:
    session = Discovery(lambda: PAYLOAD)
    assert session.client_sent(line + b"config get cluster\r\n") == line + b"version\r\n"
    assert session.backend_sent(b"ERROR\r\n" + VERSION) == b"ERROR\r\n" + CONFIG


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"set k 0 0 20\r\n", id="set"),
        pytest.param(b"add k 0 -1 20 noreply\r\n", id="add"),
        pytest.param(b"append k 4294967295 0 +20\r\n", id="append"),
        pytest.param(b"cas k 0 0 20 18446744073709551615\r\n", id="cas"),
        pytest.param(b"set k 0 0 20\0 5 6 7\r\n", id="nul-ends-the-line"),
        pytest.param(b"cas k 0 0 20 7 noreply\r\n", id="cas-noreply"),
        pytest.param(b"ms k 20 T0 F1 q\r\n", id="meta-set"),
    ],
)
def test_a_block_is_never_read_as_requests(line: bytes) -> None:
    wire = line + b"config get cluster\r\n" + b"\r\n" + b"config get cluster\r\n"
    session = Discovery(lambda: PAYLOAD)
    assert session.client_sent(wire) == line + b"config get cluster\r\n\r\nversion\r\n"


def test_a_line_without_end_is_passed_on_and_the_next_one_is_read() -> None:
    session = Discovery(lambda: PAYLOAD)
    endless = b"get " + b"k" * LINE_BYTES_MAX
    sent = b"".join(session.client_sent(endless[n : n + 999]) for n in range(0, len(endless), 999))
    assert sent == endless
    assert session.client_sent(b"config get cluster\r\n") == b"config get cluster\r\n"
    assert session.client_sent(b"config get cluster\r\n") == b"version\r\n"


def test_an_endless_reply_line_ends_the_connection() -> None:
    session = Discovery(lambda: PAYLOAD)
    session.client_sent(b"stats\r\n")
    with pytest.raises(WireViolation, match="endless line"):
        session.backend_sent(b"x" * (LINE_BYTES_MAX + 1))


def test_a_client_that_never_reads_its_answers_is_stopped() -> None:
    session = Discovery(lambda: b"1\n" + b"h" * 60_000 + b"\n")
    with pytest.raises(WireViolation, match="unanswered"):
        session.client_sent(b"config get cluster\r\n" * 100)
    session = Discovery(lambda: PAYLOAD)
    with pytest.raises(WireViolation, match="unanswered"):
        session.client_sent(b"version\r\n" * (PENDING_MAX + 1))
    session = Discovery(lambda: PAYLOAD)
    with pytest.raises(WireViolation, match="too many times"):
        session.client_sent(b"config get" + b" cluster" * 5000 + b"\r\n")


def test_the_payload_is_the_one_of_the_moment() -> None:
    payloads = iter([b"1\na||1\n", b"2\na||1 b||1\n"])
    session = Discovery(lambda: next(payloads))
    session.client_sent(b"config get cluster\r\n")
    session.client_sent(b"config get cluster\r\n")
    answers = session.backend_sent(VERSION * 2)
    assert answers.index(b"1\na||1\n") < answers.index(b"2\na||1 b||1\n")


def test_the_clients_version_is_asked_in_the_form_that_is_always_answered() -> None:
    session = Discovery(lambda: PAYLOAD)
    assert session.client_sent(b"version please\r\nversion\r\n") == b"version\r\n" * 2


def test_a_backend_that_speaks_first_is_heard() -> None:
    session = Discovery(lambda: PAYLOAD)
    assert session.backend_sent(b"ERROR Too many open connections\r\n").startswith(b"ERROR Too")


def test_what_was_held_goes_out_at_the_end() -> None:
    session = Discovery(lambda: PAYLOAD)
    assert session.client_sent(b"quit\r\nget ha") == b"quit\r\n"
    assert session.client_finished() == b"get ha"
    assert session.client_finished() == b""
    assert session.backend_sent(b"SERVER_ERROR ha") == b""
    assert session.backend_finished() == b"SERVER_ERROR ha"


def test_the_sample_of_the_service() -> None:
    nodes = [
        ("myCluster.pc4ldq.0002.use1.cache.amazonaws.com", "10.80.249.27", 11211),
        ("myCluster.pc4ldq.0001.use1.cache.amazonaws.com", "10.82.235.120", 11211),
    ]
    payload = render_cluster_config(12, nodes)
    assert payload == (
        "12\nmyCluster.pc4ldq.0001.use1.cache.amazonaws.com|10.82.235.120|11211 "
        "myCluster.pc4ldq.0002.use1.cache.amazonaws.com|10.80.249.27|11211\n"
    )
    session = Discovery(payload.encode)
    session.client_sent(b"config get cluster\r\n")
    answer = session.backend_sent(VERSION)
    assert answer.startswith(b"CONFIG cluster 0 136\r\n12\nmyCluster")
    assert answer.endswith(b"|11211\n\r\nEND\r\n")
    assert render_cluster_config(1, [("h", "", 1)]) == "1\nh||1\n"


# The binary protocol.

NOOP = 0x0A


def packet(
    magic: int, opcode: int, *, key: bytes = b"", extras: bytes = b"", value: bytes = b"",
    opaque: int = 7, status: int = 0, cas: int = 0,
) -> bytes:  # fmt: skip
    body = extras + key + value
    return (
        struct.pack(
            "!BBHBBHIIQ", magic, opcode, len(key), len(extras), 0, status, len(body), opaque, cas
        )
        + body
    )


def ask(opcode: int, *, key: bytes = b"", extras: bytes = b"", value: bytes = b"",
        opaque: int = 7) -> bytes:  # fmt: skip
    return packet(0x80, opcode, key=key, extras=extras, value=value, opaque=opaque)


def binary_node(forwarded: bytes) -> bytes:
    """Answer whole packets: NOOP as itself, GETQ not at all, all else with an empty success."""
    out = b""
    while forwarded:
        _, opcode, _, _, _, _, body, opaque, _ = struct.unpack_from("!BBHBBHIIQ", forwarded)
        forwarded = forwarded[24 + body :]
        if opcode not in (0x09, 0x0D, 0x11):
            out += packet(0x81, opcode, opaque=opaque, value=b"" if opcode == NOOP else b"ok")
    return out


def test_a_packet_passes_whole() -> None:
    session = Discovery(lambda: PAYLOAD)
    refused = ask(0x64, key=b"cluster", value=b"x")
    stored = ask(0x01, key=b"k", extras=bytes(8), value=b"y")
    assert session.client_sent(refused + stored) == ask(NOOP) + stored


LEGACY_KEY = b"AmazonElastiCache:cluster"
FLAGS = bytes(4)
BINARY_CASES = [
    pytest.param(
        ask(0x60, key=b"cluster", opaque=9),
        packet(0x81, 0x60, extras=FLAGS, value=PAYLOAD, opaque=9),
        id="config-get",
    ),
    pytest.param(
        ask(0x60, key=b"other"),
        packet(0x81, 0x60, value=b"Not found", status=1),
        id="config-get-other",
    ),
    pytest.param(
        ask(0x64, key=b"cluster", extras=bytes(8), value=b"x" * 50),
        packet(0x81, 0x64, value=b"Unknown command", status=0x81),
        id="config-set-is-refused",
    ),
    pytest.param(
        ask(0x64, key=b"cluster", value=b"x") + ask(0x01, key=b"k", value=b"y"),
        packet(0x81, 0x64, value=b"Unknown command", status=0x81) + packet(0x81, 0x01, value=b"ok"),
        id="only-the-refused-body-is-dropped",
    ),
    pytest.param(
        ask(0x00, key=LEGACY_KEY[:10], value=LEGACY_KEY[10:]),
        packet(0x81, 0x00, value=b"ok"),
        id="legacy-key-is-only-a-part",
    ),
    pytest.param(
        ask(0x66, key=b"cluster"),
        packet(0x81, 0x66, value=b"Unknown command", status=0x81),
        id="config-delete-is-refused",
    ),
    pytest.param(
        ask(0x00, key=LEGACY_KEY),
        packet(0x81, 0x00, extras=FLAGS, value=PAYLOAD, cas=12),
        id="legacy-get",
    ),
    pytest.param(
        ask(0x0D, key=LEGACY_KEY),
        packet(0x81, 0x0D, extras=FLAGS, key=LEGACY_KEY, value=PAYLOAD, cas=12),
        id="legacy-getkq",
    ),
    pytest.param(
        ask(NOOP, opaque=1) + ask(0x60, key=b"cluster", opaque=2) + ask(NOOP, opaque=3),
        packet(0x81, NOOP, opaque=1)
        + packet(0x81, 0x60, extras=FLAGS, value=PAYLOAD, opaque=2)
        + packet(0x81, NOOP, opaque=3),
        id="the-clients-own-noop",
    ),
    pytest.param(
        ask(0x01, key=b"k", extras=bytes(8), value=ask(0x60, key=b"cluster"))
        + ask(0x09, key=b"k")
        + ask(0x60, key=b"cluster"),
        packet(0x81, 0x01, value=b"ok") + packet(0x81, 0x60, extras=FLAGS, value=PAYLOAD),
        id="value-that-looks-like-a-packet",
    ),
    pytest.param(
        ask(0x00, key=b"B" * len(LEGACY_KEY)), packet(0x81, 0x00, value=b"ok"), id="same-length"
    ),
]


def play_binary(pieces: Iterable[bytes], *, reply_step: int = 1 << 20) -> bytes:
    session = Discovery(lambda: PAYLOAD)
    reply = binary_node(b"".join(session.client_sent(piece) for piece in pieces))
    steps = range(0, len(reply), reply_step)
    return b"".join(session.backend_sent(reply[n : n + reply_step]) for n in steps)


@pytest.mark.parametrize(("wire", "replies"), BINARY_CASES)
def test_binary_same_answers_however_the_bytes_arrive(wire: bytes, replies: bytes) -> None:
    assert play_binary([wire]) == replies
    assert play_binary([bytes([byte]) for byte in wire], reply_step=1) == replies
    more = ask(0x00, key=b"next")
    trailed = play_binary([wire + more[:10], more[10:]])
    assert trailed == replies + packet(0x81, 0x00, value=b"ok")


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(ask(0x0A) + b"get a\r\n", id="text-after-binary"),
        pytest.param(ask(0x60, key=b"k" * 300), id="endless-config-key"),
        pytest.param(ask(0x64, value=b"x" * 70_000), id="endless-refused-body"),
        pytest.param(struct.pack("!BBHBBHIIQ", 0x80, 0, 9, 0, 0, 0, 3, 0, 0), id="key-over-body"),
    ],
)
def test_binary_violations_end_the_connection(wire: bytes) -> None:
    with pytest.raises(WireViolation):
        Discovery(lambda: PAYLOAD).client_sent(wire)


def test_binary_backend_that_loses_its_way_ends_the_connection() -> None:
    session = Discovery(lambda: PAYLOAD)
    session.client_sent(ask(0x60, key=b"cluster"))
    with pytest.raises(WireViolation, match="left the binary protocol"):
        session.backend_sent(b"ERROR\r\n")


def test_binary_what_was_held_goes_out_at_the_end() -> None:
    session = Discovery(lambda: PAYLOAD)
    assert session.client_sent(ask(0x00)[:20]) == b""
    assert session.client_finished() == ask(0x00)[:20]
    assert session.backend_sent(packet(0x81, 0x00)[:20]) == b""
    assert session.backend_finished() == packet(0x81, 0x00)[:20]
