"""render_argv: every parameter an option, bundled and stock."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.memcached.config import (
    Logins,
    MemcachedConfig,
    memory_mb,
    render_argv,
    unknown_parameters,
)
from cachefleet.engine.types import Engine, EngineBinary


def binary(source: str = "bundled", kind: Engine = Engine.MEMCACHED) -> EngineBinary:
    return EngineBinary(
        kind=kind,
        argv=("memserver", "--x"),
        version=(1, 6, 22),
        tls=False,
        source=source,
        detail="",
    )


def config(**fields: Any) -> MemcachedConfig:
    defaults: dict[str, Any] = {
        "binary": binary(),
        "binds": ("127.0.5.1",),
        "port": 11211,
        "max_cache_memory_mb": 512,
        "num_threads": 2,
        "open_files_max": 10**6,
    }
    return MemcachedConfig(**{**defaults, **fields})


def options(**fields: Any) -> dict[str, str]:
    """The command line as option to value; flags have an empty one."""
    argv = render_argv(config(**fields))
    assert argv[:2] == ["memserver", "--x"]
    found: dict[str, str] = {}
    words = iter(argv[2:])
    flags = {"-C", "-F", "-M", "-L", "-k", "-r", "-Z", "--no-admin-commands"}
    for word in words:
        assert word.startswith("-"), argv
        found[word] = "" if word in flags else next(words)
    return found


def extended(**parameters: str) -> list[str]:
    return options(parameters=parameters)["-o"].split(",")


def test_place_memory_and_threads() -> None:
    found = options(
        binds=("127.0.5.1", "127.0.9.9"), parameters={"memcached_connections_overhead": "100"}
    )
    assert found["-l"] == "127.0.5.1,127.0.9.9"
    assert (found["-p"], found["-m"], found["-t"], found["-U"]) == ("11211", "412", "2", "0")
    assert memory_mb(config(parameters={"memcached_connections_overhead": "9999"})) == 1


@pytest.mark.parametrize(
    ("parameter", "value", "option"),
    [
        ("max_item_size", "2097152", "-I"),
        ("chunk_size", "96", "-n"),
        ("chunk_size_growth_factor", "1.5", "-f"),
        ("binding_protocol", "ascii", "-B"),
        ("max_simultaneous_connections", "65000", "-c"),
        ("requests_per_event", "20", "-R"),
        ("backlog_queue_limit", "1024", "-b"),
    ],
)
def test_parameters_with_a_value(parameter: str, value: str, option: str) -> None:
    assert options(parameters={parameter: value})[option] == value


@pytest.mark.parametrize(
    ("parameter", "option"),
    [
        ("error_on_memory_exhausted", "-M"),
        ("cas_disabled", "-C"),
        ("disable_flush_all", "-F"),
        ("lock_down_paged_memory", "-k"),
        ("large_memory_pages", "-L"),
    ],
)
def test_parameters_that_are_on_or_off(parameter: str, option: str) -> None:
    assert option in options(parameters={parameter: "1"})
    assert option not in options(parameters={parameter: "0"})


def test_extended_options_after_no_modern() -> None:
    words = extended(
        no_modern="1",
        idle_timeout="60",
        lru_crawler="1",
        slab_reassign="0",
        hash_algorithm="murmur3",
    )
    assert words[0] == "no_modern"
    assert set(words[1:]) == {
        "idle_timeout=60",
        "lru_crawler",
        "no_slab_reassign",
        "hash_algorithm=murmur3",
    }
    assert extended(slab_chunk_max="524288") == ["slab_chunk_max=512"]
    assert extended(track_sizes="1", maxconns_fast="0") == ["no_maxconns_fast", "track_sizes"]


def test_what_only_the_bundled_server_takes() -> None:
    fields: dict[str, Any] = {
        "control_socket": "/c",
        "cluster_config_file": "/f",
        "memory_file": "/m",
        "report_version": "1.6.17",
        "logins_file": "/l",
    }
    found = options(**fields)
    assert (found["--control"], found["--cluster-config-file"]) == ("/c", "/f")
    assert found["--logins-file"] == "/l"
    assert (found["--memory-file"], found["--report-version"]) == ("/m", "1.6.17")
    stock = options(binary=binary("path"), **fields)
    assert not [option for option in stock if option.startswith("--")]


@pytest.mark.parametrize(
    ("sasl", "tls", "listeners"),
    [
        (True, False, "proto[binary]:127.0.5.1:11211,proto[ascii]:127.0.5.1:31211"),
        (False, False, "proto[ascii]:127.0.5.1:11211,proto[ascii]:127.0.5.1:31211"),
        (False, True, "proto[ascii]:127.0.5.1:11211,notls:proto[ascii]:127.0.5.1:31211"),
    ],
)
def test_clients_of_a_stock_server_log_in_at_their_port_and_we_at_ours(
    sasl: bool, tls: bool, listeners: str
) -> None:
    fields: dict[str, Any] = {
        "binary": binary("path"),
        "parameters": {"binding_protocol": "auto"},
        "plain_port": 31211,
        "logins": Logins(auth_file="/auth", sasl=sasl),
    }
    if tls:
        fields |= {"tls_cert_file": "c", "tls_key_file": "k"}
    argv = render_argv(config(**fields))
    assert argv[argv.index("-l") + 1] == listeners
    assert argv[argv.index("-Y") + 1] == "/auth"
    # memcached refuses to start with a protocol that does not go with the logins.
    assert ("-S" in argv, "-B" in argv) == (sasl, False)


def test_a_stock_server_gets_no_more_connections_than_files() -> None:
    fields: dict[str, Any] = {
        "parameters": {"max_simultaneous_connections": "65000"},
        "open_files_max": 20000,
    }
    assert options(binary=binary("path"), **fields)["-c"] == "20000"
    assert options(**fields)["-c"] == "65000"


def test_tls_needs_both_files() -> None:
    found = options(tls_cert_file="/c.pem", tls_key_file="/k.pem")
    assert "-Z" in found
    assert found["-o"] == "ssl_chain_cert=/c.pem,ssl_key=/k.pem"
    with pytest.raises(BadConfiguration):
        options(tls_cert_file="/c.pem")


@pytest.mark.parametrize("family", ["memcached1.4", "memcached1.5", "memcached1.6"])
def test_every_parameter_of_every_family_is_known(family: str) -> None:
    catalog = Catalog.load()
    parameters = catalog.resolve_parameters(family, {}, "cache.t3.micro", cluster_enabled=False)
    assert unknown_parameters(parameters) == ()
    assert unknown_parameters({**parameters, "new_one": "1"}) == ("new_one",)
    assert render_argv(config(parameters=parameters))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"parameters": {"idle_timeout": "1,no_lru_crawler"}}, id="second-option"),
        pytest.param({"parameters": {"max_item_size": "-x"}}, id="dash"),
        pytest.param({"parameters": {"cas_disabled": "yes"}}, id="no-boolean"),
        pytest.param({"parameters": {"memcached_connections_overhead": "x"}}, id="no-number"),
        pytest.param({"binds": ()}, id="no-address"),
        pytest.param({"binary": binary(kind=Engine.VALKEY)}, id="other-engine"),
    ],
)
def test_refuses_what_could_not_be_options(fields: dict[str, Any]) -> None:
    with pytest.raises(BadConfiguration):
        render_argv(config(**fields))
