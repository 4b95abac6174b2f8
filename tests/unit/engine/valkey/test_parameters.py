"""Parameters to directives: every one has a rule, and none can stop a node."""

from __future__ import annotations

import pytest

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.parameters import (
    AWS_ONLY,
    BUFFER_PREFIX,
    MEMORY_PARAMETERS,
    RENAME_PARAMETER,
    RULES,
    buffer_limits,
    config_set_for,
    customer_renames,
    directive_for,
    effective_maxmemory_bytes,
    reads_back,
)
from tests.unit.engine.valkey.builders import binary

REDIS_70 = binary(Engine.REDIS, (7, 0, 15))
REPLICATING = [row for row in Catalog.load().families() if row.engine is not Engine.MEMCACHED]
FAMILIES = [row.name for row in REPLICATING]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_of_every_family_has_a_rule(family: str) -> None:
    table = Catalog.load().family(family)
    names = {row.name for row in table.parameters}
    names |= {row.name for row in table.node_type_parameters}
    special = {name for name in names if name.startswith(BUFFER_PREFIX)}
    assert names - special - MEMORY_PARAMETERS - {RENAME_PARAMETER} <= set(RULES)


@pytest.mark.parametrize(
    ("parameter", "version", "kind", "directive"),
    [
        pytest.param("timeout", (9, 1), Engine.VALKEY, "timeout", id="same"),
        pytest.param(
            "hash-max-ziplist-entries",
            (9, 1),
            Engine.VALKEY,
            "hash-max-listpack-entries",
            id="old-name-on-new-engine",
        ),
        pytest.param(
            "hash-max-listpack-entries",
            (6, 2),
            Engine.REDIS,
            "hash-max-ziplist-entries",
            id="new-name-on-old-engine",
        ),
        pytest.param(
            "min-slaves-to-write", (7, 0), Engine.REDIS, "min-replicas-to-write", id="slaves"
        ),
        pytest.param("cluster-databases", (9, 0), Engine.VALKEY, "cluster-databases", id="newest"),
    ],
)
def test_the_directive_is_the_engines_own_name(
    parameter: str, version: tuple[int, ...], kind: Engine, directive: str
) -> None:
    assert directive_for(parameter, "5", version, kind=kind) == [(directive, "5")]


@pytest.mark.parametrize(
    ("parameter", "version", "kind"),
    [
        pytest.param("close-on-replica-write", (9, 1), Engine.VALKEY, id="service-only"),
        pytest.param("commandlog-reply-larger-than", (8, 0), Engine.VALKEY, id="too-old"),
        pytest.param("commandlog-reply-larger-than", (8, 2), Engine.REDIS, id="other-engine"),
        pytest.param("no-such-parameter", (9, 1), Engine.VALKEY, id="unknown"),
        pytest.param("reserved-memory-percent", (9, 1), Engine.VALKEY, id="without-its-memory"),
    ],
)
def test_some_parameters_have_no_directive(
    parameter: str, version: tuple[int, ...], kind: Engine
) -> None:
    assert directive_for(parameter, "5", version, kind=kind) is None


def test_a_parameter_of_a_composed_directive_is_written_with_its_neighbours() -> None:
    name = "client-output-buffer-limit-pubsub-hard-limit"
    others = {"client-output-buffer-limit-pubsub-soft-limit": "2"}
    ((directive, value),) = directive_for(name, "3", (9, 1), others=others) or []
    assert directive == "client-output-buffer-limit"
    assert value.endswith("pubsub 3 2 60")
    assert directive_for("reserved-memory-percent", "50", (9, 1), others={"maxmemory": "1000"}) == [
        ("maxmemory", "500")
    ]


def test_slave_limits_are_replica_limits() -> None:
    limits = buffer_limits({"client-output-buffer-limit-slave-hard-limit": "77"})
    assert limits[4:8] == ["replica", "77", "67108864", "60"]


