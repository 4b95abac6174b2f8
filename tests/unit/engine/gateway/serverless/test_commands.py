"""Where keys are, which slot they are in, and what is refused."""

from __future__ import annotations

import pytest

from cachefleet.engine.gateway.serverless.commands import (
    MOVABLE,
    POSITIONS,
    READS,
    UNAVAILABLE,
    NoKeys,
    keys_of,
    refusal,
    slot_of,
)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        pytest.param(b"foo", 12182, id="plain"),
        pytest.param(b"{user1000}.following", 3443, id="tag"),
        pytest.param(b"foo{}{bar}", 8363, id="empty-tag"),
        pytest.param(b"foo{{bar}}zap", 4015, id="nested"),
        pytest.param(b"foo{bar}{zap}", 5061, id="first-tag"),
        pytest.param(b"{", 4092, id="no-end"),
        pytest.param(b"", 0, id="empty"),
    ],
)
def test_slot_of_a_key(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("get a", "a"),
        ("del a b c", "a b c"),
        ("mset a 1 b 2", "a b"),
        ("blpop a b 0", "a b"),
        ("bitop and d a b", "d a b"),
        ("eval script 2 a b c", "a b"),
        ("eval script 0 c", ""),
        ("zunionstore d 2 a b weights 1 2", "d a b"),
        ("lmpop 2 a b left", "a b"),
        ("blmpop 1 2 a b left", "a b"),
        ("msetex 2 a 1 b 2 ex 5", "a b"),
        ("sort a by w limit 0 1 store d", "a d"),
        ("georadius a 1 2 3 m store d storedist e", "a e"),
        ("xread count 1 streams a b 0 0", "a b"),
        ("xgroup create s g 0", "s"),
        ("ping", ""),
        ("nosuch a b", ""),
    ],
)
def test_keys_of_a_command(line: str, keys: str) -> None:
    words = line.encode().split()
    assert list(keys_of(words, words[0].upper())) == keys.encode().split()


@pytest.mark.parametrize(
    "line", ["get", "eval script", "eval script x a", "eval script 2 a", "xread streams a", "sort"]
)
def test_says_that_keys_cannot_be_told(line: str) -> None:
    words = line.encode().split()
    with pytest.raises(NoKeys):
        keys_of(words, words[0].upper())


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("KEYS *", b"-ERR unknown command 'KEYS', with args beginning with: '*' \r\n"),
        ("monitor", b"-ERR unknown command 'monitor', with args beginning with: \r\n"),
        ("client KILL x", b"-ERR unknown subcommand 'KILL'. Try CLIENT HELP.\r\n"),
        ("cluster meet", b"-ERR unknown subcommand 'meet'. Try CLUSTER HELP.\r\n"),
        ("cluster SLOTS", None),
        ("client", None),
        ("get a", None),
    ],
)
def test_refuses_in_the_engines_words(line: str, answer: bytes | None) -> None:
    words = line.encode().split()
    assert refusal(words, words[0].upper()) == answer


def test_an_error_stays_one_line() -> None:
    answer = refusal([b"KEYS", b"a\r\n-b"], b"KEYS")
    assert answer is not None
    assert answer.count(b"\n") == 1


def test_nothing_is_both_refused_and_routed() -> None:
    assert not UNAVAILABLE & (POSITIONS.keys() | MOVABLE.keys() | READS)
    assert not POSITIONS.keys() & MOVABLE.keys()
