"""What the endpoint has to know of each command: where its keys are, and what is not to be had.

Pure. Key positions are the engines' own (``COMMAND``); a test compares. A command that is not
here, or whose keys cannot be found, goes to any shard: that refuses it in its own words, or says
where the key is.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

SLOT_COUNT: Final = 16384

# (first, last, step) of the keys among the words; a negative last counts from the end.
_POSITIONS: Final[Mapping[tuple[int, int, int], str]] = {
    (1, -2, 1): """
        blpop brpop bzpopmax bzpopmin
    """,
    (1, -1, 1): """
        del exists mget pfcount pfmerge sdiff sdiffstore sinter sinterstore sunion
        sunionstore touch unlink watch
    """,
    (1, -1, 2): """
        mset msetnx
    """,
    (1, 1, 1): """
        append bitcount bitfield bitfield_ro bitpos decr decrby delifeq dump expire expireat
        expiretime geoadd geodist geohash geopos georadius_ro georadiusbymember_ro geosearch
        get getbit getdel getex getrange getset hdel hexists hexpire hexpireat hexpiretime
        hget hgetall hgetdel hgetex hincrby hincrbyfloat hkeys hlen hmget hmset hpersist
        hpexpire hpexpireat hpexpiretime hpttl hrandfield hscan hset hsetex hsetnx hstrlen
        httl hvals incr incrby incrbyfloat lindex linsert llen lpop lpos lpush lpushx lrange
        lrem lset ltrim persist pexpire pexpireat pexpiretime pfadd psetex pttl restore rpop
        rpush rpushx sadd scard set setbit setex setnx setrange sismember smembers
        smismember spop spublish srandmember srem sscan strlen substr ttl type xack xadd
        xautoclaim xclaim xdel xlen xpending xrange xrevrange xsetid xtrim zadd zcard zcount
        zincrby zlexcount zmscore zpopmax zpopmin zrandmember zrange zrangebylex
        zrangebyscore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange
        zrevrangebylex zrevrangebyscore zrevrank zscan zscore
    """,
    (1, 2, 1): """
        blmove brpoplpush copy geosearchstore lcs lmove rename renamenx rpoplpush smove
        zrangestore
    """,
    (2, -1, 1): """
        bitop
    """,
}

# What changes nothing: the only commands that replicas serve.
_READS: Final = """
    bitcount bitfield_ro bitpos dump eval_ro evalsha_ro exists expiretime geodist geohash
    geopos georadius_ro georadiusbymember_ro geosearch get getbit getrange hexists
    hexpiretime hget hgetall hkeys hlen hmget hpexpiretime hpttl hrandfield hscan hstrlen
    httl hvals lcs lindex llen lolwut lpos lrange mget pexpiretime pfcount pttl scard sdiff
    sinter sintercard sismember smembers smismember sort_ro srandmember sscan strlen substr
    sunion touch ttl type xlen xpending xrange xread xrevrange zcard zcount zdiff zinter
    zintercard zlexcount zmscore zrandmember zrange zrangebylex zrangebyscore zrank
    zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion
"""

# Refused as if the engine had never heard of them: what the service keeps to itself, and what it
# does not have in serverless caches.
_UNAVAILABLE: Final = """
    asking bgrewriteaof bgsave clusterscan commandlog config debug failover fcall fcall_ro function
    keys lastsave latency memory migrate module monitor move object pfdebug pfselftest psubscribe
    psync punsubscribe replconf replicaof restore-asking save shutdown slaveof slowlog swapdb sync
    wait waitaof
"""

# Of commands with subcommands, those that there are.
SUBCOMMANDS: Final[Mapping[bytes, frozenset[bytes]]] = MappingProxyType(
    {
        name.upper().encode(): frozenset(sub.upper().encode() for sub in subs.split())
        for name, subs in {
            "acl": "cat genpass getuser help list users whoami",
            "client": "getname help reply setinfo setname",
            "cluster": "countkeysinslot getkeysinslot help info keyslot myid nodes replicas shards "
            "slaves slot-stats slots",
            "pubsub": "channels help numsub shardchannels shardnumsub",
            "script": "exists flush help load show",
        }.items()
    }
)

READS: Final = frozenset(name.upper().encode() for name in _READS.split())
UNAVAILABLE: Final = frozenset(name.upper().encode() for name in _UNAVAILABLE.split())

KeysOf = Callable[[Sequence[bytes]], Sequence[bytes]]


class NoKeys(Exception):
    """The words are not those of a command whose keys can be told."""


def slot_of(key: bytes) -> int:
    """Return the slot of a key; only what is in its first braces counts, where there is any."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOT_COUNT


