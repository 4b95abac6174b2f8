"""render_config: one file a node, whole, and nothing in it that the binary cannot read."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.types import Endpoint, Engine, EngineBinary
from cachefleet.engine.valkey.config import (
    HIDDEN_COMMANDS,
    Listening,
    TlsFiles,
    _quoted,
    hidden_renames,
    listening_directives,
    renames_of,
    render_config,
)
from tests.unit.engine.valkey.builders import binary, config

REDIS_70 = binary(Engine.REDIS, (7, 0, 15))


def lines(**fields: Any) -> list[str]:
    return render_config(config(**fields)).splitlines()


def values(directive: str, **fields: Any) -> list[list[str]]:
    words = [shlex.split(line) for line in lines(**fields)]
    return [found[1:] for found in words if found[0] == directive]


def test_the_first_bind_is_where_connections_come_from() -> None:
    assert values("bind", binds=("127.0.5.1", "127.0.9.9")) == [["127.0.5.1", "127.0.9.9"]]
    assert values("bind-source-addr") == [["127.0.5.1"]]
    assert values("bind-source-addr", binds=("127.0.9.9", "127.0.5.1")) == [["127.0.5.1"]]
    assert values("bind-source-addr", binds=("127.0.9.9",), announce_host=None) == [["127.0.9.9"]]
    assert values("bind-source-addr", binds=("*",), announce_host=None) == []


def test_nothing_is_written_by_the_node_itself() -> None:
    assert values("save") == [[""]]
    assert values("appendonly") == [["no"]]
    assert values("repl-diskless-sync") == [["yes"]]
    assert values("repl-diskless-load") == [["swapdb"]]
    assert values("shutdown-on-sigterm") == [["nosave"]]
    assert values("pidfile") == [[""]]


@pytest.mark.parametrize(
    ("engine", "user", "password"),
    [
        pytest.param(binary(), "primaryuser", "primaryauth", id="valkey-9"),
        pytest.param(binary(version=(7, 2, 6)), "masteruser", "masterauth", id="valkey-7"),
        pytest.param(REDIS_70, "masteruser", "masterauth", id="redis"),
    ],
)
def test_replication_has_its_own_user_under_each_engines_name(
    engine: Any, user: str, password: str
) -> None:
    fields: dict[str, Any] = {"binary": engine, "primary_credentials": ("repl", 'pa"ss\\ word')}
    assert values(user, **fields) == [["repl"]]
    assert values(password, **fields) == [['pa"ss\\ word']]


def test_directives_newer_than_the_binary_are_left_out() -> None:
    assert values("availability-zone", availability_zone="us-east-1a") == [["us-east-1a"]]
    assert values("availability-zone", availability_zone="us-east-1a", binary=REDIS_70) == []
    # What the binary itself listed beats its version.
    listed = binary(directives=frozenset({"maxmemory"}))
    assert values("availability-zone", availability_zone="us-east-1a", binary=listed) == []


def test_cluster_directives_are_there_in_cluster_mode_only() -> None:
    fields: dict[str, Any] = {"cluster_enabled": True, "cluster_bus_port": 7000}
    assert values("cluster-enabled", **fields) == [["yes"]]
    assert values("cluster-port", **fields) == [["7000"]]
    assert values("cluster-announce-ip", **fields) == [["127.0.5.1"]]
    assert values("cluster-allow-replica-migration", **fields) == [["no"]]
    assert not [line for line in lines() if line.startswith("cluster-")]


def test_cluster_mode_is_written_once_whatever_the_parameters_say() -> None:
    for enabled in (True, False):
        fields: dict[str, Any] = {
            "cluster_enabled": enabled,
            "parameters": {"cluster-enabled": "yes"},
        }
        assert values("cluster-enabled", **fields) == ([["yes"]] if enabled else [])


def test_each_buffer_class_is_a_line_of_its_own() -> None:
    parameters = {
        "client-output-buffer-limit-replica-hard-limit": "5",
        "client-output-buffer-limit-pubsub-soft-seconds": "7",
    }
    assert values("client-output-buffer-limit", parameters=parameters) == [
        ["normal", "0", "0", "0"],
        ["replica", "5", "67108864", "60"],
        ["pubsub", "33554432", "8388608", "7"],
    ]


def test_memory_is_the_node_types_less_the_reserve() -> None:
    parameters = {"reserved-memory-percent": "25", "maxmemory": "999"}
    fields: dict[str, Any] = {"maxmemory_bytes": 1000, "parameters": parameters}
    assert values("maxmemory", **fields) == [["750"]]


def test_the_admin_comes_first_and_the_default_user_is_open_unless_lines_are_given() -> None:
    users = [line for line in lines() if line.startswith("user ")]
    assert users == [
        f"user admin on sanitize-payload #{'a' * 64} ~* &* +@all",
        "user default on sanitize-payload nopass ~* &* +@all",
    ]
    closed = [line for line in lines(acl_lines=("user default off",)) if line.startswith("user ")]
    assert closed[1:] == ["user default off"]


def test_renames_of_both_sides_are_written_and_told() -> None:
    fields: dict[str, Any] = {
        "renamed_commands": hidden_renames("s3cret"),
        "secret_prefix": "s3cret",
        "parameters": {"rename-commands": "FLUSHALL wipe keys blocked CONFIG mine"},
    }
    renames = renames_of(config(**fields))
    assert renames["FLUSHALL"] == "wipe"
    assert renames["KEYS"] == "s3cretKEYS"
    assert renames["CONFIG"] == "s3cretCONFIG"  # the service's own beats the customer's
    assert sorted(values("rename-command", **fields)) == sorted([k, v] for k, v in renames.items())
    assert set(HIDDEN_COMMANDS) < set(renames)


def test_tls_needs_files_and_a_binary_that_has_it() -> None:
    files = TlsFiles(cert_file="/c.pem", key_file="/k.pem", ca_file="/ca.pem")
    fields: dict[str, Any] = {"tls_port": 6380, "tls": files, "tls_replication": True}
    assert values("tls-port", **fields) == [["6380"]]
    assert values("tls-replication", **fields) == [["yes"]]
    assert values("tls-cluster", **fields) == []
    assert values("tls-cluster", cluster_enabled=True, **fields) == [["yes"]]
    assert values("tls-auth-clients", **fields) == [["no"]]
    for broken in ({"tls": None}, {"binary": binary(tls=False)}):
        with pytest.raises(BadConfiguration, match="TLS"):
            lines(**{**fields, **broken})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        pytest.param({"binds": ()}, "address", id="no-address"),
        pytest.param(
            {"cluster_enabled": True, "replica_of": Endpoint("h", 1)}, "nodes.conf", id="replica"
        ),
        pytest.param({"binary": binary(Engine.MEMCACHED)}, "memcached", id="memcached"),
        pytest.param({"acl_lines": ("user a on\nuser b on",)}, "line end", id="two-lines"),
        pytest.param({"tls_replication": True}, "TLS port", id="tls-replication"),
        pytest.param({"admin_password_sha256": "A" * 64}, "SHA-256", id="hash"),
    ],
)
def test_refuses_what_could_not_work(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(BadConfiguration, match=why):
        lines(**fields)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_any_value_is_one_word_on_one_line(value: str) -> None:
    written = _quoted(value)
    assert "\n" not in written
    assert "\r" not in written
    assert engine_words(written) == [value.encode()]


def engine_words(line: str) -> list[bytes]:
    """Split a line as the engine's reader does (its documented escapes, nothing else)."""
    words: list[bytes] = []
    rest = line
    while rest.strip(" "):
        rest = rest.lstrip(" ")
        word = bytearray()
        if not rest.startswith('"'):
            bare, _, rest = rest.partition(" ")
            words.append(bare.encode())
            continue
        rest = rest[1:]
        while not rest.startswith('"'):
            if rest.startswith("\\x"):
                word.append(int(rest[2:4], 16))
                rest = rest[4:]
            elif rest.startswith("\\"):
                word += rest[1].encode()
                rest = rest[2:]
            else:
                word += rest[0].encode()
                rest = rest[1:]
        rest = rest[1:]
        words.append(bytes(word))
    return words


