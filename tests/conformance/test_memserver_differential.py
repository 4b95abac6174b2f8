"""Random conversations with our server and with memcached 1.6.18: every byte the same.

What may differ is written in docs/memcached.md; a generator here avoids exactly that. Each
request is followed by ``mn`` (or a no-op packet), which makes memcached send what it has:
it lets go of the items it was answering with, whose being held shows in later replies.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator

import pytest

from cachefleet.engine.memserver.server import PURE_VARIABLE
from tests.unit.engine.memserver.processes import (
    connect,
    exchange,
    memcached,
    our_server,
    read_to_close,
    read_until,
)

pytestmark = pytest.mark.engine

SEEDS = range(12)
REQUESTS = 150
PLAIN_REQUESTS = 300
KEYS = [b"a", b"b", b"counter", b"key:1", b"K" * 250, b"\xc3\xa9", b"n"]
LAPSING = re.compile(rb"[ TN](-|25920|1x?[ \r]|5[ \r]|007|[+]3|6[ \r])|gats 0")
BAD_SIZES = [b"-1", b"x", b"0", b"1x", b"18446744073709551616"]  # none waits for more data
COUNTED = [
    b"curr_items",
    b"total_items",
    b"cmd_get",
    b"cmd_set",
    b"cmd_flush",
    b"cmd_touch",
    b"cmd_meta",
    b"get_hits",
    b"get_misses",
    b"delete_misses",
    b"delete_hits",
    b"incr_misses",
    b"incr_hits",
    b"decr_misses",
    b"decr_hits",
    b"cas_misses",
    b"cas_hits",
    b"cas_badval",
    b"touch_hits",
    b"touch_misses",
    b"bytes",
    b"limit_maxbytes",
    b"store_too_large",
    b"get_expired",
]
COUNTED_BY_CLASS = re.compile(
    rb"^STAT (\d+:(?:get_hits|cmd_set|delete_hits|incr_hits|decr_hits|cas_hits|cas_badval"
    rb"|touch_hits|chunk_size|used_chunks) \d+)", re.MULTILINE
)  # fmt: skip
TIMES = re.compile(rb"( t| l|exp=|la=)-?\d+")


@pytest.fixture(scope="module", name="ports")
def _ports() -> Iterator[tuple[int, int]]:
    with our_server() as ours, memcached() as theirs:
        yield ours, theirs


def value(dice: random.Random) -> bytes:
    kind = dice.randrange(6)
    if kind == 0:
        return b"%d" % dice.choice([0, 1, 9, 10, 99, 2**63, 2**64 - 1, dice.randrange(10**6)])
    if kind == 1:
        return dice.choice([b"", b" 7", b"12 x", b"-1", b"+5", b"7x", b"0" * 22 + b"7"])
    if kind == 2:
        return dice.randbytes(dice.randrange(200))
    if kind == 3:
        return b"line\r\nset a 0 0 1\r\nx\r\n"
    return b"v" * dice.choice([1, 10, 100, 1000, 3000])


def key(dice: random.Random) -> bytes:
    return dice.choice(KEYS)


def number(dice: random.Random) -> bytes:
    usual = [b"0", b"1", b"5", b"100", b"18446744073709551615"]
    odd = [b"-1", b"x", b"", b"1x", b"18446744073709551616", b"4294967296", b"+3", b"007"]
    return dice.choice(usual if dice.random() < 0.8 else odd)


def storage(dice: random.Random) -> bytes:
    verb = dice.choice([b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend", b"cas"])
    data = value(dice)
    size = b"%d" % len(data) if dice.random() < 0.93 else dice.choice(BAD_SIZES)
    flags = dice.choice([b"0", b"0", b"7", b"4294967295", number(dice)])
    exptime = dice.choice([b"0", b"0", b"0", b"1000", b"-1", b"2592001", number(dice)])
    words = [verb, key(dice), flags, exptime, size]
    if verb == b"cas":
        words.append(b"%d" % dice.randrange(60))
    if dice.random() < 0.1:
        words.append(dice.choice([b"noreply", b"noreplyy"]))
    return b" ".join(words) + b"\r\n" + data + b"\r\n"


def retrieval(dice: random.Random) -> bytes:
    verb = dice.choice([b"get", b"get", b"gets", b"gat 100", b"gats 0", b"bget", b"gat x"])
    keys = [key(dice) for _ in range(dice.choice([0, 1, 1, 1, 2, 5, 30]))]
    if dice.random() < 0.03:
        keys.append(b"k" * 251)
    blank = b" " if dice.random() < 0.9 else b"  "
    end = b"\r\n" if dice.random() < 0.9 else b"\n"
    return blank.join([verb, *keys]) + end


def other(dice: random.Random) -> bytes:
    k = key(dice)
    n = number(dice)
    return (
        dice.choice(
            [
                b"incr %b %b" % (k, n),
                b"incr %b %b" % (k, n),
                b"decr %b %b" % (k, n),
                b"incr %b 1 noreply" % k,
                b"delete %b" % k,
                b"delete %b 0" % k,
                b"delete %b noreply" % k,
                b"delete %b 5" % k,
                b"delete %b 0 noreply" % k,
                b"touch %b %b" % (k, n),
                b"touch %b 100 noreply" % k,
                b"verbosity %b" % dice.choice([b"0", b"x", b""]),
                b"version",
                b"flush_all",
                b"flush_all noreply",
                b"flush_all x",
                b"flush_all -5",
                b"cache_memlimit 5",
                b"cache_memlimit 64",
                b"nonsense %b" % k,
                b"",
                b"x",
                b"shutdown",
                b"stats nosuch",
                b"stats cachedump 1",
                b"stats detail",
                b"lru tune 10 20 0.1",
                b"lru mode segmented",
                b"slabs reassign 1 1",
                b"slabs automove 1",
                b"lru_crawler sleep 50",
                b"lru_crawler nosuch",
                b"verbosity",
                b"set %b 0 0" % k,
                b"incr %b" % k,
                b"get %b\0tail" % k,
            ]
        )
        + b"\r\n"
    )


def meta(dice: random.Random) -> bytes:
    verb = dice.choice([b"mg", b"mg", b"mg", b"ms", b"ms", b"md", b"ma", b"ma", b"me", b"mx"])
    k = key(dice)
    flags = [
        dice.choice(
            [
                b"v", b"k", b"O123", b"c", b"f", b"s", b"t", b"h", b"q", b"u", b"T100", b"T0",
                b"N60", b"R30", b"R2000", b"F5", b"C%d" % dice.randrange(60), b"I", b"MI", b"MD",
                b"ME", b"MA", b"MP", b"MR", b"MS", b"M+", b"J13", b"D7", b"D" + number(dice),
                b"T" + number(dice), b"b", b"y", b"O" + b"o" * 33,
            ]
        )
        for _ in range(dice.randrange(6))
    ]  # fmt: skip
    if verb == b"mg":
        # memcached leaks a lock when it refuses an opaque here after all; see the docs.
        flags = [flag for flag in flags if len(flag) <= 32]
    if b"b" in flags:
        k = dice.choice([b"Zm9v", b"YQ==", b"Yg==", b"YQ", b"!!!!"])
    words = [verb, k]
    data = value(dice)
    if verb == b"ms":
        words.append(b"%d" % len(data) if dice.random() < 0.95 else dice.choice(BAD_SIZES))
    line = b" ".join(words + flags) + b"\r\n"
    return line + data + b"\r\n" if verb == b"ms" else line


def touched(dice: random.Random) -> bytes:
    """Requests that are counted by what they hit."""
    k = key(dice)
    some = [b"incr %b 1", b"decr %b 2", b"touch %b 1000", b"gat 1000 %b", b"gets %b", b"delete %b"]
    return dice.choice(some) % k + b"\r\n"


def masked(reply: bytes) -> bytes:
    """*reply* without seconds: two servers need not start on the same one."""
    return TIMES.sub(rb"\1_", reply)


def compare(ports: tuple[int, int], requests: list[bytes], sync: bytes, end: bytes) -> int:
    """Send each request to both servers; return how many bytes they answered alike.

    Raises:
        AssertionError: a reply differs.
    """
    alike = 0
    with connect(ports[0]) as ours, connect(ports[1]) as theirs:
        for done, request in enumerate(requests):
            replies = []
            for sock in (ours, theirs):
                sock.sendall(request + sync)
                replies.append(masked(read_until(sock, end)))
            history = requests[max(done - 8, 0) : done]
            assert replies[0] == replies[1], f"{request!r} after {history!r}"
            alike += len(replies[0])
    return alike


def clean(ports: tuple[int, int]) -> None:
    """Both servers empty; CAS numbers stay in step because both saw the same."""
    for port in ports:
        assert exchange(port, b"flush_all\r\n", b"\r\n") == b"OK\r\n"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["classic", "meta", "mixed"])
def test_text_replies_are_memcacheds(seed: int, kind: str) -> None:
    dice = random.Random(f"{kind}-{seed}")
    classic: list[Callable[[random.Random], bytes]] = [storage, storage, retrieval, other]
    makers: dict[str, list[Callable[[random.Random], bytes]]] = {
        "classic": classic,
        "meta": [meta, meta, storage],
        "mixed": [*classic, meta, meta],
    }
    requests = [dice.choice(makers[kind])(dice) for _ in range(REQUESTS)]
    # Both count whole seconds, from different moments, so that now and then one of them has seen
    # an item end that the other still has. What differs for another reason differs each time.
    for last in (False, False, True):
        try:
            # A new pair each time: CAS numbers count every store, refused ones included.
            with our_server() as ours, memcached() as theirs:
                alike = compare((ours, theirs), requests, b"mn\r\n", b"MN\r\n")
            assert alike > REQUESTS * len(b"MN\r\n"), "and most answered more than was added"
        except AssertionError:
            if last:
                raise
        else:
            break


def plain_request(dice: random.Random) -> bytes:
    """A well-formed request of the kind most caches see, with a reply that has an end."""
    k = dice.choice(KEYS)
    kind = dice.randrange(20)
    if kind < 8:
        return b"get " + b" ".join(dice.choices(KEYS, k=dice.choice([1, 1, 1, 2, 5, 20]))) + b"\r\n"
    if kind < 17:
        data = b"v" * dice.choice([0, 3, 3, 3, 3, 12, 3000, 20_000])
        flags = dice.choice([b"0", b"0", b"0", b"7", b"12", b"007", b"4294967295"])
        exptime = dice.choice([b"0", b"0", b"0", b"1000", b"2592000", b"0005000"])
        size = dice.choice([b"%d", b"%d", b"%d", b"0%d"]) % len(data)
        return b" ".join([b"set", k, flags, exptime, size]) + b"\r\n" + data + b"\r\n"
    if kind == 17:
        return b"delete %b\r\n" % k
    if kind == 18:
        return b"ms %b S3 F0 I\r\nabc\r\n" % k
    return b"gets %b\r\n" % k


@pytest.mark.parametrize("pure", ["", "1"], ids=["with-c-module", "without"])
@pytest.mark.parametrize("options", [(), ("-C",)], ids=["cas", "no-cas"])
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_lone_requests_are_answered_as_memcached_does(
    seed: int, options: tuple[str, ...], pure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request alone, its reply awaited: what goes the short ways."""
    monkeypatch.setenv(PURE_VARIABLE, pure)
    dice = random.Random(f"plain-{seed}")
    requests = [plain_request(dice) for _ in range(PLAIN_REQUESTS)]
    replies: list[list[bytes]] = []
    with our_server(*options) as ours, memcached(*options) as theirs:
        for port in (ours, theirs):
            got = []
            with connect(port) as sock:
                for request in requests:
                    sock.sendall(request)
                    got.append(read_until(sock, b"END\r\n" if request[:3] == b"get" else b"\r\n"))
            lines = exchange(port, b"stats\r\n", b"END\r\n").split(b"\r\n")
            rows = dict(line.split(b" ")[1:] for line in lines if line.startswith(b"STAT"))
            got += [name + b" " + rows[name] for name in COUNTED]
            replies.append(got)
    for request, one, another in zip([*requests, *COUNTED], *replies, strict=True):
        assert one == another, request[:100]


