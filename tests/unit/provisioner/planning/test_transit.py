"""decide_transit: the engine itself where it can, the gateway where it has to."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cachefleet.engine.gateway.routes import TlsMode
from cachefleet.engine.types import Engine
from cachefleet.provisioner.planning.transit import (
    BUS_OFFSET,
    ENGINE_OFFSET,
    PLAIN,
    PORT_MAX,
    REPLICATION_OFFSET,
    Transit,
    decide_transit,
    endpoint_identity,
    node_identity,
    port_beside,
)

REQUIRED, PREFERRED = TlsMode.REQUIRED, TlsMode.PREFERRED


def decided(
    mode: str | None,
    *,
    tls: bool,
    guarded: bool = False,
    engine: Engine = Engine.VALKEY,
    bundled: bool = False,
    logins: bool = False,
) -> Transit:
    return decide_transit(
        engine=engine,
        mode=mode,
        binary_tls=tls,
        bundled=bundled,
        guarded=guarded,
        logins=logins,
    )


@pytest.mark.parametrize("tls", [True, False])
def test_without_encryption_nothing_stands_between(tls: bool) -> None:
    assert decided(None, tls=tls) == PLAIN
    assert decided(None, tls=tls, engine=Engine.MEMCACHED) == PLAIN


@pytest.mark.parametrize(
    ("mode", "tls", "guarded", "wanted"),
    [
        ("required", True, False, Transit(mode=REQUIRED, engine_tls=True)),
        ("required", False, False, Transit(mode=REQUIRED, fronted=True, inner_port=True)),
        (
            "preferred",
            True,
            False,
            Transit(
                mode=PREFERRED,
                fronted=True,
                engine_tls=True,
                inner_port=True,
                replication_port=True,
            ),
        ),
        ("preferred", False, False, Transit(mode=PREFERRED, fronted=True, inner_port=True)),
        (
            "required",
            True,
            True,
            Transit(
                mode=REQUIRED, fronted=True, engine_tls=True, inner_port=True, replication_port=True
            ),
        ),
        (
            None,
            True,
            True,
            Transit(fronted=True, engine_tls=True, inner_port=True, replication_port=True),
        ),
        (None, False, True, Transit(fronted=True, inner_port=True)),
    ],
)
def test_who_does_what(mode: str | None, tls: bool, guarded: bool, wanted: Transit) -> None:
    assert decided(mode, tls=tls, guarded=guarded) == wanted


def test_nodes_meet_elsewhere_only_where_clients_have_the_port() -> None:
    for mode, tls, guarded in itertools.product(
        (None, "required", "preferred"), (True, False), (True, False)
    ):
        transit = decided(mode, tls=tls, guarded=guarded)
        assert transit.replication_port == (transit.fronted and tls)
        assert transit.inner_port == transit.fronted


@pytest.mark.parametrize(("bundled", "inner"), [(True, False), (False, True)])
def test_memcached_speaks_tls_itself(bundled: bool, inner: bool) -> None:
    transit = decided("required", tls=True, engine=Engine.MEMCACHED, bundled=bundled)
    assert transit == Transit(mode=REQUIRED, engine_tls=True, inner_port=inner)


FRONTED: dict[str, Any] = {"fronted": True, "replication_port": True}


@pytest.mark.parametrize(
    ("mode", "bundled", "guarded", "logins", "wanted"),
    [
        pytest.param(None, True, False, True, Transit(), id="bundled-logins"),
        pytest.param(None, False, False, True, Transit(inner_port=True), id="stock-logins"),
        pytest.param(None, True, True, False, Transit(**FRONTED), id="bundled-guarded"),
        pytest.param(
            None, False, True, True, Transit(**FRONTED, inner_port=True), id="stock-guarded"
        ),
        pytest.param(
            "required",
            True,
            True,
            True,
            Transit(mode=REQUIRED, **FRONTED, engine_tls=True),
            id="bundled-guarded-tls-is-passed-on",
        ),
        pytest.param(
            "required",
            True,
            False,
            True,
            Transit(mode=REQUIRED, engine_tls=True),
            id="bundled-tls-logins",
        ),
        pytest.param(
            "required",
            False,
            False,
            True,
            Transit(mode=REQUIRED, **FRONTED, inner_port=True),
            id="stock-tls-logins-end-tls-in-the-gateway",
        ),
    ],
)
def test_memcached_with_logins_and_security_groups(
    mode: str | None, bundled: bool, guarded: bool, logins: bool, wanted: Transit
) -> None:
    found = decided(
        mode, tls=True, engine=Engine.MEMCACHED, bundled=bundled, guarded=guarded, logins=logins
    )
    assert found == wanted


@pytest.mark.parametrize("port", [1150, 6379, 11211, 25_535, 35_535, 45_536, 55_535, PORT_MAX])
def test_ports_beside_a_port_never_meet(port: int) -> None:
    ports = [port, *(port_beside(port, o) for o in (BUS_OFFSET, ENGINE_OFFSET, REPLICATION_OFFSET))]
    assert len(set(ports)) == 4
    assert all(0 < one <= PORT_MAX for one in ports)


def test_a_node_is_trusted_at_every_endpoint_it_may_stand_for() -> None:
    identity = node_identity(
        member="demo-001", node_id="0001", host="127.0.5.1", endpoints=["127.0.5.9", "127.0.5.1"]
    )
    assert identity.addresses == ("127.0.5.1", "127.0.5.9")
    assert identity.names == ("0001.demo-001.cachefleet.internal",)


def test_what_is_at_localhost_is_trusted_by_that_name() -> None:
    assert "localhost" in endpoint_identity(subject="g", kind="reader", host="127.0.0.1").names
    assert "localhost" not in endpoint_identity(subject="g", kind="reader", host="127.0.0.2").names