TLS = TlsFiles(cert_file="/t/n.crt", key_file="/t/n.key", ca_file="/t/ca.crt")
TLS_REDIS = REDIS_70


def told(listening: Listening, engine: EngineBinary, *, cluster: bool = False) -> dict[str, str]:
    """Return what a node is set to, without the certificate."""
    found = listening_directives(listening, engine, cluster_enabled=cluster)
    return {k: v for k, v in found.items() if not k.endswith("-file")}


def test_an_engine_without_tls_is_never_told_of_it() -> None:
    behind = Listening(port=26379, client_port=6379)
    assert told(behind, binary(tls=False)) == {"port": "26379", "replica-announce-port": "6379"}


def test_clients_of_a_cluster_are_told_the_ports_of_the_gateway() -> None:
    behind = Listening(port=26379, client_port=6379)
    assert told(behind, binary(tls=False), cluster=True)["cluster-announce-client-port"] == "6379"
    inside = replace(behind, tls_port=36379, tls=TLS, tls_replication=True)
    redis = told(inside, TLS_REDIS, cluster=True)
    assert (redis["cluster-announce-port"], redis["cluster-announce-tls-port"]) == ("6379", "36379")
    assert (redis["tls-cluster"], redis["tls-replication"]) == ("yes", "yes")


def test_clients_of_a_cluster_are_told_the_same_port_whoever_has_it() -> None:
    inside = Listening(port=26379, tls_port=36379, tls=TLS, tls_replication=True, client_port=6379)
    ways = [
        Listening(port=6379),
        Listening(port=26379, client_port=6379),
        Listening(port=0, tls_port=6379, tls=TLS, tls_replication=True),
        inside,
    ]
    for way in ways:
        found = told(way, binary(tls=True), cluster=True)
        assert found["cluster-announce-client-port"] == "6379"
        assert found["cluster-announce-client-tls-port"] == "6379"


def test_what_was_set_for_the_gateway_is_taken_back() -> None:
    native = Listening(port=0, tls_port=6379, tls=TLS, tls_replication=True)
    redis = told(native, TLS_REDIS, cluster=True)
    assert (redis["port"], redis["tls-port"]) == ("0", "6379")
    assert (redis["cluster-announce-port"], redis["cluster-announce-tls-port"]) == ("0", "0")
    plain = told(Listening(port=6379), TLS_REDIS, cluster=True)
    assert (plain["tls-port"], plain["tls-cluster"], plain["tls-replication"]) == ("0", "no", "no")


def test_only_the_newest_tls_and_no_client_certificates() -> None:
    native = told(Listening(port=0, tls_port=6379, tls=TLS), TLS_REDIS)
    assert (native["tls-protocols"], native["tls-auth-clients"]) == ("TLSv1.2 TLSv1.3", "no")


def test_a_cluster_that_would_meet_through_the_gateway_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="behind the gateway"):
        told(Listening(port=26379, client_port=6379), REDIS_70, cluster=True)
