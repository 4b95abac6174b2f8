"""The catalogue: the data is whole, and its rules say what the service says."""

from __future__ import annotations

import re

import pytest

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.catalog.catalog import NotInCatalog
from cachefleet.engine.types import Engine

CATALOG = Catalog.load()


def test_is_loaded_once() -> None:
    assert Catalog.load() is CATALOG


# -- node types -----------------------------------------------------------------------------


def test_node_types_have_their_figures() -> None:
    micro = CATALOG.node_type("cache.t3.micro")
    assert micro is not None
    assert (micro.maxmemory_bytes, micro.maxclients, micro.vcpu) == (536870912, 20000, 2)
    assert micro.maxmemory_bytes * 75 // 100 == 402653184
    assert CATALOG.node_type("cache.t9.micro") is None
    assert len(CATALOG.node_types()) == 112
    assert all(row.runs(Engine.MEMCACHED) for row in CATALOG.node_types(Engine.MEMCACHED))


@pytest.mark.parametrize(
    ("name", "max_cache_memory_mb"),
    [
        ("cache.m2.xlarge", 16900),
        ("cache.r3.8xlarge", 242600),
        ("cache.t3.medium", 3164),
        ("cache.m4.xlarge", 14618),
        ("cache.c7gn.12xlarge", 80450),
    ],
)
def test_known_slips_of_the_guide_are_put_right(name: str, max_cache_memory_mb: int) -> None:
    row = CATALOG.node_type(name)
    assert row is not None
    assert row.max_cache_memory_mb == max_cache_memory_mb


def test_memory_for_memcached_is_near_that_for_the_others() -> None:
    current = [row for row in CATALOG.node_types(Engine.MEMCACHED) if row.generation == "current"]
    assert len(current) > 80
    for row in current:
        ratio = row.max_cache_memory_mb * 2**20 / row.maxmemory_bytes
        assert 0.95 < ratio < 1.05, row.name


def test_scaling_goes_to_what_fits_and_never_into_or_out_of_tiering() -> None:
    up, down = CATALOG.allowed_node_type_modifications("cache.r6g.large", Engine.VALKEY, "8.0")
    assert up == sorted(up)
    assert down == sorted(down)
    assert "cache.r6g.xlarge" in up
    assert "cache.r7g.large" in up  # as much memory
    assert "cache.t3.micro" in down
    assert "cache.r6g.large" not in up + down
    assert not [name for name in up + down if name.startswith("cache.r6gd.")]
    assert not [name for name in up + down if name.startswith("cache.m3.")]
    tiered_up, tiered_down = CATALOG.allowed_node_type_modifications(
        "cache.r6gd.xlarge", Engine.VALKEY
    )
    assert {name.split(".")[1] for name in tiered_up + tiered_down} == {"r6gd"}
    old_engine, _ = CATALOG.allowed_node_type_modifications("cache.t3.micro", Engine.REDIS, "5.0.6")
    assert "cache.m6g.large" in old_engine
    assert "cache.m7g.large" not in old_engine
    with pytest.raises(NotInCatalog):
        CATALOG.allowed_node_type_modifications("cache.none", Engine.REDIS)


# -- versions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "requested", "reported"),
    [
        (Engine.REDIS, None, "7.1.0"),
        (Engine.MEMCACHED, None, "1.6.22"),
        (Engine.VALKEY, None, "9.1.0"),
        (Engine.REDIS, "7.0", "7.0.7"),
        (Engine.REDIS, "6.x", "6.2.6"),
        (Engine.REDIS, "5.0.6", "5.0.6"),
        (Engine.VALKEY, "7.2", "7.2.6"),
        (Engine.REDIS, "7.0.7", None),
        (Engine.VALKEY, "7.2.6", None),
        (Engine.VALKEY, "7.0", None),
        (Engine.MEMCACHED, "1.6", None),
        (Engine.REDIS, "", None),
    ],
)
def test_a_request_names_a_version_or_none(
    engine: Engine, requested: str | None, reported: str | None
) -> None:
    row = CATALOG.resolve_version(engine, requested)
    assert (row.cluster_version if row else None) == reported


def test_versions_are_sorted_as_strings_and_ended_ones_stay_listed() -> None:
    memcached = [row.version for row in CATALOG.engine_versions(Engine.MEMCACHED)]
    assert memcached.index("1.4.33") < memcached.index("1.4.5")
    old = CATALOG.resolve_version(Engine.REDIS, "2.8.24")
    assert old is not None
    assert not old.creatable
    assert CATALOG.is_version_format(Engine.REDIS, "7.9")
    assert not CATALOG.is_version_format(Engine.REDIS, "7.0.4")


def test_every_version_has_its_family_and_default_groups() -> None:
    for row in CATALOG.engine_versions():
        family = CATALOG.family_of(row.engine, row.version)
        assert family is CATALOG.family_of(row.engine, row.cluster_version)
        assert family.engine is row.engine
        name = CATALOG.default_group_name(row.engine, row.version, cluster_enabled=False)
        assert name == f"default.{row.family}"


def test_features_have_their_minimum() -> None:
    assert CATALOG.supports("iam_auth", Engine.REDIS, "7.0")
    assert not CATALOG.supports("iam_auth", Engine.REDIS, "6.2.6")
    assert CATALOG.supports("in_transit_encryption_modify", Engine.REDIS, "7.0")  # as 7.0.7
    assert not CATALOG.supports("iam_auth", Engine.MEMCACHED, "1.6.22")


# -- families -------------------------------------------------------------------------------


