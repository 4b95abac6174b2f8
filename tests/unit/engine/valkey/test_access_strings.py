"""Access strings: the stored form, every refusal, and what a node is told."""

from __future__ import annotations

import pytest

from cachefleet.engine.valkey.access_strings import (
    ACCESS_STRING_CHARS_MAX,
    SELECTORS_MAX,
    WORDS_MAX,
    AccessString,
    IllegalAccessString,
    compile_rules,
    parse_access_string,
    restricted,
)

CLOSED = ("-psync", "-acl|setuser")


@pytest.mark.parametrize(
    ("text", "stored", "version"),
    [
        ("~objects:* ~items:*", "off ~objects:* ~items:* -@all", (6, 0)),
        ("on ~keys* -@all +get", "on ~keys* -@all +get", (6, 0)),
        ("on +@all", "on +@all", (6, 0)),
        ("  ON   ~*  allcommands ", "ON ~* allcommands", (6, 0)),
        ("off", "off -@all", (6, 0)),
        ("on ~* &news +@pubsub", "on ~* &news +@pubsub", (6, 2)),
        ("on resetchannels +ping", "on resetchannels +ping", (6, 2)),
        ("on %R~a %W~b %RW~c +@all", "on %R~a %W~b %RW~c +@all", (7, 0)),
        ("on (~a +get) (&c ~b +set) +ping", "on (~a +get) (&c ~b +set) +ping", (7, 0)),
        ("on ~* (%R~x +@read)", "on ~* (%R~x +@read) -@all", (7, 0)),
        ("on +@all -config|get", "on +@all -config|get", (7, 0)),
        ("on +select|0 +client|list", "on +select|0 +client|list", (6, 0)),
        ("on ~* resetkeys ~a -@all", "on ~* resetkeys ~a -@all", (6, 0)),
        ("on +json.get +@json +@search", "on +json.get +@json +@search", (6, 0)),
        ("on clearselectors nocommands", "on clearselectors nocommands", (7, 0)),
        ("on +cluster +acl -config", "on +cluster +acl -config", (6, 0)),
        ("on ~grüße:* +get", "on ~grüße:* +get", (6, 0)),
    ],
)
def test_stored_form(text: str, stored: str, version: tuple[int, int]) -> None:
    assert parse_access_string(text) == AccessString(stored, version)
    assert parse_access_string(stored) == AccessString(stored, version)


@pytest.mark.parametrize(
    "text",
    [
        "on >password +@all",
        "on <password +@all",
        "on #" + "0" * 64,
        "on !" + "0" * 64,
        "on nopass +@all",
        "on NoPass",
        "on resetpass",
        "on reset +@all",
        "on skip-sanitize-payload",
        "on +nosuchcommand",
        "on +@nosuchcategory",
        "on +client|nosuch",
        "on -get|first",
        "on +get|",
        "on +get|a|b",
        "on +",
        "on -",
        "on +@",
        "on anything",
        "on %X~a",
        "on %~a",
        "on %R",
        "on ~* ~a",
        "on allkeys %R~a",
        "on &* &a",
        "on (~a +get",
        "on (~a (+get))",
        "on ((~a))",
        "on (~a))",
        "on (+nosuch)",
        "on (>password)",
        "on (on ~a)",
        "on (~* ~a)",
        'on ~"a" +get',
        "on ~a\\x20 +get",
        "on ~a\x00b",
        "on ~a\x7f",
        "on " + "~a " * WORDS_MAX,
        "on " + "(~a +get) " * (SELECTORS_MAX + 1),
        "on ~" + "a" * ACCESS_STRING_CHARS_MAX,
        *(f"on +{name}" for name in ("config", "CONFIG|get", "psync", "acl|setuser", "shutdown")),
        "on (+debug)",
        "on +cluster|meet",
        "on +module|list",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(IllegalAccessString):
        parse_access_string(text)


def test_nothing_of_a_credential_is_in_the_refusal() -> None:
    with pytest.raises(IllegalAccessString) as refusal:
        parse_access_string("on >my-clear-password +@all")
    assert "my-clear-password" not in str(refusal.value)


def test_what_is_the_services_is_taken_away_last_and_from_every_selector() -> None:
    rules = compile_rules(
        "on ~* +@all (%R~a +@all) (+ping)", closed=CLOSED, channels_default="allchannels"
    )
    assert rules == (
        *("allchannels", "on", "~*", "+@all"),
        "(allchannels %R~a +@all -psync -acl|setuser)",
        "(allchannels +ping -psync -acl|setuser)",
        *CLOSED,
    )


def test_channels_of_its_own_take_the_place_of_the_default() -> None:
    own = compile_rules("on &news +@all", closed=(), channels_default="allchannels")
    assert own == ("resetchannels", "on", "&news", "+@all")
    none = compile_rules("on +@all", closed=(), channels_default="resetchannels")
    assert none[0] == "resetchannels"
    all_ = compile_rules("on allchannels +@all", closed=(), channels_default="resetchannels")
    assert all_ == ("resetchannels", "on", "allchannels", "+@all")


def test_what_an_engine_lacks_is_left_out() -> None:
    text = "on -@all +get +hexpire +json.get +@json +select|0 +client|list +@read (+hexpire +get)"
    known = {"get", "select", "client", "client|list"}
    assert compile_rules(text, closed=(), channels_default="allchannels", known_commands=known) == (
        *("allchannels", "on", "-@all", "+get", "+select|0", "+client|list", "+@read"),
        "(allchannels +get)",
    )


def test_restricted_commands_are_those_of_nodes() -> None:
    assert {"config", "bgsave", "migrate", "psync", "acl|load", "cluster|setslot"} <= restricted()
    assert not {"get", "cluster", "acl", "acl|whoami", "cluster|slots"} & restricted()