HEADER = struct.Struct(">BBHBBHIIQ")
NOOP = HEADER.pack(0x80, 0x0A, 0, 0, 0, 0, 0, 0xFEEDBEEF, 0)
NOOP_REPLY = HEADER.pack(0x81, 0x0A, 0, 0, 0, 0, 0, 0xFEEDBEEF, 0)
QUIET = {0: 9, 1: 0x11, 2: 0x12, 3: 0x13, 4: 0x14, 5: 0x15, 6: 0x16, 0xC: 0xD, 0xE: 0x19, 0xF: 0x1A}


def packet(
    opcode: int, k: bytes = b"", extras: bytes = b"", body: bytes = b"", cas: int = 0
) -> bytes:
    size = len(k) + len(extras) + len(body)
    return HEADER.pack(0x80, opcode, len(k), len(extras), 0, 0, size, 7, cas) + extras + k + body


def binary_request(dice: random.Random) -> bytes:
    opcode = dice.choice(
        [0, 0, 0xC, 1, 1, 1, 2, 3, 4, 5, 5, 6, 0xE, 0xF, 0x1C, 0x1D, 0x1E, 0x23, 0x24, 8, 0xB, 0x77]
    )
    k = key(dice)
    cas = dice.choice([0, 0, 0, dice.randrange(60)])
    exptime = dice.choice([0, 0, 100, 0xFFFFFFFF])
    extras, body = b"", b""
    if opcode in (1, 2, 3):
        extras, body = struct.pack(">II", dice.choice([0, 5]), exptime), value(dice)
    elif opcode in (5, 6):
        extras = struct.pack(">QQI", dice.choice([1, 2**64 - 1, 50]), dice.randrange(99), exptime)
    elif opcode in (0xE, 0xF):
        body = value(dice)
    elif opcode in (0x1C, 0x1D, 0x1E, 0x23, 0x24):
        extras = struct.pack(">I", dice.choice([0, 100]))
    elif opcode in (8, 0xB, 0x77):
        k = b""  # of an unknown opcode memcached skips the key twice; see the docs
    if opcode in QUIET and dice.random() < 0.3:
        opcode = QUIET[opcode]
    return packet(opcode, k, extras, body, cas)


