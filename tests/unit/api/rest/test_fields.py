"""JSON and query strings to parameters: what is taken, and what every refusal points to."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.api.protocol.model import load_model
from cachefleet.api.rest.fields import (
    FieldParser,
    InvalidField,
    MalformedDocument,
    from_query,
    read_document,
    read_query,
)

MODEL = load_model()
PARSER = FieldParser(MODEL)
GROUP = {"ReplicationGroupId": "demo", "ReplicationGroupDescription": "d"}


def test_takes_every_kind_of_value() -> None:
    params = {
        **GROUP,
        "NumCacheClusters": 2,
        "AutomaticFailoverEnabled": True,
        "Tags": [{"Key": "k", "Value": ""}],
        "NodeGroupConfiguration": [{"ReplicaAvailabilityZones": ["us-east-1a"]}],
        "Port": None,
    }
    parsed = PARSER.parse("CreateReplicationGroup", params)
    assert parsed == {name: value for name, value in params.items() if value is not None}
    events = PARSER.parse("DescribeEvents", {"StartTime": "2026-01-02T03:04:05Z"})
    assert events == {"StartTime": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ({"ReplicationGroupId": "x"}, "/ReplicationGroupDescription", "must be provided"),
        ({**GROUP, "ReplicationGroupId": ""}, "/ReplicationGroupId", "must be provided"),
        ({**GROUP, "Nonsense": 1}, "/Nonsense", "There is no parameter Nonsense."),
        ({**GROUP, "a~/b": 1}, "/a~0~1b", "There is no parameter"),
        ({**GROUP, "NumCacheClusters": "2"}, "/NumCacheClusters", "must be an integer"),
        ({**GROUP, "NumCacheClusters": True}, "/NumCacheClusters", "must be an integer"),
        ({**GROUP, "NumCacheClusters": 2.0}, "/NumCacheClusters", "must be an integer"),
        ({**GROUP, "NumCacheClusters": 2**40}, "/NumCacheClusters", "out of the range"),
        ({**GROUP, "MultiAZEnabled": "true"}, "/MultiAZEnabled", "must be true or false"),
        ({**GROUP, "Tags": {"Key": "k"}}, "/Tags", "must be an array"),
        ({**GROUP, "Tags": ["k"]}, "/Tags/0", "Tags.1 must be an object"),
        ({**GROUP, "Tags": [{}, {"Key": 1}]}, "/Tags/1/Key", "Tags.2.Key must be a string"),
        ({**GROUP, "Engine": "a\x00"}, "/Engine", "not allowed"),
        (
            {**GROUP, "TransitEncryptionMode": "always"},
            "/TransitEncryptionMode",
            "must be one of: preferred, required",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refuses(document: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        PARSER.parse("CreateReplicationGroup", document)
    assert refusal.value.pointer == pointer
    assert words in str(refusal.value)


def test_says_nothing_of_the_value() -> None:
    with pytest.raises(InvalidField) as refusal:
        PARSER.parse("CreateUser", {"UserId": "u", "Passwords": "hunter2"})
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"{'a': 1}",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: str(body[:20]),
)
def test_refuses_what_is_no_document(body: bytes) -> None:
    with pytest.raises(MalformedDocument):
        read_document(body)


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}"])
def test_nothing_is_an_empty_document(body: bytes) -> None:
    assert read_document(body) == {}


def test_reads_a_query_string_by_shape() -> None:
    shape = MODEL.operations["DescribeUpdateActions"].input
    query = read_query(
        b"ServiceUpdateStatus=available&ServiceUpdateStatus=expired&MaxRecords=20"
        b"&ShowNodeLevelUpdateStatus=TRUE&ServiceUpdateTimeRange=%7B%22StartTime%22%3A%222026-01-01%22%7D"
        b"&X-Amz-Signature=abc"
    )
    assert from_query(shape, query) == {
        "ServiceUpdateStatus": ["available", "expired"],
        "MaxRecords": 20,
        "ShowNodeLevelUpdateStatus": True,
        "ServiceUpdateTimeRange": {"StartTime": "2026-01-01"},
    }


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        (b"Nope=1", "/Nope"),
        (b"MaxRecords=1&MaxRecords=2", "/MaxRecords"),
        (b"Filters=%7B", "/Filters"),
    ],
)
def test_refuses_in_a_query_string(query: bytes, pointer: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        from_query(MODEL.operations["DescribeUsers"].input, read_query(query))
    assert refusal.value.pointer == pointer


@pytest.mark.parametrize("query", [b"a=%ff", b"&".join([b"a=1"] * 1001)])
def test_refuses_what_is_no_query_string(query: bytes) -> None:
    with pytest.raises(MalformedDocument):
        read_query(query)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
        max_leaves=20,
    )
)
def test_any_json_is_parsed_or_refused(value: object) -> None:
    body = json.dumps({**GROUP, "Tags": value, "NodeGroupConfiguration": value}).encode()
    with contextlib.suppress(InvalidField, MalformedDocument):
        params = PARSER.parse("CreateReplicationGroup", read_document(body))
        assert params["ReplicationGroupId"] == "demo"
