"""Statistics lines, and the listeners among the connections."""

from __future__ import annotations

import pytest

from cachefleet.engine.memcached.stats import NotStatistics, parse_listeners, parse_stats
from cachefleet.engine.types import Endpoint


def test_values_may_be_empty_or_hold_blanks() -> None:
    lines = [b"STAT pid 17", b"STAT version 1.6.22 (x)", b"STAT empty "]
    assert parse_stats(lines) == {"pid": "17", "version": "1.6.22 (x)", "empty": ""}


@pytest.mark.parametrize("line", [b"ERROR", b"STAT", b"STAT ", b"VALUE a 0 1", b""])
def test_refuses_other_lines(line: bytes) -> None:
    with pytest.raises(NotStatistics):
        parse_stats([line])


def test_listeners_are_told_from_clients() -> None:
    conns = {
        "4:addr": "tcp:127.0.5.1:11211",
        "4:state": "conn_listening",
        "5:addr": "tcp6:[::1]:11211",
        "5:state": "conn_listening",
        "6:addr": "unix:/s",
        "6:state": "conn_listening",
        "9:addr": "tcp:127.0.0.1:50000",
        "9:listen_addr": "tcp:127.0.5.1:11211",
        "9:state": "conn_parse_cmd",
    }
    assert parse_listeners(conns) == (Endpoint("127.0.5.1", 11211), Endpoint("::1", 11211))
