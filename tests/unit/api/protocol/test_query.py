"""Forms to parameters: what is taken, what is refused, and that nothing else can happen."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.api.protocol import query
from cachefleet.api.protocol.model import load_model
from cachefleet.api.protocol.query import (
    InvalidValue,
    MalformedQuery,
    RequestParser,
    parse_form,
)

PARSER = RequestParser(load_model())


def parse(operation: str, form: str) -> dict[str, Any]:
    return PARSER.parse(operation, parse_form(form.encode()))


def reboot(form: str) -> list[str]:
    ids: list[str] = parse("RebootCacheCluster", f"CacheClusterId=a&{form}")["CacheNodeIdsToReboot"]
    return ids


TAGS = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(
            "Tags.Tag.1.Key=a&Tags.Tag.1.Value=1&Tags.Tag.2.Key=b&Tags.Tag.2.Value=", id="model"
        ),
        pytest.param(
            "Tags.member.1.Key=a&Tags.member.1.Value=1&Tags.member.2.Key=b&Tags.member.2.Value",
            id="member",
        ),
        pytest.param(
            "Tags.x.1.Key=a&Tags.x.1.Value=1&Tags.x.2.Key=b&Tags.x.2.Value=", id="any-name"
        ),
        pytest.param("Tags.1.Key=a&Tags.1.Value=1&Tags.2.Key=b&Tags.2.Value=", id="flattened"),
        pytest.param(
            "Tags.Tag.10.Key=b&Tags.Tag.10.Value=&Tags.Tag.9.Value=1&Tags.Tag.9.Key=a",
            id="gaps-close-and-order-is-by-number",
        ),
        pytest.param(
            "Tags.Tag.1.Key=a&Tags.Tag.1.Value=1&Tags.Tag.2.Key=b&Tags.Tag.2.Value=&Tags.Tag.2.X=1",
            id="unknown-members-are-ignored",
        ),
    ],
)
def test_reads_lists_of_structures(form: str) -> None:
    assert parse("AddTagsToResource", f"ResourceName=arn&{form}")["Tags"] == TAGS


def test_reads_an_empty_list_and_ignores_what_the_model_lacks() -> None:
    params = parse(
        "ModifyReplicationGroup", "ReplicationGroupId=a&SecurityGroupIds=&Nonsense.1..x=7&X-Amz-Y=1"
    )
    assert params == {"ReplicationGroupId": "a", "SecurityGroupIds": []}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("True", True), ("TRUE", True), ("false", False), ("fAlSe", False)],
)
def test_reads_booleans(text: str, value: bool) -> None:
    params = parse("DescribeCacheClusters", f"ShowCacheNodeInfo={text}")
    assert params == {"ShowCacheNodeInfo": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-7", -7), ("%2B7", 7), ("2147483647", 2**31 - 1), ("-2147483648", -(2**31))],
)
def test_reads_integers(text: str, value: int) -> None:
    assert parse("DescribeCacheClusters", f"MaxRecords={text}") == {"MaxRecords": value}


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("MaxRecords=ten", id="letters"),
        pytest.param("MaxRecords=1.5", id="fraction"),
        pytest.param("MaxRecords=2147483648", id="above-32-bits"),
        pytest.param("MaxRecords=-2147483649", id="below-32-bits"),
        pytest.param("MaxRecords=" + "9" * 5000, id="thousands-of-digits"),
        pytest.param("MaxRecords=%D9%A1%D9%A2", id="arabic-digits"),
        pytest.param("MaxRecords=%201", id="space"),
        pytest.param("ShowCacheNodeInfo=yes", id="boolean-word"),
        pytest.param("ShowCacheNodeInfo=1", id="boolean-number"),
    ],
)
def test_refuses_values_of_the_wrong_type(field: str) -> None:
    with pytest.raises(InvalidValue, match=field.partition("=")[0]):
        parse("DescribeCacheClusters", field)


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-01-02T03:04:05Z", 0),
        ("2026-01-02T03:04:05.6Z", 600_000),
        ("2026-01-02T03:04:05.678Z", 678_000),
        ("2026-01-02T03:04:05.678000Z", 678_000),
        ("2026-01-02T03:04:05.678901234Z", 678_901),
        ("2026-01-02T03:04:05", 0),
        ("2026-01-02 03:04:05%2B00:00", 0),
        ("2026-01-02T05:34:05%2B02:30", 0),
        ("2026-01-01T22:04:05-0500", 0),
        ("20260102T030405Z", 0),
        ("1767323045", 0),
        ("1767323045.5", 500_000),
    ],
)
def test_reads_timestamps(text: str, microsecond: int) -> None:
    params = parse("DescribeEvents", f"StartTime={text}")
    assert params == {"StartTime": datetime(2026, 1, 2, 3, 4, 5, microsecond, tzinfo=UTC)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("yesterday", id="word"),
        pytest.param("2026-13-01T00:00:00Z", id="month-13"),
        pytest.param("9" * 12, id="epoch-beyond-the-calendar"),
        pytest.param("0001-01-01T00:00:00%2B14:00", id="before-the-calendar"),
        pytest.param("T" * 99, id="long"),
        pytest.param("2026-01-02T03:04:05." + "0" * 60 + "%2B05:00", id="endless-fraction"),
    ],
)
def test_refuses_timestamps_that_are_none(text: str) -> None:
    with pytest.raises(InvalidValue, match="StartTime must be an ISO 8601 timestamp"):
        parse("DescribeEvents", f"StartTime={text}")


def test_takes_empty_scalars_as_absent_but_keeps_empty_strings() -> None:
    form = "MaxRecords=&StartTime=&Duration=&SourceIdentifier="
    assert parse("DescribeEvents", form) == {"SourceIdentifier": ""}


@pytest.mark.parametrize(
    ("operation", "form", "message"),
    [
        (
            "CreateUser",
            "UserId=a",
            "The parameter UserName must be provided and must not be null.",
        ),
        (
            "DeleteReplicationGroup",
            "ReplicationGroupId=",
            "The parameter ReplicationGroupId must be provided and must not be null.",
        ),
        (
            "CreateCacheSubnetGroup",
            "CacheSubnetGroupName=a&CacheSubnetGroupDescription=b",
            "The parameter SubnetIds must be provided.",
        ),
        (
            "CreateCacheSubnetGroup",
            "CacheSubnetGroupName=a&CacheSubnetGroupDescription=b&SubnetIds=",
            "The parameter SubnetIds must be provided.",
        ),
        (
            "IncreaseReplicaCount",
            (
                "ReplicationGroupId=a&ApplyImmediately=true"
                "&ReplicaConfiguration.ConfigureShard.3.NodeGroupId=1"
            ),
            (
                "The parameter ReplicaConfiguration.3.NewReplicaCount "
                "must be provided and must not be null."
            ),
        ),
        (
            "IncreaseReplicaCount",
            "ReplicationGroupId=a&ApplyImmediately=",
            "The parameter ApplyImmediately must be provided and must not be null.",
        ),
    ],
)
def test_refuses_what_is_required_and_missing(operation: str, form: str, message: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        parse(operation, form)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("operation", "form", "message"),
    [
        pytest.param("CreateUser", "UserId=1a", "UserId does not match the pattern", id="pattern"),
        pytest.param("CreateUser", "UserId=a%0A", "UserId does not match", id="newline-at-end"),
        pytest.param("CreateUser", "UserId=%C3%A4", "UserId does not match", id="not-ascii"),
        pytest.param(
            "CreateCacheCluster", "AZMode=Cross-AZ", "AZMode must be one of: single-az", id="enum"
        ),
        pytest.param(
            "CreateReplicationGroup",
            "UserGroupIds=",
            "UserGroupIds must have at least 1 items",
            id="list-too-short",
        ),
        pytest.param(
            "DescribeServiceUpdates",
            "&".join(f"ServiceUpdateStatus.member.{n}=available" for n in range(1, 5)),
            "ServiceUpdateStatus must have at most 3 items",
            id="list-too-long",
        ),
        pytest.param(
            "ModifyReplicationGroupShardConfiguration",
            f"NodeGroupsToRemove.NodeGroupToRemove.2={'1' * 46}",
            "NodeGroupsToRemove.2 must have at least 1 and at most 45 characters",
            id="string-too-long",
        ),
        pytest.param(
            "ModifyReplicationGroupShardConfiguration",
            "NodeGroupsToRemove.NodeGroupToRemove.1=%D9%A1",
            "NodeGroupsToRemove.1 does not match",
            id="digits-of-another-script",
        ),
    ],
)
def test_refuses_what_breaks_a_constraint(operation: str, form: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        parse(operation, form)


def test_never_repeats_a_value_in_a_message() -> None:
    with pytest.raises(InvalidValue) as refusal:
        parse("CreateUser", "UserId=9-hunter2")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("A=%", id="lone-percent"),
        pytest.param("A=%4", id="half-percent"),
        pytest.param("A=%zz", id="percent-letters"),
        pytest.param("A=%ff", id="not-utf-8"),
        pytest.param("=1", id="no-name"),
        pytest.param("A" * (query.KEY_CHARS_MAX + 1) + "=1", id="huge-name"),
        pytest.param("A=1&A=2", id="two-values"),
        pytest.param("A=&" * (query.FIELD_COUNT_MAX + 1), id="too-many-fields"),
    ],
)
def test_refuses_what_is_no_form(form: str) -> None:
    with pytest.raises(MalformedQuery):
        parse_form(form.encode())


def test_takes_the_same_value_twice_and_fields_from_both_places() -> None:
    assert parse_form(b"A=1&B=2", b"A=1&&C=x+y%20z") == {"A": "1", "B": "2", "C": "x y z"}
    with pytest.raises(MalformedQuery, match="two values"):
        parse_form(b"A=1", b"A=2")


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("CacheNodeIdsToReboot.CacheNodeId.x=1", id="index-letters"),
        pytest.param("CacheNodeIdsToReboot.CacheNodeId.0=1", id="index-zero"),
        pytest.param("CacheNodeIdsToReboot.CacheNodeId.01=1", id="index-leading-zero"),
        pytest.param("CacheNodeIdsToReboot.CacheNodeId.-1=1", id="index-negative"),
        pytest.param("CacheNodeIdsToReboot.CacheNodeId.10001=1", id="index-above-limit"),
        pytest.param("CacheNodeIdsToReboot.CacheNodeId." + "9" * 400 + "=1", id="index-enormous"),
        pytest.param("CacheNodeIdsToReboot.CacheNodeId=1", id="no-index"),
        pytest.param("CacheNodeIdsToReboot=1", id="list-as-value"),
        pytest.param("CacheNodeIdsToReboot.a.1=1&CacheNodeIdsToReboot.b.2=1", id="two-names"),
        pytest.param("CacheNodeIdsToReboot.a.1=1&CacheNodeIdsToReboot.2=1", id="two-styles"),
        pytest.param("CacheNodeIdsToReboot.a.1.x=1", id="item-as-structure"),
        pytest.param("CacheNodeIdsToReboot..1=1", id="empty-part"),
        pytest.param("CacheNodeIdsToReboot.a.1.=1", id="empty-end"),
        pytest.param("CacheNodeIdsToReboot.a.1=1&CacheNodeIdsToReboot=", id="value-and-list"),
        pytest.param("CacheNodeIdsToReboot=&CacheNodeIdsToReboot.a.1=1", id="list-and-value"),
        pytest.param("CacheNodeIdsToReboot.a=1&CacheNodeIdsToReboot.a.1=1", id="name-and-index"),
        pytest.param("CacheNodeIdsToReboot.a.1=1&CacheNodeIdsToReboot.a=1", id="index-and-name"),
        pytest.param("CacheNodeIdsToReboot" + ".1" * 40 + "=1", id="too-deep"),
        pytest.param("CacheClusterId.x=1", id="value-as-structure"),
        pytest.param("Tags.Tag.1" + ".x" * 40 + "=1", id="too-deep-though-unknown"),
    ],
)
def test_refuses_keys_that_do_not_fit_the_shape(form: str) -> None:
    prefix = "" if form.startswith("CacheClusterId") else "CacheClusterId=a&"
    operation = "CreateCacheCluster" if form.startswith("Tags") else "RebootCacheCluster"
    with pytest.raises(MalformedQuery):
        parse(operation, prefix + form)


def test_refuses_a_structure_given_as_a_value() -> None:
    with pytest.raises(MalformedQuery, match="structure"):
        parse("ModifyServerlessCache", "ServerlessCacheName=a&CacheUsageLimits=1")
    params = parse("ModifyServerlessCache", "ServerlessCacheName=a&CacheUsageLimits=")
    assert params["CacheUsageLimits"] == {}


def test_takes_the_largest_index_without_making_room_for_it() -> None:
    assert reboot(f"CacheNodeIdsToReboot.CacheNodeId.{query.LIST_INDEX_MAX}=0001") == ["0001"]


@pytest.mark.parametrize("code", [0x00, 0x08, 0x0B, 0x1F, 0xFFFE, 0xFFFF])
def test_refuses_characters_that_xml_cannot_carry(code: int) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in chr(code).encode())
    with pytest.raises(InvalidValue, match="not allowed"):
        parse_form(f"A=x{encoded}".encode())


@pytest.mark.parametrize("text", ["\t\n\r", "\x7f\x85", "\ud7ff\ue000\ufffd", "\U0001f600"])
def test_takes_characters_that_xml_can_carry(text: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in text.encode())
    assert parse_form(f"A={encoded}".encode()) == {"A": text}


OPERATIONS = sorted(load_model().operations)
NAMES = sorted(
    {
        part
        for operation in load_model().operations.values()
        for member in operation.input.members.values()
        for part in (member.wire_name, "member", "1", "2", "999999999999", "", "x")
    }
)


@given(st.binary(max_size=200))
def test_random_bytes_are_parsed_or_refused(form: bytes) -> None:
    try:
        fields = parse_form(form)
    except (MalformedQuery, InvalidValue):
        return
    assert all(isinstance(value, str) for value in fields.values())


@pytest.mark.parametrize("seed", range(400))
def test_random_fields_are_parsed_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    operation = dice.choice(OPERATIONS)
    members = load_model().operations[operation].input.members
    heads = [member.wire_name for member in members.values()] or NAMES
    values = [
        "",
        "1",
        "true",
        "a",
        "9" * 30,
        "-0",
        "1e999",
        "nan",
        "2026-01-01",
        "\u2028",
        "{path}",
    ]
    fields = {
        ".".join([dice.choice(heads), *dice.choices(NAMES, k=dice.randrange(4))]): dice.choice(
            values
        )
        for _ in range(dice.randrange(1, 6))
    }
    try:
        params = PARSER.parse(operation, fields)
    except (MalformedQuery, InvalidValue):
        return
    assert set(params) <= set(members)
