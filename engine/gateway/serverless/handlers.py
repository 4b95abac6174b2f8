"""Commands that are not simply one shard's: what each asks of which shards, and what is answered.

Where the answer is made here, a shard is asked all the same: it knows whether the client is logged
in, whether its user may, and whether the command is well formed.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from cachefleet.engine.gateway.serverless.commands import UNAVAILABLE, refusal, slot_of
from cachefleet.engine.gateway.serverless.picture import cluster_info, merged_info
from cachefleet.engine.gateway.serverless.pubsub import PLAIN, SHARDED
from cachefleet.engine.gateway.serverless.replies import Error, parse, render
from cachefleet.engine.gateway.serverless.requests import encode
from cachefleet.engine.gateway.serverless.upstream import Awaited, Upstream

if TYPE_CHECKING:
    from cachefleet.engine.gateway.serverless.session import Session

Handler = Callable[["Session", list[bytes], bytes], None]

OK: Final = b"+OK\r\n"
SHARD_BITS: Final = 10  # of a cursor; a cache has fewer shards
CURSOR_MAX: Final = 1 << 64
ONLY_READS: Final = b"-READONLY You can't write against a read only replica.\r\n"

# They change the connection: what was sent before is answered first.
BARRIERS: Final = frozenset((b"AUTH", b"HELLO", b"RESET", b"READONLY", b"READWRITE", b"CLIENT"))


# -- the connection --------------------------------------------------------------------------------


def auth(session: Session, words: list[bytes], raw: bytes) -> None:
    """AUTH: the user of this connection, and of those to other shards."""
    words = session.service.swapped(session, words)

    def logged_in(reply: bytes) -> bytes:
        session.credentials = tuple(words[1:])
        session.drop_upstreams(keep=session.home())
        return reply

    session.forward_through(words, logged_in, barrier=True)


def hello(session: Session, words: list[bytes], raw: bytes) -> None:
    """HELLO: the protocol, and perhaps the user and the name."""
    words = session.service.swapped(session, words)

    def greeted(reply: bytes) -> bytes:
        if len(words) > 1:
            session.resp3 = words[1] == b"3"
        at = 2
        while at < len(words):
            option = words[at].upper()
            if option == b"AUTH":
                session.credentials = tuple(words[at + 1 : at + 3])
                at += 3
            elif option == b"SETNAME":
                session.name = words[at + 1]
                at += 2
            else:
                break
        session.drop_upstreams(keep=session.home())
        return reply

    session.forward_through(words, greeted, barrier=True)


def reset(session: Session, words: list[bytes], raw: bytes) -> None:
    """RESET: as if just connected."""

    def done(reply: bytes) -> bytes:
        session.drop_upstreams(keep=session.home())
        session.resp3, session.readonly, session.reply_mode = False, False, b"ON"
        session.credentials = session.name = None
        session.transaction.reset()
        session.subscriptions.reset()
        return reply

    session.forward_through(words, done, barrier=True)


def _sets_readonly(session: Session, words: list[bytes], raw: bytes, *, readonly: bool) -> None:
    def done(reply: bytes) -> bytes:
        session.readonly = readonly
        # Each connection to a replica is told when it is opened.
        for address in set(session.upstreams) & session.service.slots.replicas:
            session.drop_upstream(address)
        return reply

    session.forward_through(words, done, barrier=True)


def quit_(session: Session, words: list[bytes], raw: bytes) -> None:
    """QUIT: the last answer."""
    session.end_after(OK)


def client(session: Session, words: list[bytes], raw: bytes) -> None:
    """CLIENT, of which little is left."""
    refused = refusal(words, b"CLIENT")
    what = words[1].upper() if len(words) > 1 else b""
    if refused is not None:
        session.answer(refused)
    elif what == b"REPLY" and len(words) == 3 and words[2].upper() in (b"ON", b"OFF", b"SKIP"):
        _reply_mode(session, words[2].upper())
    elif what == b"SETNAME" and len(words) == 3:

        def named(reply: bytes) -> bytes:
            session.name = words[2] or None
            return reply

        session.forward_through(words, named, barrier=True)
    else:
        session.route(words, raw, b"CLIENT")


def _reply_mode(session: Session, mode: bytes) -> None:
    if mode == b"SKIP":
        if session.reply_mode == b"ON":
            session.reply_mode = b"SKIPPED"  # the next one
        return
    session.reply_mode = mode
    if mode == b"ON":
        session.answer(OK)


def ping(session: Session, words: list[bytes], raw: bytes) -> None:
    """PING, which is answered in another form while a RESP2 client listens."""
    if session.subscriptions.listens and not session.resp3 and len(words) < 3:
        session.answer(render([b"pong", words[1] if len(words) == 2 else b""]))
    else:
        session.route(words, raw, b"PING")


def refused_here(session: Session, words: list[bytes], raw: bytes) -> None:
    """A command that serverless caches do not have."""
    session.answer(refusal(words, words[0].upper()) or b"-ERR unknown command\r\n")


def without_some(session: Session, words: list[bytes], raw: bytes) -> None:
    """A command of which some subcommands are not to be had; the others are any shard's."""
    refused = refusal(words, words[0].upper())
    if refused is not None:
        session.answer(refused)
    else:
        session.route(words, raw, words[0].upper())


