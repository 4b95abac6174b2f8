"""Results to XML: the envelope, what is left out, what is empty, and what is refused."""

from __future__ import annotations

import enum
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree

import pytest

from cachefleet.api.protocol.model import load_model
from cachefleet.api.protocol.xml import BadResult, ResponseSerializer, escape

SERIALIZER = ResponseSerializer(load_model())
XMLNS = 'xmlns="http://elasticache.amazonaws.com/doc/2015-02-02/"'
END = "<ResponseMetadata><RequestId>rid</RequestId></ResponseMetadata>"


class Status(enum.StrEnum):
    AVAILABLE = "available"


class OldStatus(str, enum.Enum):  # noqa: UP042 - the kind that is meant
    AVAILABLE = "available"


def document(operation: str, result: Any) -> str:
    return SERIALIZER.response(load_model().operations[operation], result, "rid").decode("ascii")


def cluster(**members: Any) -> str:
    text = document("DescribeCacheClusters", {"CacheClusters": [members]})
    return text.partition("<CacheCluster>")[2].partition("</CacheCluster>")[0]


@pytest.mark.parametrize(
    ("operation", "result", "inside"),
    [
        pytest.param("DeleteCacheSubnetGroup", None, "", id="no-result-in-the-model"),
        pytest.param("DescribeUsers", None, "<DescribeUsersResult/>", id="nothing"),
        pytest.param(
            "DescribeUsers",
            {"Users": [{"UserId": "a", "UserGroupIds": ["g"]}], "Marker": None},
            "<DescribeUsersResult><Users><member><UserId>a</UserId><UserGroupIds><member>g</member>"
            "</UserGroupIds></member></Users></DescribeUsersResult>",
            id="member-lists",
        ),
        pytest.param(
            "ModifyUser",
            {"UserId": "a", "Authentication": {"Type": "password", "PasswordCount": 1}},
            "<ModifyUserResult><UserId>a</UserId><Authentication><Type>password</Type>"
            "<PasswordCount>1</PasswordCount></Authentication></ModifyUserResult>",
            id="unwrapped",
        ),
        pytest.param(
            "DescribeEngineDefaultParameters",
            {"EngineDefaults": {"Marker": "m", "Parameters": []}},
            "<DescribeEngineDefaultParametersResult><EngineDefaults><Marker>m</Marker><Parameters/>"
            "</EngineDefaults></DescribeEngineDefaultParametersResult>",
            id="nested",
        ),
    ],
)
def test_envelope(operation: str, result: Any, inside: str) -> None:
    assert document(operation, result) == (
        f"<{operation}Response {XMLNS}>{inside}{END}</{operation}Response>"
    )


@pytest.mark.parametrize(
    ("members", "text"),
    [
        pytest.param({"Engine": None}, "", id="none-is-left-out"),
        pytest.param({"CacheNodes": None}, "", id="no-list-is-left-out"),
        pytest.param({"CacheNodes": []}, "<CacheNodes/>", id="empty-list"),
        pytest.param({"CacheNodes": ()}, "<CacheNodes/>", id="empty-tuple"),
        pytest.param({"PendingModifiedValues": {}}, "<PendingModifiedValues/>", id="empty-struct"),
        pytest.param({"Engine": ""}, "<Engine/>", id="empty-string"),
        pytest.param({"NumCacheNodes": 0}, "<NumCacheNodes>0</NumCacheNodes>", id="zero"),
        pytest.param(
            {"AuthTokenEnabled": False}, "<AuthTokenEnabled>false</AuthTokenEnabled>", id="false"
        ),
        pytest.param(
            {"CacheClusterStatus": Status.AVAILABLE},
            "<CacheClusterStatus>available</CacheClusterStatus>",
            id="string-enumeration",
        ),
        pytest.param(
            {"CacheClusterStatus": OldStatus.AVAILABLE},
            "<CacheClusterStatus>available</CacheClusterStatus>",
            id="old-string-enumeration",
        ),
        pytest.param(
            {"PendingModifiedValues": OrderedDict(NumCacheNodes=2)},
            "<PendingModifiedValues><NumCacheNodes>2</NumCacheNodes></PendingModifiedValues>",
            id="any-mapping",
        ),
    ],
)
def test_members(members: dict[str, Any], text: str) -> None:
    # A cluster with no members would be an empty element; the first one keeps it open.
    assert cluster(CacheClusterId="x", **members) == f"<CacheClusterId>x</CacheClusterId>{text}"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2015, 2, 2, 18, 46, 57, 972_999, tzinfo=UTC), "2015-02-02T18:46:57.972Z"),
        (datetime(2015, 2, 2, 18, 46, 57, tzinfo=UTC), "2015-02-02T18:46:57.000Z"),
        (
            datetime(2015, 2, 2, 20, 46, 57, tzinfo=timezone(timedelta(hours=2))),
            "2015-02-02T18:46:57.000Z",
        ),
    ],
)
def test_timestamps_are_utc_to_the_millisecond(moment: datetime, text: str) -> None:
    assert cluster(CacheClusterCreateTime=moment) == (
        f"<CacheClusterCreateTime>{text}</CacheClusterCreateTime>"
    )