@pytest.mark.parametrize("seed", SEEDS)
def test_binary_replies_are_memcacheds(seed: int) -> None:
    dice = random.Random(seed)
    requests = [binary_request(dice) for _ in range(REQUESTS)]
    with our_server() as ours, memcached() as theirs:
        alike = compare((ours, theirs), requests, NOOP, NOOP_REPLY)
    assert alike > REQUESTS * len(NOOP_REPLY), "and most answered more than was added"


CLOSING = [
    pytest.param(b"quit\r\n", id="quit"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
    pytest.param(b"x" * 3000, id="endless-line"),
    pytest.param(b" " * 200 + b"get " + b"x" * 3000, id="blanks-and-endless-line"),
    pytest.param(b"getx" + b"x" * 3000, id="endless-no-multiget"),
    pytest.param(packet(7), id="binary-quit"),
    pytest.param(packet(0x17), id="binary-quiet-quit"),
    pytest.param(packet(0), id="binary-get-without-key"),
    pytest.param(packet(1, b"k"), id="binary-set-without-extras"),
    pytest.param(packet(0, b"k", b"1234"), id="binary-get-with-extras"),
    pytest.param(packet(0x0A, b"k"), id="binary-noop-with-key"),
    pytest.param(packet(5, b"k", b"12"), id="binary-short-extras"),
    pytest.param(HEADER.pack(0x80, 0, 9, 0, 0, 0, 3, 7, 0) + b"k" * 9, id="binary-key-beyond-body"),
    pytest.param(packet(0x0A) + b"\x12" + NOOP, id="binary-bad-magic"),
]


@pytest.mark.parametrize("request_", CLOSING)
def test_closes_where_memcached_closes(ports: tuple[int, int], request_: bytes) -> None:
    replies = []
    for port in ports:
        with connect(port) as sock:
            sock.sendall(request_)
            replies.append(read_to_close(sock))
    assert replies[0] == replies[1]


STATS_KINDS = [b"", b" settings", b" items", b" slabs"]


@pytest.mark.parametrize("kind", STATS_KINDS)
def test_stats_have_the_same_names_in_the_same_order(ports: tuple[int, int], kind: bytes) -> None:
    names = []
    for port in ports:
        clean(ports)
        exchange(port, b"set a 0 0 1\r\nx\r\n", b"\r\n")
        lines = exchange(port, b"stats" + kind + b"\r\n", b"END\r\n").split(b"\r\n")
        names.append([line.split(b" ")[1] for line in lines if line.startswith(b"STAT")])
    if kind == b" slabs":  # memcached keeps pages of classes that are empty by now
        names = [[name for name in some if name.startswith((b"1:", b"a", b"t"))] for some in names]
    if kind == b" items":
        names = [[name for name in some if name.startswith(b"items:1:")] for some in names]
    assert names[0] == names[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_what_memcached_counts(seed: int) -> None:
    dice = random.Random(f"counts-{seed}")
    makers = [storage, storage, retrieval, meta, touched]
    requests = [dice.choice(makers)(dice) for _ in range(REQUESTS)]
    # What expires at once is counted when it is noticed, by whichever thread that is.
    requests = [one for one in requests if not LAPSING.search(one)]
    requests += [b"set big 0 0 1048576\r\n" + b"x" * 1048576 + b"\r\n"]
    # The maintainer thread holds items that were just read; one that is counted up in that moment
    # is made anew, and counted again. Without it there is one segment, and no hits by segment.
    ours, theirs = counted(requests, "-o", "no_lru_maintainer")
    assert {**ours, b"hits": None} == {**theirs, b"hits": None}
    ours, theirs = counted(requests)
    assert ours[b"hits"] == theirs[b"hits"]


def counted(requests: list[bytes], *options: str) -> list[dict[bytes, object]]:
    """Return what both servers have counted after *requests*; *options* are memcached's."""
    counts: list[dict[bytes, object]] = []
    with our_server() as ours, memcached(*options) as theirs:
        for port in (ours, theirs):
            with connect(port) as sock:
                for request in requests:
                    sock.sendall(request + b"mn\r\n")
                    read_until(sock, b"MN\r\n")
            lines = exchange(port, b"stats\r\n", b"END\r\n").split(b"\r\n")
            rows = dict(line.split(b" ")[1:] for line in lines if line.startswith(b"STAT"))
            slabs = exchange(port, b"stats slabs\r\n", b"END\r\n")
            items = exchange(port, b"stats items\r\n", b"END\r\n")
            counts.append(
                {
                    **{name: rows[name] for name in COUNTED},
                    b"slabs": counts_by_class(slabs),
                    b"hits": hits_by_class(items),
                }
            )
    return counts


def counts_by_class(slabs: bytes) -> list[bytes]:
    """Return what is counted of classes; memcached keeps pages of those that are empty by now."""
    rows = COUNTED_BY_CLASS.findall(slabs)
    told = {row.split(b":")[0] for row in rows if not row.endswith(b" 0") and b"chunk" not in row}
    return [row for row in rows if row.split(b":")[0] in told]


def hits_by_class(items: bytes) -> dict[bytes, int]:
    """Sum up ``hits_to_*``: what is hot and what is warm is not the same in both."""
    sums: dict[bytes, int] = {}
    for slab, hits in re.findall(rb"STAT items:(\d+):hits_to_\w+ (\d+)", items):
        sums[slab] = sums.get(slab, 0) + int(hits)
    return sums


WATCHED = [
    b"get none\r\n", b"set a 5 0 3\r\nabc\r\n", b"get a\r\n", b"get a a none\r\n", b"gets a\r\n",
    b"add a 0 0 1\r\nx\r\n", b"replace z 0 0 1\r\nx\r\n", b"append a 0 0 1\r\nx\r\n",
    b"prepend a 0 0 1\r\nx\r\n", b"cas a 0 0 1 1\r\nx\r\n", b"cas z 0 0 1 1\r\nx\r\n",
    b"set n 0 100 1\r\n1\r\n", b"incr n 1\r\n", b"incr none 1\r\n", b"touch a 100\r\n",
    b"gat 100 a\r\n", b"delete a\r\n", b"delete a\r\n", b"set b%20c 0 0 1\r\nx\r\n",
    b"mg n v t\r\n", b"mg none v\r\n", b"ms m 2 T100\r\nxx\r\n", b"md m\r\n", b"ma n\r\n",
    b"set \xc3\xa9 0 0 1\r\nx\r\n", b"get n n n n\r\n", b"set n 0 0 1\r\n2\r\n", b"get n\r\n",
]  # fmt: skip
UNLIKE = re.compile(rb"ts=\d+\.\d+|gid=\d+|cfd=\d+|rport=\d+")


def test_watchers_are_told_what_memcacheds_are_told() -> None:
    """Who looked up, stored, came and went: line by line, but for times and numbers of sockets."""
    told = []
    with our_server() as ours, memcached() as theirs:
        for port in (ours, theirs):
            with connect(port) as watcher:
                watcher.sendall(b"watch fetchers mutations connevents\r\n")
                got = b""
                while b"OK\r\n" not in got:  # lines of the log may come along with it
                    got += watcher.recv(1 << 16)
                got = got.partition(b"OK\r\n")[2]
                with connect(port) as sock:
                    ours_only = re.compile(rb"rport=%d\b" % sock.getsockname()[1])
                    for request in WATCHED:
                        sock.sendall(request + b"mn\r\n")
                        read_until(sock, b"MN\r\n")
                while not any(
                    b"type=conn_close" in line and ours_only.search(line)
                    for line in got.splitlines()
                ):
                    got += watcher.recv(1 << 16)
                # Who asked whether the server is up may only be leaving.
                lines = [
                    UNLIKE.sub(b"", line)
                    for line in got.splitlines()
                    if b"type=conn_" not in line or ours_only.search(line)
                ]
                told.append(lines)
    assert told[0] == told[1]


def test_a_watcher_that_leaves_gives_the_short_ways_back() -> None:
    with our_server() as port, connect(port) as sock:
        sock.sendall(b"set a 0 0 1\r\nx\r\n")
        read_until(sock, b"\r\n")
        with connect(port) as watcher:
            watcher.sendall(b"watch\r\n")
            read_until(watcher, b"\r\n")
            sock.sendall(b"get a\r\n")
            assert read_until(sock, b"END\r\n") == b"VALUE a 0 1\r\nx\r\nEND\r\n"
            assert b"type=item_get key=a status=found" in read_until(watcher, b"\n")
        for _ in range(3):
            sock.sendall(b"set a 0 0 1\r\ny\r\nget a\r\n")
            assert read_until(sock, b"END\r\n") == b"STORED\r\nVALUE a 0 1\r\ny\r\nEND\r\n"
