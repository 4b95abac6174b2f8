"""Which values a parameter takes, and what a change of them means to a node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachefleet.engine.catalog import Catalog, Parameter, ParameterFamily
from cachefleet.provisioner.state import parameters
from cachefleet.provisioner.state.errors import InvalidValue

CATALOG = Catalog.load()
REDIS7 = CATALOG.family("redis7")
MEMCACHED = CATALOG.family("memcached1.6")


def parameter(
    allowed: str = "", data_type: str = "integer", *, name: str = "p", change: str = "immediate"
) -> Parameter:
    return Parameter(
        name=name,
        value="",
        data_type=data_type,
        allowed_values=allowed,
        is_modifiable=True,
        minimum_engine_version="7.0.0",
        change_type=change,
        description="",
    )


@pytest.mark.parametrize(
    ("allowed", "data_type", "legal", "illegal"),
    [
        pytest.param("yes,no", "string", "yes no", "YES maybe yes,no y", id="words"),
        pytest.param("0,1", "boolean", "0 1", "2 yes 00", id="boolean"),
        pytest.param("0,1,2", "integer", "0 1 2", "3 -1", id="numbers"),
        pytest.param("5000", "integer", "5000", "4999 5001", id="one-number"),
        pytest.param("0-", "integer", "0 1 9223372036854774784", "-1 1.5 x", id="open-range"),
        pytest.param("1-65000", "integer", "1 65000", "0 65001", id="range"),
        pytest.param("0,20-", "integer", "0 20 21", "1 19 -20", id="zero-or-range"),
        pytest.param("-", "integer", "-1 0 7", "1.0 a --1", id="any-integer"),
        pytest.param("-5,-4,-3,-2,-1,1-", "integer", "-5 -1 1 9", "0 -6", id="negatives"),
        pytest.param("1-1024", "float", "1 1.25 1024", "0.99 1024.5 1. nan inf", id="float"),
        pytest.param("", "string", "anything", "", id="free-text"),
    ],
)
def test_allowed_values(allowed: str, data_type: str, legal: str, illegal: str) -> None:
    row = parameter(allowed, data_type)
    taken = {value: parameters.is_allowed(row, value, family="redis7") for value in legal.split()}
    refused = {
        value: parameters.is_allowed(row, value, family="redis7") for value in illegal.split()
    }
    assert all(taken.values()), taken
    assert not any(refused.values()), refused


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param(" 1", id="blank"),
        pytest.param("٣", id="digit-of-another-script"),
        pytest.param("9" * 19, id="beyond-64-bits"),
        pytest.param("9" * 400, id="beyond-a-float"),
        pytest.param("1\nrequirepass x", id="two-lines"),
    ],
)
def test_no_engine_could_read_it_as_a_number(value: str) -> None:
    assert not parameters.is_allowed(parameter("0-"), value, family="redis7")


@pytest.mark.parametrize("value", ["a\nb", "a\x00", "ä", "x" * 4097])
def test_free_text_stays_printable_and_short(value: str) -> None:
    assert not parameters.is_allowed(parameter("", "string"), value, family="redis7")


@pytest.mark.parametrize(
    ("family", "value", "is_legal"),
    [
        ("redis7", "", True),
        ("redis7", "KEA", True),
        ("redis7", "Kn", True),
        ("redis6.x", "Kn", False),
        ("redis6.x", "Km", True),
        ("redis5.0", "Km", False),
        ("redis5.0", "Kt", True),
        ("redis3.2", "Kt", False),
        ("valkey8", "Kn", True),
        ("redis7", "KEq", False),
        ("redis7", "K E", False),
    ],
)
def test_keyspace_events_are_letters_that_the_version_knows(
    family: str, value: str, is_legal: bool
) -> None:
    row = CATALOG.family(family).parameter("notify-keyspace-events")
    assert row is not None
    assert parameters.is_allowed(row, value, family=family) is is_legal


@pytest.mark.parametrize(
    ("value", "is_legal"),
    [
        ("", True),
        ("GET fetch", True),
        ("get fetch SET store", True),
        ("FLUSHALL blocked FLUSHDB blocked", True),
        ("GET", False),
        ("CONFIG other", False),
        ("GET one GET two", False),
        ("GET one SET ONE", False),
        ("GET with-dash", False),
        ("GET " + "x" * 20, True),
        ("GET " + "x" * 21, False),
    ],
)
def test_commands_are_renamed_in_pairs(value: str, is_legal: bool) -> None:
    row = REDIS7.parameter("rename-commands")
    assert row is not None
    assert parameters.is_allowed(row, value, family="redis7") is is_legal


@pytest.mark.parametrize("family", CATALOG.families(), ids=lambda family: family.name)
def test_every_default_is_allowed(family: ParameterFamily) -> None:
    wrong = [
        one.name
        for one in family.parameters
        if not parameters.is_allowed(one, one.value, family=family.name)
    ]
    # The guide's default of 0 lies outside of the range that the same guide permits.
    assert wrong == (["cluster-databases"] if family.name == "valkey9" else [])


@pytest.mark.parametrize(
    ("wanted", "attached", "message"),
    [
        pytest.param([], False, "must have 1 to 20 items", id="none"),
        pytest.param([("timeout", "0")] * 21, False, "must have 1 to 20 items", id="too-many"),
        pytest.param([("nonsense", "1")], False, "Parameter nonsense doesn't exist", id="unknown"),
        pytest.param(
            [("reserved-memory", "0")], False, "Parameter reserved-memory doesn't exist", id="old"
        ),
        pytest.param([("timeout", "0"), ("timeout", "20")], False, "more than once", id="twice"),
        pytest.param([("maxclients", "1")], False, "cannot be modified", id="fixed"),
        pytest.param([("maxmemory", "1")], False, "cannot be modified", id="by-node-type"),
        pytest.param([("databases", "2")], True, "cannot be modified", id="fixed-once-in-use"),
        pytest.param(
            [("activedefrag", "maybe")],
            False,
            "invalid parameter value, allowed values are:yes,no",
            id="not-allowed",
        ),
        pytest.param(
            [("timeout", "30"), ("nonsense", "1")], False, "nonsense", id="all-or-nothing"
        ),
    ],
)
def test_refuses_changes(wanted: list[tuple[str, str]], attached: bool, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        parameters.check_changes(REDIS7, wanted, attached=attached)


def test_takes_changes_as_they_are() -> None:
    wanted = [("timeout", "30"), ("notify-keyspace-events", ""), ("cluster-enabled", "yes")]
    assert parameters.check_changes(REDIS7, wanted, attached=False) == dict(wanted)


def test_twenty_changes_are_taken() -> None:
    wanted = [(one.name, one.value) for one in REDIS7.parameters if one.is_modifiable][:20]
    assert len(parameters.check_changes(REDIS7, wanted, attached=True)) == 20


@pytest.mark.parametrize(
    ("current", "changes", "status"),
    [
        pytest.param("in-sync", [], "in-sync", id="nothing"),
        pytest.param("in-sync", ["immediate"], "applying", id="immediate"),
        pytest.param("in-sync", ["requires-reboot"], "pending-reboot", id="reboot"),
        pytest.param("in-sync", ["immediate", "requires-reboot"], "pending-reboot", id="both"),
        pytest.param("applying", ["requires-reboot"], "pending-reboot", id="reboot-while-applying"),
        pytest.param("pending-reboot", ["immediate"], "pending-reboot", id="goes-on-waiting"),
        pytest.param("applying", [], "applying", id="nothing-new"),
    ],
)
def test_node_status(current: str, changes: list[str], status: str) -> None:
    changed = [parameter(change=change) for change in changes]
    assert parameters.node_status(current, changed) == status


def test_changed_names_are_those_with_another_value() -> None:
    before, after = {"a": "1", "b": "", "c": "x"}, {"a": "2", "c": "x", "d": "4"}
    assert parameters.changed_names(before, after) == ["a", "d"]


@pytest.mark.parametrize(
    ("current", "requested", "name"),
    [
        ({"cluster-enabled": "no"}, {"cluster-enabled": "yes"}, "cluster-enabled"),
        ({"cluster-enabled": "no", "timeout": "1"}, {"cluster-enabled": "no"}, None),
        ({"databases": "16"}, {"databases": "4"}, "databases"),
    ],
)
def test_what_a_cache_was_created_with_must_stay(
    current: dict[str, str], requested: dict[str, str], name: str | None
) -> None:
    fixed = REDIS7.creation_time_parameters
    assert parameters.different_fixed_value(current, requested, fixed) == name


@pytest.mark.parametrize(
    ("changes", "memory_mb", "fragment"),
    [
        pytest.param({}, 512, None, id="defaults"),
        pytest.param({"max_item_size": "262144"}, 512, "slab_chunk_max must not", id="chunk"),
        pytest.param({"max_item_size": "1048577"}, 512, "a multiple of", id="multiple"),
        pytest.param({}, 104, None, id="just-fits"),
        pytest.param({}, 103, "a quarter of", id="quarter"),
    ],
)
def test_memcached_sizes_fit_together(
    changes: dict[str, str], memory_mb: int, fragment: str | None
) -> None:
    values = {one.name: one.value for one in MEMCACHED.parameters} | changes
    conflict = parameters.memcached_size_conflict(values, cache_memory_mb=memory_mb)
    assert conflict is None if fragment is None else fragment in (conflict or "")


def test_a_fixed_parameter_may_be_set_before_it_is_used() -> None:
    row = REDIS7.parameter("cluster-enabled")
    assert row is not None
    assert not row.is_modifiable
    assert parameters.is_modifiable(REDIS7, row, attached=False)
    assert not parameters.is_modifiable(REDIS7, row, attached=True)
    # Whatever the row says of itself, a cache in use is not given another value.
    assert not parameters.is_modifiable(REDIS7, replace(row, is_modifiable=True), attached=True)
