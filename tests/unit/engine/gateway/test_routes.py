"""The routes file: what is read back is what was written, and what is wrong is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.engine.gateway.routes import (
    Address,
    AuthOptions,
    IllegalRoutes,
    LoginSocket,
    LoginUser,
    Route,
    RouteKind,
    RouteOptions,
    RouteTable,
    ServerlessOptions,
    ShardOptions,
    TlsMode,
    TlsOptions,
)
from cachefleet.engine.gateway.routes_file import FILE_BYTES_MAX, parse_routes, render_routes
from cachefleet.engine.pki import new_authority

HOSTS = st.sampled_from(["127.0.0.1", "127.100.3.4", "::1", "10.0.0.9"])
HASHES = st.lists(st.sampled_from(["0" * 64, "f" * 64]), max_size=2).map(tuple)
ADDRESSES = st.builds(Address, HOSTS, st.integers(1, 65535))
SERVERLESS = st.builds(
    ServerlessOptions,
    host=st.sampled_from(["127.0.0.1", "a-123456.serverless.use1.cache.cachefleet.internal"]),
    port=st.just(6379),
    reads_port=st.just(6380),
    outside=st.booleans(),
    held=st.booleans(),
    node_ids=st.just(("a" * 40, "b" * 40)),
    shards=st.lists(
        st.builds(
            ShardOptions,
            slots=st.sampled_from([(), ((0, 16383),), ((0, 1), (7, 9))]),
            primary=ADDRESSES,
            replicas=st.lists(ADDRESSES, max_size=2).map(tuple),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    ecpu_per_s=st.none() | st.integers(1, 15_000_000),
)


AUTHORITY = new_authority(fleet="other", now=datetime(2026, 1, 1, tzinfo=UTC)).certificate.decode()


@st.composite
def tables(draw: st.DrawFn) -> RouteTable:
    listen = draw(st.lists(ADDRESSES, unique=True, min_size=1, max_size=5))
    routes = []
    for number, address in enumerate(listen):
        others = ADDRESSES.filter(address.__ne__)
        kind = draw(st.sampled_from(RouteKind))
        config = "3\na|1.2.3.4|1 b||2\n" if kind is RouteKind.MEMCACHED_DISCOVERY else None
        options = RouteOptions(
            cut_on_change=draw(st.booleans()),
            tls_only=draw(st.booleans()),
            backend_ca=draw(st.sampled_from(["", AUTHORITY])),
            bind_source=draw(st.none() | HOSTS),
            connect_timeout_s=draw(st.sampled_from([0.01, 2, 59.5])),
            connections_max=draw(st.integers(1, 1_000_000)),
            buffer_bytes=draw(st.integers(4096, 16 * 1024 * 1024)),
            cluster_config=config,
            serverless=draw(SERVERLESS) if kind is RouteKind.SERVERLESS else None,
            auth=draw(st.none() | st.builds(AuthOptions, optional_token_sha256s=HASHES)),
            tls=draw(
                st.none()
                | st.builds(
                    TlsOptions,
                    mode=st.sampled_from(TlsMode),
                    certificate_path=st.just("/a/b.pem"),
                    key_path=st.just("/k"),
                )
            ),
        )
        routes.append(
            Route(
                name=f"demo.{number}",
                listen=(address,),
                kind=kind,
                backends=tuple(draw(st.lists(others, max_size=3))),
                fallback=tuple(draw(st.lists(others, max_size=2))),
                options=options,
            )
        )
    return RouteTable(version=draw(st.integers(0, 2**53 - 1)), routes=tuple(routes))


@given(tables())
def test_reads_back_what_was_rendered(table: RouteTable) -> None:
    assert parse_routes(render_routes(table)) == table


def document(**changes: Any) -> dict[str, Any]:
    route: dict[str, Any] = {
        "name": "demo",
        "listen": [["127.0.0.1", 6379]],
        "kind": "tcp",
        "backends": [{"host": "127.0.0.2", "port": 6379}],
    }
    top = {"schema": 1, "version": 1, "routes": [route]}
    for path, value in changes.items():
        target: Any = top if path in {"schema", "version", "routes", "connections_max"} else route
        if path.startswith("top_"):
            target, path = top, path.removeprefix("top_")
        if value is ...:
            del target[path]
        else:
            target[path] = value
    return top


def test_the_base_document_is_legal() -> None:
    table = parse_routes(json.dumps(document()))
    assert table.routes[0].backends == (Address("127.0.0.2", 6379),)
    assert table.routes[0].options == RouteOptions()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"schema": 2}, "schema: 2", id="other-schema"),
        pytest.param({"schema": True}, "schema: True", id="schema-is-not-a-number"),
        pytest.param({"version": -1}, "version: -1", id="negative-version"),
        pytest.param({"version": True}, "version: True", id="boolean-version"),
        pytest.param({"version": 1.5}, "version: 1.5", id="broken-version"),
        pytest.param({"routes": {}}, "routes: not a list", id="routes-not-a-list"),
        pytest.param({"connections_max": 0}, "connections_max: 0", id="no-connections"),
        pytest.param({"top_tls": {}}, "the file: tls not known", id="unknown-member"),
        pytest.param({"name": ...}, r"routes\[0\]: name missing", id="no-name"),
        pytest.param({"name": "a b"}, r"routes\[0\].name: 'a b'", id="name-with-space"),
        pytest.param({"name": "a\n"}, r"routes\[0\].name", id="name-with-line-end"),
        pytest.param({"name": "a" * 201}, r"routes\[0\].name", id="endless-name"),
        pytest.param({"name": 7}, r"routes\[0\].name", id="name-is-a-number"),
        pytest.param({"kind": "udp"}, r"routes\[0\].kind: 'udp'", id="unknown-kind"),
        pytest.param({"listen": None}, r"listen: not a list of 0 to 16", id="listens-to-nothing"),
        pytest.param(
            {"listen": [["127.0.0.1", n] for n in range(1, 18)]}, "0 to 16", id="listens-too-much"
        ),
        pytest.param({"listen": [["127.0.0.1"]]}, r"listen\[0\]: not a", id="half-a-pair"),
        pytest.param({"listen": [["127.0.0.1", 0]]}, r"listen\[0\]: 0", id="port-zero"),
        pytest.param({"listen": [["127.0.0.1", 65536]]}, "65536", id="port-too-high"),
        pytest.param({"listen": [["127.0.0.1", "6379"]]}, "'6379'", id="port-as-text"),
        pytest.param({"listen": [["localhost", 1]]}, "'localhost' is not an IP", id="host-name"),
        pytest.param({"listen": [["127.0.0.1\0", 1]]}, "is not an IP", id="host-with-nul"),
        pytest.param({"listen": [["127.1", 1]]}, "is not an IP", id="short-ip"),
        pytest.param({"listen": [["::1", 1], ["::1", 1]]}, "two routes listen on", id="twice"),
        pytest.param({"backends": [{"host": "::1"}]}, "port missing", id="backend-without-port"),
        pytest.param({"backends": [["::1", 1]]}, "not an object", id="backend-as-pair"),
        pytest.param(
            {"fallback": [{"host": "127.0.0.1", "port": 6379}]}, "to itself", id="own-backend"
        ),
        pytest.param({"kind": ["tcp"]}, "kind: ", id="kind-is-a-list"),
        pytest.param({"options": {"udp": 1}}, "options: udp not known", id="unknown-option"),
        pytest.param({"options": {"tls": 1}}, "tls: not an object", id="tls-is-a-number"),
        pytest.param({"options": {"tls": {"mode": "required"}}}, "missing", id="tls-half"),
        pytest.param(
            {"options": {"tls": {"mode": "off", "certificate_path": "/c", "key_path": "/k"}}},
            "tls.mode: 'off' is none of",
            id="tls-mode",
        ),
        pytest.param(
            {"options": {"tls": {"mode": "required", "certificate_path": "c", "key_path": "/k"}}},
            "certificate_path: 'c' is not an absolute path",
            id="relative-path",
        ),
        pytest.param(
            {
                "options": {
                    "tls": {"mode": "required", "certificate_path": "/c", "key_path": "/k\0"}
                }
            },
            "key_path: .* is not an absolute path",
            id="path-with-nul",
        ),
        pytest.param({"options": {"cut_on_change": 1}}, "cut_on_change", id="number-as-boolean"),
        pytest.param({"options": {"bind_source": "x"}}, "bind_source", id="source-not-ip"),
        pytest.param({"options": {"connect_timeout_s": 0}}, "0 is not", id="no-time"),
        pytest.param({"options": {"connect_timeout_s": 61}}, "61 is not", id="too-much-time"),
        pytest.param(
            {"options": {"connect_timeout_s": float("nan")}}, "nan is not", id="time-is-nan"
        ),
        pytest.param({"options": {"buffer_bytes": 1}}, "buffer_bytes: 1", id="tiny-buffer"),
        pytest.param({"options": {"connections_max": 0}}, "connections_max: 0", id="closed"),
        pytest.param({"kind": "memcached_discovery"}, "needed by", id="discovery-without-config"),
        pytest.param({"options": {"cluster_config": "1\na||1\n"}}, "only by", id="config-on-tcp"),
        pytest.param(
            {"kind": "memcached_discovery", "options": {"cluster_config": "1\na||1\nb\n"}},
            "not a version line",
            id="config-of-three-lines",
        ),
        pytest.param(
            {"kind": "memcached_discovery", "options": {"cluster_config": "1\na||1\r\n"}},
            "not a version line",
            id="config-with-carriage-return",
        ),
        pytest.param(
            {"kind": "memcached_discovery", "options": {"cluster_config": "x" * 70_000}},
            "not a string of at most",
            id="endless-config",
        ),
    ],
)
def test_names_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(IllegalRoutes, match=message):
        parse_routes(json.dumps(document(**changes)))


def test_refuses_two_routes_of_one_name() -> None:
    route = document()["routes"][0]
    other = {**route, "listen": [["127.0.0.1", 6380]]}
    with pytest.raises(IllegalRoutes, match="the route name demo is used twice"):
        parse_routes(json.dumps(document(routes=[route, other])))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="half"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param(" " * (FILE_BYTES_MAX + 1), id="endless"),
    ],
)
def test_refuses_what_is_no_routes_file(text: str) -> None:
    with pytest.raises(IllegalRoutes):
        parse_routes(text)


def test_render_refuses_what_parse_would() -> None:
    here = Address("127.0.0.1", 1)
    route = Route(name="x", listen=(here,), kind=RouteKind.TCP, backends=(here,))
    with pytest.raises(IllegalRoutes, match="to itself"):
        render_routes(RouteTable(version=1, routes=(route,)))


def test_addresses_print_as_people_write_them() -> None:
    assert str(Address("127.0.0.1", 1)) == "127.0.0.1:1"
    assert str(Address("::1", 1)) == "[::1]:1"


def test_login_sockets_are_read_back() -> None:
    users = (LoginUser(user_name="ann", sha256s=("0" * 64, "f" * 64)),)
    sockets = (LoginSocket(socket_path="/run/x.in", users=users),)
    table = RouteTable(version=1, login_sockets=sockets)
    assert parse_routes(render_routes(table)) == table
    assert "0" * 64 not in repr(table)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"socket_path": "relative"}, "socket_path"),
        ({"users": [{"user_name": "", "sha256s": []}]}, "user_name"),
        ({"users": [{"user_name": "a", "sha256s": ["x"]}]}, "sha256s"),
        ({"users": [{"user_name": "a", "sha256s": ["0" * 64] * 3}]}, "sha256s"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_refuses_wrong_login_sockets(changes: dict[str, Any], where: str) -> None:
    entry = {"socket_path": "/x", "users": [], **changes}
    document = {"schema": 1, "version": 1, "routes": [], "login_sockets": [entry]}
    with pytest.raises(IllegalRoutes, match=where):
        parse_routes(json.dumps(document))
