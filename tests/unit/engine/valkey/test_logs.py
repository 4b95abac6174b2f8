"""Records of the slow log and of the node's own log."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cachefleet.engine.valkey.logs import Source, parse_log_line, parse_slow_command

SOURCE = Source("demo-001", "0001")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROW: list[Any] = [296, 1605631822, 30, ["GET", "a-key"], "10.0.0.1:4711", "tester"]


def test_a_slow_command_in_both_forms() -> None:
    command = parse_slow_command(ROW)
    assert command.text(SOURCE) == (
        "demo-001,0001,1605631822,30,GET ... (1 more arguments),10.0.0.1:4711,tester"
    )
    assert json.loads(command.json(SOURCE)) == {
        "CacheClusterId": "demo-001",
        "CacheNodeId": "0001",
        "Id": 296,
        "Timestamp": 1605631822,
        "Duration (us)": 30,
        "Command": "GET ... (1 more arguments)",
        "ClientAddress": "10.0.0.1:4711",
        "ClientName": "tester",
    }


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["PING"], "PING"),
        (["MGET", "a", "b", "c"], "MGET ... (3 more arguments)"),
        (["MSET", "a", "b", "... (70 more arguments)"], "MSET ... (72 more arguments)"),
        ([], ""),
    ],
    ids=str,
)
def test_of_a_command_its_name_and_how_much_is_hidden(words: list[str], shown: str) -> None:
    assert parse_slow_command([1, 2, 3, words]).command == shown


@pytest.mark.parametrize(("mark", "level"), [("-", "VERBOSE"), ("*", "NOTICE"), ("#", "WARNING")])
def test_a_line_in_both_forms(mark: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = parse_log_line(
        f"4711:M 29 Oct 2020 20:12:20.499 {mark} Ready: it is", last=None, now=NOW
    )
    assert line is not None
    at = datetime(2020, 10, 29, 20, 12, 20, 499000).astimezone(UTC)
    assert line.at == at
    when = f"{at:%d %b %Y %H:%M:%S}.499 UTC"
    assert line.text(SOURCE) == f"demo-001/0001:M {when} {mark} Ready: it is"
    assert json.loads(line.json(SOURCE)) == {
        "CacheClusterId": "demo-001",
        "CacheNodeId": "0001",
        "LogLevel": level,
        "Role": "M",
        "Time": when,
        "Message": "Ready: it is",
    }


def test_debug_and_empty_lines_are_not_told() -> None:
    for text in ("1:M 29 Oct 2020 20:12:20.499 . detail", "", "   "):
        assert parse_log_line(text, last=None, now=NOW) is None


def test_a_line_without_a_time_goes_with_the_last_that_had_one() -> None:
    last = parse_log_line("1:S 29 Oct 2020 20:12:20.499 * synced", last=None, now=NOW)
    assert last is not None
    following = parse_log_line("------ STACK TRACE ------", last=last, now=NOW)
    assert following is not None
    assert (following.at, following.role) == (last.at, "S")
    alone = parse_log_line("cannot execute", last=None, now=NOW)
    assert alone is not None
    assert (alone.at, alone.role) == (NOW, "X")
