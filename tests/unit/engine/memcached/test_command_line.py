"""Which commands of memcached are run for a person, and how they are sent."""

from __future__ import annotations

import pytest

from cachefleet.engine.memcached.command_line import NotRunHere, Request, request


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["GET", "a", "b"], "get a b"),
        (["mg", "a", "v", "t"], "mg a v t"),
        (["stats"], "stats"),
        (["stats", "items"], "stats items"),
        (["config", "get", "cluster"], "config get cluster"),
        (["version"], "version"),
    ],
)
def test_what_reads_is_sent(words: list[str], line: str) -> None:
    assert request(words, writes=False) == Request(line)


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["set", "k", "1", "60", "a b"], Request("set k 1 60 3", b"a b")),
        (["cas", "k", "0", "0", "7", "ä"], Request("cas k 0 0 2 7", "ä".encode())),
        (["ms", "k", "T60", "v"], Request("ms k 1 T60", b"v")),
        (["delete", "k"], Request("delete k")),
        (["gat", "60", "k"], Request("gat 60 k")),
        (["mg", "k", "v", "N30"], Request("mg k v N30")),
    ],
)
def test_what_writes_is_sent_where_that_is_allowed(words: list[str], sent: Request) -> None:
    assert request(words, writes=True) == sent
    with pytest.raises(NotRunHere, match="read-only"):
        request(words, writes=False)


@pytest.mark.parametrize(
    "words",
    [
        ["flush_all"],
        ["shutdown"],
        ["watch", "mutations"],
        ["lru_crawler", "enable"],
        ["cache_memlimit", "1"],
        ["cachefleet", "save"],
        ["config", "set", "cluster"],
        ["stats", "reset"],
        ["stats", "detail", "on"],
        ["quit"],
        ["set", "k", "0", "0"],
        ["set", "k", "0", "0", "v", "noreply"],
        ["delete", "k", "noreply"],
        ["mg", "k", "v", "q"],
        ["ms", "k", "q", "v"],
        ["get"],
        ["get", "a\r\nflush_all"],
        ["get", "a b"],
        ["get", "k" * 251],
        ["set", "k", "0", "0 1\r\n", "v"],
    ],
)
def test_the_rest_is_refused_with_writing_allowed_too(words: list[str]) -> None:
    with pytest.raises(NotRunHere):
        request(words, writes=True)