# -- the cluster -----------------------------------------------------------------------------------


def cluster(session: Session, words: list[bytes], raw: bytes) -> None:
    """CLUSTER: one primary with all slots, and one place for reads."""
    refused = refusal(words, b"CLUSTER")
    if refused is not None:
        session.answer(refused)
        return
    what = words[1].upper() if len(words) > 1 else b""
    picture, myself = session.service.picture, int(session.reads)

    def drawn(reply: bytes) -> bytes:
        value: Any
        match what:
            case b"SLOTS":
                value = picture.slots()
            case b"SHARDS":
                value = picture.shards()
            case b"NODES":
                value = picture.nodes(myself=myself)
            case b"MYID":
                value = picture.node_ids[myself]
            case _:
                value = cluster_info(parse(reply))
        return render(value, resp3=session.resp3)

    if what in (b"SLOTS", b"SHARDS", b"NODES", b"MYID", b"INFO"):
        session.forward_through(words, drawn)
    elif what in (b"REPLICAS", b"SLAVES") and len(words) == 3:
        found = picture.replicas(words[2].decode("latin-1"), myself=myself)
        missing = Error(b"ERR Unknown node " + words[2].replace(b"\r", b" ").replace(b"\n", b" "))
        session.answer(render(missing if found is None else found, resp3=session.resp3))
    elif what in (b"COUNTKEYSINSLOT", b"GETKEYSINSLOT") and len(words) > 2 and words[2].isdigit():
        slot = int(words[2][:6])
        owner = session.service.slots.owner(slot) if slot < 16384 else session.home()
        session.forward(owner, Awaited(raw, session.passed, streams=True))
    elif what == b"SLOT-STATS":
        session.fan_out(words, functools.partial(_slot_stats, words, session.resp3))
    else:
        session.route(words, raw, b"CLUSTER")


def _slot_stats(words: list[bytes], resp3: bool, replies: list[bytes]) -> bytes:
    rows = [row for reply in replies for row in parse(reply)]
    upper = [word.upper() for word in words]
    if b"ORDERBY" in upper:
        metric = words[upper.index(b"ORDERBY") + 1].lower()
        ascending = b"ASC" in upper

        def rank(row: Any) -> int:
            told = row[1]
            pairs = (
                told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
            )
            return int(pairs.get(metric, 0))

        rows.sort(key=rank, reverse=not ascending)
        limit = int(words[upper.index(b"LIMIT") + 1]) if b"LIMIT" in upper else len(rows)
        rows = rows[:limit]
    else:
        rows.sort(key=lambda row: int(row[0]))
    return render(rows, resp3=resp3)


def info(session: Session, words: list[bytes], raw: bytes) -> None:
    """INFO of all shards, put together."""

    def merged(replies: list[bytes]) -> bytes:
        text = merged_info([parse(reply) for reply in replies])
        if session.resp3:
            return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)
        return render(text)

    session.fan_out(words, merged)


# -- all shards ------------------------------------------------------------------------------------


def dbsize(session: Session, words: list[bytes], raw: bytes) -> None:
    """DBSIZE: the sum."""
    session.fan_out(words, lambda replies: render(sum(parse(reply) for reply in replies)))


def flush(session: Session, words: list[bytes], raw: bytes) -> None:
    """FLUSHALL and FLUSHDB."""
    if session.reads:
        session.answer(ONLY_READS)
    else:
        session.fan_out(words, lambda replies: replies[0])


def script(session: Session, words: list[bytes], raw: bytes) -> None:
    """SCRIPT: every shard may be asked to run it."""
    refused = refusal(words, b"SCRIPT")
    what = words[1].upper() if len(words) > 1 else b""
    if refused is not None:
        session.answer(refused)
    elif what in (b"LOAD", b"FLUSH"):
        session.fan_out(words, lambda replies: replies[0])
    elif what == b"EXISTS":
        session.fan_out(
            words,
            lambda replies: render([min(row) for row in zip(*map(parse, replies), strict=True)]),
        )
    else:
        session.route(words, raw, b"SCRIPT")