def test_defaults_are_allowed_by_their_own_tables() -> None:
    known_exceptions = {"cluster-databases"}  # documented as 0 with a range from 1
    for family in CATALOG.families():
        for row in family.parameters:
            if row.value and row.name not in known_exceptions:
                assert row.allows(row.value), (family.name, row.name, row.value)


def test_values_in_force_come_from_the_strongest_source() -> None:
    values = CATALOG.resolve_parameters(
        "redis7", {"timeout": "20"}, "cache.t3.micro", cluster_enabled=True
    )
    assert values["timeout"] == "20"
    assert values["cluster-enabled"] == "yes"
    assert values["maxmemory"] == "536870912"
    assert values["maxclients"] == "20000"
    assert values["client-output-buffer-limit-replica-hard-limit"] == "53687091"
    plain = CATALOG.resolve_parameters("redis7", {}, "cache.r7g.large", cluster_enabled=False)
    assert (plain["cluster-enabled"], plain["maxclients"]) == ("no", "65000")
    memcached = CATALOG.resolve_parameters(
        "memcached1.6", {}, "cache.t3.medium", cluster_enabled=False
    )
    assert (memcached["max_cache_memory"], memcached["num_threads"]) == ("3164", "2")


def test_default_groups() -> None:
    assert (
        CATALOG.default_group_name(Engine.VALKEY, "8.1", cluster_enabled=True)
        == "default.valkey8.cluster.on"
    )
    found = CATALOG.default_group("default.redis7.cluster.on")
    assert found is not None
    assert found[0].name == "redis7"
    assert found[1].overrides == {"cluster-enabled": "yes"}
    for name in ("mine", "default.redis99", "default.redis2.6.cluster.on", "redis7"):
        assert CATALOG.default_group(name) is None
    with pytest.raises(NotInCatalog):
        CATALOG.default_group_name(Engine.MEMCACHED, "1.6.22", cluster_enabled=True)


def test_parameters_are_in_the_services_order() -> None:
    names = [row.name for row in CATALOG.family("redis7").parameters]
    assert names.index("activedefrag") < names.index("active-defrag-cycle-max")
    assert names.index("acllog-max-len") < names.index("acl-pubsub-default")


@pytest.mark.parametrize(
    ("family", "name", "good", "bad"),
    [
        ("redis7", "timeout", ["0", "20", "100000"], ["19", "1", "-1", "x", ""]),
        ("redis7", "slowlog-log-slower-than", ["-1", "0", "99"], ["1.5", "x"]),
        ("redis7", "lua-time-limit", ["5000"], ["4999", "5001"]),
        ("redis7", "maxclients", ["1", "65000"], ["0", "65001"]),
        ("redis7", "activedefrag", ["yes", "no"], ["on", "1"]),
        ("redis7", "list-max-listpack-size", ["-5", "-1", "7"], ["-6", "0"]),
        ("redis7", "notify-keyspace-events", ["", "KEA", "Kx"], ["Q", "K E"]),
        ("memcached1.6", "chunk_size_growth_factor", ["1.25", "2"], ["0.5", "x"]),
        ("memcached1.6", "slab_automove", ["0", "2"], ["3"]),
        (
            "redis5.0",
            "rename-commands",
            ["", "FLUSHALL gone", "keys blocked get fetch"],
            ["FLUSHALL", "CONFIG c", "KEYS a-b", "KEYS a keys b", "GET " + "x" * 21],
        ),
    ],
)
def test_allowed_values(family: str, name: str, good: list[str], bad: list[str]) -> None:
    row = CATALOG.family(family).parameter(name)
    assert row is not None
    assert [value for value in good if not row.allows(value)] == []
    assert [value for value in bad if row.allows(value)] == []


def test_node_type_parameters_have_a_value_for_every_type_that_runs_the_engine() -> None:
    for family in CATALOG.families():
        expected = {row.name for row in CATALOG.node_types(family.engine)}
        for parameter in family.node_type_parameters:
            assert set(parameter.values) == expected
            assert not parameter.is_modifiable


# -- events and limits ----------------------------------------------------------------------


def test_event_messages_are_filled_in() -> None:
    assert (
        CATALOG.event_message("cache_node_added", node="0001", az="us-east-1e")
        == "Added cache node 0001 in availability zone us-east-1e"
    )
    assert CATALOG.event_message("cache_cluster_created") == "Cache cluster created"
    with pytest.raises(AssertionError):
        CATALOG.event_message("cache_node_added", node="0001")
    with pytest.raises(NotInCatalog):
        CATALOG.event("nothing")


def test_every_event_has_a_key_a_source_and_a_text() -> None:
    keys = [template.key for template in CATALOG.events()]
    assert len(keys) == len(set(keys))
    for template in CATALOG.events():
        assert re.fullmatch(r"[a-z][a-z_]+", template.key)
        assert template.source_type in CATALOG.document("events")["meta"]["source_types"]
        assert template.fill(**dict.fromkeys(template.fields, "x"))
        assert template.sends_sns == (template.sns_event is not None)


def test_limits_are_found_by_name() -> None:
    assert CATALOG.quota("Replicas per shard") == 5
    page = CATALOG.page("DescribeCacheClusters")
    assert page is not None
    assert (page["min"], page["max"], page["default"]) == (20, 100, 100)
    assert CATALOG.page("CreateUser") is None
    assert "config" in CATALOG.limits["restricted_commands"]["redis_valkey"]
    with pytest.raises(NotInCatalog):
        CATALOG.quota("nothing")
