"""The control socket's lines, and the reports in its answers."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.engine.gateway.commands import (
    Command,
    IllegalCommand,
    Verb,
    parse_command,
    render_command,
)
from cachefleet.engine.gateway.reports import (
    BackendStatus,
    GatewayStatus,
    ListenFailure,
    ReloadReport,
    RouteStatus,
    UnreadableReport,
    parse_reload,
    parse_status,
    render_reload,
    render_status,
)
from cachefleet.engine.gateway.routes import Address, RouteKind

HERE = Address("127.0.0.1", 6379)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        pytest.param(b"reload\n", Command(verb=Verb.RELOAD), id="word"),
        pytest.param(b"  ping\r\n", Command(verb=Verb.PING), id="spaces"),
        pytest.param(b"cut demo.primary", Command(verb=Verb.CUT, route="demo.primary"), id="cut"),
        pytest.param(
            b"cut demo 127.0.0.1:6379",
            Command(verb=Verb.CUT, route="demo", backend=HERE),
            id="cut-backend",
        ),
        pytest.param(
            b"cut demo [::1]:7",
            Command(verb=Verb.CUT, route="demo", backend=Address("::1", 7)),
            id="cut-ipv6",
        ),
        pytest.param(b'{"command": "status"}', Command(verb=Verb.STATUS), id="json"),
        pytest.param(
            b'{"command": "cut", "route": "demo", "backend": null}',
            Command(verb=Verb.CUT, route="demo"),
            id="json-cut",
        ),
    ],
)
def test_reads_words_and_json(line: bytes, command: Command) -> None:
    assert parse_command(line) == command


@pytest.mark.parametrize("backend", [None, HERE, Address("::1", 7)])
def test_reads_back_what_was_rendered(backend: Address | None) -> None:
    command = Command(verb=Verb.CUT, route="a:b/c", backend=backend)
    line = render_command(command)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_command(line) == command


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"dance",
        b"cut",
        b"ping demo",
        b"cut a b:1 c",
        b"cut a b",
        b"cut a :1",
        b"cut a b:\xb2",
        b"cut a b:123456",
        b'{"command": "cut"}',
        b'{"command": "cut", "backend": "a:1"}',
        b'{"command": "cut", "route": 7}',
        b'{"command": ["ping"]}',
        b'{"command": "ping", "force": true}',
        b'{"command": ',
        b"{" * 4000,
        b"\xff\xfe",
    ],
)
def test_refuses(line: bytes) -> None:
    with pytest.raises(IllegalCommand):
        parse_command(line)


@given(st.binary(max_size=200))
def test_any_line_is_a_command_or_refused(line: bytes) -> None:
    with contextlib.suppress(IllegalCommand):
        assert isinstance(parse_command(line), Command)


FAILURE = ListenFailure(route="demo", listen=HERE, reason="Address already in use")
STATUS = GatewayStatus(
    pid=7,
    version=3,
    error=None,
    connections=2,
    routes=(
        RouteStatus(
            name="demo",
            kind=RouteKind.READER,
            listening=(HERE,),
            failures=(FAILURE,),
            connections=2,
            refused_total=1,
            unserved_total=4,
            bytes_from_clients=10,
            bytes_from_backends=20,
            backends=(
                BackendStatus(address=HERE, connections=2, connections_total=5, failures_total=1),
            ),
        ),
    ),
)


def test_reports_survive_json() -> None:
    report = ReloadReport(version=9, failures=(FAILURE,))
    assert parse_reload(json.loads(json.dumps(render_reload(report)))) == report
    assert parse_status(json.loads(json.dumps(render_status(STATUS)))) == STATUS
    assert STATUS.route("demo").connections == 2
    with pytest.raises(KeyError):
        STATUS.route("other")


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"version": 1}, {"version": "x", "failures": []}, {"routes": [{}]}],
)
def test_refuses_other_reports(answer: object) -> None:
    with pytest.raises(UnreadableReport):
        parse_reload(answer)
    with pytest.raises(UnreadableReport):
        parse_status(answer)
