"""ACL lines: one user a line, and nothing that could make it two."""

from __future__ import annotations

import hashlib

import pytest

from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.valkey.acl import (
    CLOSED_MIGRATION_RULES,
    admin_line,
    closed_rules,
    default_line,
    password_sha256,
    split_line,
    user_line,
)

DIGEST = password_sha256("a password")


def test_passwords_are_kept_as_hashes() -> None:
    assert password_sha256("") == hashlib.sha256(b"").hexdigest()
    line = user_line("app", password_sha256s=[DIGEST], rules=("~app:*", "+@read"))
    assert line == f"user app on sanitize-payload #{DIGEST} ~app:* +@read"


def test_access_strings_may_be_whole_or_in_words() -> None:
    whole = user_line("app", no_password=True, rules=("~a  ~b (~c +get)",))
    words = user_line("app", no_password=True, rules=("~a", "~b", "(~c", "+get)"))
    assert whole == words == "user app on sanitize-payload nopass ~a ~b (~c +get)"


def test_splits_lines_as_setuser_takes_them() -> None:
    name, rules = split_line("user app on nopass ~a (~c +get -@all) +@read (%R~d +get)")
    assert name == "app"
    assert rules == ("on", "nopass", "~a", "(~c +get -@all)", "+@read", "(%R~d +get)")


def test_a_disabled_user_and_the_usual_two() -> None:
    assert user_line("x", enabled=False, rules=("-@all",)) == "user x off sanitize-payload -@all"
    assert admin_line("root", DIGEST).endswith("~* &* +@all")
    assert "nopass" in default_line()


def test_closed_rules_name_only_what_the_engine_has() -> None:
    assert not set(CLOSED_MIGRATION_RULES) & set(closed_rules())
    newer = frozenset({"cluster-slot-migration-log-max-len"})
    assert set(CLOSED_MIGRATION_RULES) <= set(closed_rules(directives=newer))


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        pytest.param("two words", ("+@all",), id="name-with-blank"),
        pytest.param("", ("+@all",), id="no-name"),
        pytest.param("app", ("~a\nuser evil on nopass ~* +@all",), id="line-end"),
        pytest.param("app", ('~a"b',), id="quote"),
        pytest.param("app", ("~a\\x20",), id="backslash"),
        pytest.param("app", ("~a\u2028",), id="unicode-line-end"),
    ],
)
def test_refuses_words_that_could_end_the_line(name: str, rules: tuple[str, ...]) -> None:
    with pytest.raises(BadConfiguration):
        user_line(name, no_password=True, rules=rules)


def test_refuses_contradictions_and_clear_passwords() -> None:
    with pytest.raises(BadConfiguration):
        user_line("app", no_password=True, password_sha256s=[DIGEST])
    with pytest.raises(BadConfiguration):
        user_line("app", password_sha256s=["a password"])
    for line in ("", "user", "users app on"):
        with pytest.raises(BadConfiguration):
            split_line(line)