def test_node_snapshots_are_dated_to_the_second() -> None:
    moment = datetime(2015, 2, 2, 18, 46, 12, 972_000, tzinfo=UTC)
    result = {"Snapshot": {"NodeSnapshots": [{"SnapshotCreateTime": moment}]}}
    text = document("CreateSnapshot", result)
    assert "<SnapshotCreateTime>2015-02-02T18:46:12Z</SnapshotCreateTime>" in text


def test_doubles_have_a_point() -> None:
    result = {"ReservedCacheNodesOfferings": [{"FixedPrice": 123, "UsagePrice": 0.25}]}
    text = document("DescribeReservedCacheNodesOfferings", result)
    assert "<FixedPrice>123.0</FixedPrice><UsagePrice>0.25</UsagePrice>" in text


@pytest.mark.parametrize(
    "result",
    [
        pytest.param({"CacheClusters": [{"NoSuchMember": 1}]}, id="unknown-member"),
        pytest.param({"Nonsense": []}, id="unknown-top-member"),
        pytest.param({"CacheClusters": {}}, id="struct-for-list"),
        pytest.param({"CacheClusters": "abc"}, id="string-for-list"),
        pytest.param({"CacheClusters": ["abc"]}, id="string-for-struct"),
        pytest.param({"CacheClusters": [[]]}, id="list-for-struct"),
        pytest.param({"CacheClusters": [{"NumCacheNodes": "1"}]}, id="string-for-integer"),
        pytest.param({"CacheClusters": [{"NumCacheNodes": True}]}, id="boolean-for-integer"),
        pytest.param({"CacheClusters": [{"AuthTokenEnabled": 1}]}, id="integer-for-boolean"),
        pytest.param({"CacheClusters": [{"Engine": 7}]}, id="integer-for-string"),
        pytest.param({"CacheClusters": [{"Engine": b"redis"}]}, id="bytes-for-string"),
        pytest.param({"CacheClusters": [{"CacheClusterCreateTime": "now"}]}, id="string-for-time"),
        pytest.param(
            {"CacheClusters": [{"CacheClusterCreateTime": datetime(2026, 1, 1)}]},  # noqa: DTZ001
            id="naive-time",
        ),
    ],
)
def test_refuses_results_that_do_not_fit(result: Any) -> None:
    with pytest.raises(BadResult):
        document("DescribeCacheClusters", result)


def test_refuses_a_result_where_the_model_has_none() -> None:
    with pytest.raises(BadResult):
        document("DeleteCacheSubnetGroup", {"CacheSubnetGroupName": "a"})


@pytest.mark.parametrize(
    "text",
    ["a<b>&c&amp;", "\r\n\t x ", "ü☃\U0001f600", "]]>", "'\"", "&#13;"],
)
def test_text_survives_any_xml_reader(text: str) -> None:
    members = cluster(Engine=text)
    assert members.isascii()
    assert ElementTree.fromstring(members).text == text


def test_what_xml_cannot_carry_becomes_a_replacement_character() -> None:
    assert escape("a\x00b\x1fc\ud800d\uffffe") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert ElementTree.fromstring(cluster(Engine="\x00<\ud800")).text == "\ufffd<\ufffd"


@pytest.mark.parametrize(
    ("status", "blamed"), [(404, "Sender"), (499, "Sender"), (500, "Receiver")]
)
def test_error_document(status: int, blamed: str) -> None:
    text = SERIALIZER.error(code="C", message="<m>", status=status, request_id="rid").decode()
    assert text == (
        f"<ErrorResponse {XMLNS}><Error><Type>{blamed}</Type><Code>C</Code>"
        "<Message>&lt;m&gt;</Message></Error><RequestId>rid</RequestId></ErrorResponse>"
    )