def keys_of(words: Sequence[bytes], name: bytes) -> Sequence[bytes]:
    """Return the keys of a command; *name* is its first word in capitals.

    Raises:
        NoKeys: it has too few words, or a number that is none.
    """
    found = MOVABLE.get(name)
    if found is not None:
        return found(words)
    position = POSITIONS.get(name)
    if position is None:
        return ()
    first, last, step = position
    end = last + 1 if last >= 0 else len(words) + last + 1
    if len(words) < end or len(words) <= first:
        raise NoKeys
    return words[first:end:step]


def _counted(at: int, *, before: int = 0, step: int = 1) -> KeysOf:
    """Keys behind a word that says how many; *before*, where not 0, is one more key."""

    def find(words: Sequence[bytes]) -> Sequence[bytes]:
        if len(words) <= at or not words[at].isdigit() or len(words[at]) > 9:
            raise NoKeys
        count = int(words[at])
        keys = words[at + 1 : at + 1 + count * step : step]
        if len(keys) != count:
            raise NoKeys
        return [words[before], *keys] if before else keys

    return find


def _stored(*options: bytes) -> KeysOf:
    """The first word behind the name, and those behind options that name a destination."""

    def find(words: Sequence[bytes]) -> Sequence[bytes]:
        if len(words) < 2:
            raise NoKeys
        stores = [words[at + 1] for at in range(2, len(words) - 1) if words[at].upper() in options]
        return [words[1], *stores[-1:]]

    return find


def _streams(words: Sequence[bytes]) -> Sequence[bytes]:
    for at in range(1, len(words)):
        if words[at].upper() == b"STREAMS":
            rest = words[at + 1 :]
            if not rest or len(rest) % 2:
                raise NoKeys
            return rest[: len(rest) // 2]
    raise NoKeys


def _second(words: Sequence[bytes]) -> Sequence[bytes]:
    """XGROUP and XINFO: a subcommand, then the key; HELP has none."""
    return words[2:3]


POSITIONS: Final[Mapping[bytes, tuple[int, int, int]]] = MappingProxyType(
    {
        name.upper().encode(): position
        for position, names in _POSITIONS.items()
        for name in names.split()
    }
)

MOVABLE: Final[Mapping[bytes, KeysOf]] = MappingProxyType(
    {
        **dict.fromkeys((b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO"), _counted(2)),
        **dict.fromkeys(
            (b"SINTERCARD", b"ZINTERCARD", b"ZDIFF", b"ZINTER", b"ZUNION", b"LMPOP", b"ZMPOP"),
            _counted(1),
        ),
        **dict.fromkeys((b"BLMPOP", b"BZMPOP"), _counted(2)),
        **dict.fromkeys((b"ZDIFFSTORE", b"ZINTERSTORE", b"ZUNIONSTORE"), _counted(2, before=1)),
        b"MSETEX": _counted(1, step=2),
        b"SORT": _stored(b"STORE"),
        b"SORT_RO": _stored(),
        b"GEORADIUS": _stored(b"STORE", b"STOREDIST"),
        b"GEORADIUSBYMEMBER": _stored(b"STORE", b"STOREDIST"),
        b"XREAD": _streams,
        b"XREADGROUP": _streams,
        b"XGROUP": _second,
        b"XINFO": _second,
    }
)


def unknown_command(words: Sequence[bytes]) -> bytes:
    """Return what engines say of a command they do not have."""
    told = bytearray()
    for word in words[1:]:
        if len(told) >= 128:
            break
        told += b"'" + word[: 128 - len(told)] + b"' "
    name = _printable(words[0][:128])
    return b"-ERR unknown command '%b', with args beginning with: %b\r\n" % (
        name,
        _printable(bytes(told)),
    )


def unknown_subcommand(words: Sequence[bytes]) -> bytes:
    """Return what engines say of a subcommand they do not have."""
    return b"-ERR unknown subcommand '%b'. Try %b HELP.\r\n" % (
        _printable(words[1][:128]),
        words[0].upper(),
    )


def refusal(words: Sequence[bytes], name: bytes) -> bytes | None:
    """Return the error for a command that serverless caches do not have; None for others."""
    if name in UNAVAILABLE:
        return unknown_command(words)
    subcommands = SUBCOMMANDS.get(name)
    if subcommands is not None and len(words) > 1 and words[1].upper() not in subcommands:
        return unknown_subcommand(words)
    return None


def _printable(text: bytes) -> bytes:
    """An error is one line."""
    return text.replace(b"\r", b" ").replace(b"\n", b" ")
