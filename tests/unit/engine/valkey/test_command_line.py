"""What a person may run at a node, judged by rows as engines send them."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.engine.valkey.command_line import parse_facts, refusal


def row(name: str, flags: str = "", categories: str = "", subs: list[Any] | None = None) -> Any:
    """Return a row of COMMAND INFO as Valkey 9 sends it."""
    return [
        name.encode(), -2, [flag.encode() for flag in flags.split()], 1, 1, 1,
        [category.encode() for category in categories.split()], [], [], subs or [],
    ]  # fmt: skip


CLIENT = row(
    "client",
    subs=[
        row("client|list", "admin", "@admin @slow @dangerous @connection"),
        row("client|kill", "admin", "@admin @slow @dangerous @connection"),
    ],
)


@pytest.mark.parametrize(
    ("typed", "facts", "writes", "told"),
    [
        pytest.param("GET a", row("get", "readonly", "@read @string"), False, None, id="read"),
        pytest.param("SET a 1", row("set", "write", "@write"), False, "read-only", id="write"),
        pytest.param("SET a 1", row("set", "write", "@write"), True, None, id="write-allowed"),
        pytest.param(
            "FLUSHALL", row("flushall", "write", "@write @dangerous"), True, "dangerous", id="flush"
        ),
        pytest.param(
            "KEYS *", row("keys", "readonly", "@read @dangerous"), True, "dangerous", id="keys"
        ),
        pytest.param("BLPOP a 0", row("blpop", "write blocking"), True, "blocking", id="blocks"),
        pytest.param("EVAL x 0", row("eval", "", "@scripting"), True, "scripting", id="script"),
        pytest.param("MULTI", row("multi", "", "@transaction"), True, "transaction", id="multi"),
        pytest.param("INFO", row("info", "", "@dangerous"), False, None, id="info"),
        pytest.param("CLIENT LIST", CLIENT, False, None, id="harmless-subcommand"),
        pytest.param("client kill 1", CLIENT, True, "admin", id="harmful-subcommand"),
        pytest.param("CLIENT", CLIENT, False, "no command", id="subcommand-missing"),
        pytest.param("CLIENT NOPE", CLIENT, False, "no command", id="subcommand-unknown"),
        pytest.param("NOPE", None, False, "no command", id="unknown"),
        pytest.param(
            "SCAN 0 COUNT 1001", row("scan", "readonly", "@read"), False, "at most", id="scan-much"
        ),
        pytest.param(
            "SCAN 0 COUNT 1000", row("scan", "readonly", "@read"), False, None, id="scan-enough"
        ),
        pytest.param(
            "SLOWLOG GET", [b"slowlog", -2, [b"admin"], 0, 0, 0, [b"@admin"]], False, None, id="old"
        ),
        pytest.param(
            "SLOWLOG RESET", [b"slowlog", -2, [b"admin"], 0, 0, 0, []], True, "admin", id="old-no"
        ),
    ],
)
def test_judges(typed: str, facts: Any, writes: bool, told: str | None) -> None:
    words = typed.split()
    reason = refusal(words, parse_facts(facts, words), writes=writes)
    if told is None:
        assert reason is None
    else:
        assert reason is not None
        assert told in reason