def scan(session: Session, words: list[bytes], raw: bytes) -> None:
    """SCAN: one shard after the other; the cursor says how far which of them has got."""
    primaries = session.service.slots.primaries
    if len(words) < 2 or not words[1].isdigit() or int(words[1][:24]) >= CURSOR_MAX:
        session.route(words, raw, b"SCAN")
        return
    cursor, number = divmod(int(words[1]), 1 << SHARD_BITS)
    if number >= len(primaries):
        session.answer(render([b"0", []]))
        return

    def replied(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        if reply[:1] != b"-":
            # Keys are passed on as they are; only the cursor in front is another one.
            head, _, cursor_text, rest = reply.split(b"\r\n", 3)
            further = int(cursor_text) << SHARD_BITS | number
            if cursor_text == b"0":
                further = number + 1 if number + 1 < len(primaries) else 0
            reply = b"%b\r\n%b%b" % (head, render(b"%d" % further), rest)
        session.finish(awaited, reply)

    wanted = encode([words[0], b"%d" % cursor, *words[2:]])
    session.forward(primaries[number], Awaited(wanted, replied))


def randomkey(session: Session, words: list[bytes], raw: bytes) -> None:
    """RANDOMKEY: of a shard that has any."""
    waiting = list(session.service.slots.primaries)
    random.shuffle(waiting)

    def replied(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        if waiting and reply in (b"$-1\r\n", b"_\r\n"):
            session.upstream(waiting.pop()).send(awaited)
        else:
            session.finish(awaited, reply)

    session.forward(waiting.pop(), Awaited(raw, replied))


# -- publishing ------------------------------------------------------------------------------------


def publish(session: Session, words: list[bytes], raw: bytes) -> None:
    """PUBLISH: at the shard of those who listen."""
    slot = slot_of(words[1]) if len(words) > 1 else 0
    owner = session.service.slots.owner(slot)
    session.forward(owner, Awaited(raw, session.passed))


def pubsub(session: Session, words: list[bytes], raw: bytes) -> None:
    """PUBSUB: of all shards; both kinds of channels are shown together."""
    refused = refusal(words, b"PUBSUB")
    what = words[1].upper() if len(words) > 1 else b""
    if refused is not None:
        session.answer(refused)
    elif what in (b"NUMSUB", b"SHARDNUMSUB"):
        session.fan_out(words, functools.partial(_counts, session.resp3))
    elif what == b"SHARDCHANNELS":
        session.fan_out(words, lambda replies: _union(replies, session.resp3))
    elif what == b"CHANNELS":
        _channels(session, words)
    else:
        session.route(words, raw, b"PUBSUB")


def _channels(session: Session, words: list[bytes]) -> None:
    """Two questions to every shard, for one answer."""
    addresses = session.service.slots.primaries
    parent = session.enqueue(Awaited(encode(words), session.passed))
    replies: list[bytes] = []

    def replied(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        replies.append(reply)
        if len(replies) == 2 * len(addresses):
            failed = next((one for one in replies if one[:1] == b"-"), None)
            session.finish(parent, failed or _union(replies, session.resp3))

    for address in addresses:
        for kind in (b"CHANNELS", b"SHARDCHANNELS"):
            asked = encode([words[0], kind, *words[2:]])
            session.upstream(address).send(Awaited(asked, replied))


def _union(replies: list[bytes], resp3: bool) -> bytes:
    return render(sorted({name for reply in replies for name in parse(reply)}), resp3=resp3)


def _counts(resp3: bool, replies: list[bytes]) -> bytes:
    counts: dict[bytes, int] = {}
    for reply in replies:
        told = parse(reply)
        pairs = told.items() if isinstance(told, dict) else zip(told[::2], told[1::2], strict=True)
        for channel, count in pairs:
            counts[channel] = counts.get(channel, 0) + int(count)
    return render([item for pair in counts.items() for item in pair], resp3=resp3)


HANDLERS: Final[Mapping[bytes, Handler]] = MappingProxyType(
    {
        **dict.fromkeys(UNAVAILABLE, refused_here),
        b"AUTH": auth,
        b"HELLO": hello,
        b"RESET": reset,
        b"READONLY": functools.partial(_sets_readonly, readonly=True),
        b"READWRITE": functools.partial(_sets_readonly, readonly=False),
        b"QUIT": quit_,
        b"CLIENT": client,
        b"PING": ping,
        b"ACL": without_some,
        b"CLUSTER": cluster,
        b"INFO": info,
        b"DBSIZE": dbsize,
        b"FLUSHALL": flush,
        b"FLUSHDB": flush,
        b"SCRIPT": script,
        b"SCAN": scan,
        b"RANDOMKEY": randomkey,
        b"PUBLISH": publish,
        b"PUBSUB": pubsub,
        b"SUBSCRIBE": lambda session, words, raw: session.subscriptions.begin(PLAIN, words, raw),
        b"SSUBSCRIBE": lambda session, words, raw: session.subscriptions.begin(SHARDED, words, raw),
        b"UNSUBSCRIBE": lambda session, words, raw: session.subscriptions.end(PLAIN, words, raw),
        b"SUNSUBSCRIBE": lambda session, words, raw: session.subscriptions.end(SHARDED, words, raw),
        b"MULTI": lambda session, words, raw: session.transaction.begin(words, raw),
        b"WATCH": lambda session, words, raw: session.transaction.watch(words, raw),
        b"UNWATCH": lambda session, words, raw: session.transaction.unwatch(words, raw),
    }
)