def test_a_plan_sorts_what_now_what_at_start_what_never() -> None:
    plan = config_set_for(
        {
            "timeout": "20",
            "databases": "32",
            "maxclients": "65000",
            "commandlog-reply-larger-than": "5",
            "close-on-replica-write": "yes",
            "rename-commands": "",
            "nonsense": "1",
            "extended-redis-compatibility": "no",
        },
        REDIS_70,
        maxmemory_bytes=400,
    )
    assert plan.directives == {"timeout": "20", "maxmemory": "400"}
    assert plan.at_start == {"databases": "32", "maxclients": "65000"}
    # A switch that the engine has not is off: that one is as wanted.
    assert plan.unknown == ("commandlog-reply-larger-than", "nonsense")
    assert plan.aws_only == ("close-on-replica-write", "rename-commands")


def test_what_the_binary_listed_decides() -> None:
    listed = binary(directives=frozenset({"timeout", "hash-max-ziplist-value"}))
    plan = config_set_for(
        {"timeout": "20", "maxmemory-samples": "3", "hash-max-listpack-value": "9"}, listed
    )
    assert plan.directives == {"timeout": "20", "hash-max-ziplist-value": "9"}
    assert plan.unknown == ("maxmemory-samples",)


def test_endpoint_type_follows_whether_there_are_host_names() -> None:
    parameters = {"cluster-preferred-endpoint-type": "tls-dynamic"}
    for hostnames, value in ((False, "ip"), (True, "hostname")):
        plan = config_set_for(parameters, binary(), hostnames=hostnames)
        assert plan.directives == {"cluster-preferred-endpoint-type": value}


def test_databases_of_a_cluster_are_at_least_one() -> None:
    assert config_set_for({"cluster-databases": "0"}, binary()).at_start == {
        "cluster-databases": "1"
    }


@pytest.mark.parametrize(
    ("parameters", "left"),
    [
        pytest.param({}, 1000, id="nothing-reserved"),
        pytest.param({"reserved-memory-percent": "25"}, 750, id="percent"),
        pytest.param({"reserved-memory": "100"}, 900, id="bytes"),
        pytest.param({"reserved-memory-percent": "100"}, 1, id="all-is-not-unlimited"),
        pytest.param({"reserved-memory": "5000"}, 1, id="more-than-all"),
    ],
)
def test_memory_left_for_data(parameters: dict[str, str], left: int) -> None:
    assert effective_maxmemory_bytes(1000, parameters) == left
    assert effective_maxmemory_bytes(0, parameters) == 0


@pytest.mark.parametrize("value", ["-1", "101", "x", ""])
def test_refuses_a_reserve_that_is_no_percentage(value: str) -> None:
    with pytest.raises(BadConfiguration):
        effective_maxmemory_bytes(1000, {"reserved-memory-percent": value})


def test_refuses_limits_that_are_no_numbers() -> None:
    with pytest.raises(BadConfiguration, match="pubsub"):
        buffer_limits({"client-output-buffer-limit-pubsub-hard-limit": "1 2 3"})


def test_refuses_to_rename_what_replication_needs_and_halves_of_pairs() -> None:
    for value in ("PING pong", "select x", "FLUSHALL"):
        with pytest.raises(BadConfiguration):
            customer_renames(value, secret_prefix="s")
    assert customer_renames("", secret_prefix="s") == {}


@pytest.mark.parametrize(
    ("directive", "wanted", "got", "same"),
    [
        pytest.param("timeout", "20", "20", True, id="equal"),
        pytest.param("timeout", "20", "21", False, id="other"),
        pytest.param("notify-keyspace-events", "KEA", "AKE", True, id="order"),
        pytest.param("notify-keyspace-events", "KEg", "gKE", True, id="some"),
        pytest.param("notify-keyspace-events", "KEA", "gKE", False, id="fewer"),
        pytest.param(
            "client-output-buffer-limit", "replica 1 2 3", "slave 1 2 3", True, id="old-word"
        ),
        pytest.param(
            "client-output-buffer-limit", "replica 1 2 3", "slave 1 2 4", False, id="other-limit"
        ),
    ],
)
def test_reads_back(directive: str, wanted: str, got: str, same: bool) -> None:
    assert reads_back(directive, wanted, got) is same


def test_service_only_parameters_are_a_closed_list() -> None:
    # Each of these is a promise that something other than the engine must keep.
    service_only = {name for name, rule in RULES.items() if rule is AWS_ONLY}
    assert {"close-on-replica-write", "appendonly", "search-fanout-target-mode"} < service_only
    assert len(service_only) == 11
