"""The guard: who may be addressed, and which web pages may ask."""

from __future__ import annotations

import pytest

from cachefleet.api.guard import Guard
from tests.unit.api.driver import quiet_settings

OWN = "http://localhost:8379"


def refusal(
    guard: Guard, *, method: str = "POST", path: str = "/", query: str = "", **headers: str
) -> str | None:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return guard.refusal(method=method, path=path, query=query.encode(), headers=named)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8379",
        "LOCALHOST",
        "localhost.",
        "console.localhost:1",
        "127.0.0.1:8379",
        "127.100.3.4",
        "[::1]:8379",
        "[::1]",
        "elasticache.us-east-1.amazonaws.com",
        "elasticache-fips.us-gov-west-1.amazonaws.com:443",
    ],
)
def test_knows_its_own_hosts(host: str) -> None:
    assert refusal(Guard(quiet_settings()), host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "a.b.localhost",
        "10.0.0.1",
        "[2001:db8::1]",
        "s3.us-east-1.amazonaws.com",
        "elasticache.evil.example.amazonaws.com",
        "localhost:8379:1",
        "localhost:port",
        "localhost/",
        "user@localhost",
        "local host",
        "localhost,evil.example",
        "l" * 300,
        "127.1",
    ],
)
def test_refuses_other_hosts(host: str) -> None:
    reason = refusal(Guard(quiet_settings()), host=host)
    assert reason is not None
    assert "allowed_hosts" in reason


def test_knows_the_bound_and_the_named_hosts() -> None:
    guard = Guard(quiet_settings(host="10.0.0.7", allowed_hosts=("cache.internal",)))
    assert refusal(guard, host="10.0.0.7:8379") is None
    assert refusal(guard, host="cache.internal:8379") is None
    assert refusal(guard, host="10.0.0.8") is not None
    assert refusal(guard, host="localhost") is not None


def test_takes_any_address_but_no_name_where_it_listens_on_all() -> None:
    guard = Guard(quiet_settings(host="0.0.0.0"))
    assert refusal(guard, host="10.0.0.8:8379") is None
    assert refusal(guard, host="evil.example") is not None


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        (OWN, "localhost:8379", True),
        ("HTTP://LocalHost:8379", "localhost:8379", True),
        ("http://localhost", "localhost:80", True),
        ("https://localhost", "localhost", True),
        ("http://localhost:3000", "localhost:8379", False),
        ("http://localhost", "localhost:8379", False),
        ("http://evil.example", "localhost:8379", False),
        ("null", "localhost:8379", False),
        ("", "localhost:8379", False),
        ("file://localhost:8379", "localhost:8379", False),
        ("http://localhost:8379.evil.example", "localhost:8379", False),
    ],
)
def test_tells_its_own_origin_from_others(origin: str, host: str, is_own: bool) -> None:
    reason = refusal(Guard(quiet_settings()), host=host, origin=origin)
    assert (reason is None) == is_own


def test_takes_named_origins() -> None:
    guard = Guard(quiet_settings(allowed_origins=("http://localhost:5173/",)))
    page = {"host": "localhost", "origin": "http://localhost:5173", "sec_fetch_site": "same-site"}
    assert refusal(guard, **page) is None
    assert refusal(guard, **{**page, "origin": "http://localhost:5174"}) is not None


IMAGE = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}
VISIT = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
DELETE = "Action=DeleteReplicationGroup&ReplicationGroupId=a"


@pytest.mark.parametrize(
    ("request_", "is_refused"),
    [
        pytest.param({"query": DELETE, **IMAGE}, True, id="image-that-is-a-call"),
        pytest.param({"query": DELETE, **VISIT}, True, id="link-that-is-a-call"),
        pytest.param({"path": "/console/", **VISIT}, False, id="link-to-the-console"),
        pytest.param({**VISIT}, False, id="link-to-the-start"),
        pytest.param({"path": "/v1/x", **IMAGE}, True, id="image-elsewhere"),
        pytest.param({"path": "/v1/x", "method": "POST", **VISIT}, True, id="form-elsewhere"),
        pytest.param(
            {"query": DELETE, "sec_fetch_site": "same-site"}, True, id="other-port-of-this-host"
        ),
        pytest.param({"query": DELETE, "sec_fetch_site": "same-origin"}, False, id="console"),
        pytest.param({"query": DELETE, "sec_fetch_site": "none"}, False, id="typed-in"),
        pytest.param({"query": DELETE, "referer": "http://evil.example/x"}, True, id="old-browser"),
        pytest.param({"query": DELETE, "referer": f"{OWN}/console/"}, False, id="old-console"),
        pytest.param({"path": "/console/", "referer": "http://a.example/"}, False, id="old-link"),
        pytest.param({"query": DELETE}, False, id="no-browser"),
    ],
)
def test_refuses_what_other_sites_make_a_browser_send(
    request_: dict[str, str], is_refused: bool
) -> None:
    guard = Guard(quiet_settings())
    reason = refusal(guard, **{"method": "GET", "host": "localhost:8379", **request_})
    assert (reason is not None) == is_refused
