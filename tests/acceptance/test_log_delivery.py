"""Logs of real nodes, delivered to CloudWatch Logs, to Firehose and to a folder."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.faults.caches import connected, primary_address
from tests.support.aws_endpoint import AwsEndpoint
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    cluster_of,
    group_of,
    own_account,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

REGION = "us-east-1"
GROUP, STREAM = "/cache/logs", "cache-logs"
SLOW_EVERYTHING = {"ParameterName": "slowlog-log-slower-than", "ParameterValue": "0"}


def to_logs(log_type: str, group: str = GROUP, log_format: str = "json") -> dict[str, Any]:
    return {
        "LogType": log_type,
        "DestinationType": "cloudwatch-logs",
        "DestinationDetails": {"CloudWatchLogsDetails": {"LogGroup": group}},
        "LogFormat": log_format,
    }


def to_firehose(log_type: str, stream: str = STREAM) -> dict[str, Any]:
    return {
        "LogType": log_type,
        "DestinationType": "kinesis-firehose",
        "DestinationDetails": {"KinesisFirehoseDetails": {"DeliveryStream": stream}},
        "LogFormat": "text",
    }


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsEndpoint]:
    with AwsEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def delivering(tmp_path_factory: pytest.TempPathFactory, aws: AwsEndpoint) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("delivering") / "data"
    with Server(data, "--log-level", "info", log_endpoint=aws.url) as server:
        yield server


def slow_parameters(client: ElastiCacheClient) -> str:
    """Make a parameter group that puts every command into the slow log."""
    client.create_cache_parameter_group(
        CacheParameterGroupName="slow", CacheParameterGroupFamily="valkey8", Description="all"
    )
    client.modify_cache_parameter_group(
        CacheParameterGroupName="slow",
        ParameterNameValues=[SLOW_EVERYTHING],  # type: ignore[list-item]
    )
    return "slow"


def create(client: ElastiCacheClient, name: str, *logs: dict[str, Any]) -> None:
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="logs",
        Engine="valkey",
        EngineVersion="8.0",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        CacheParameterGroupName=slow_parameters(client),
        LogDeliveryConfigurations=list(logs),  # type: ignore[arg-type]
    )
    available_group(client, name)


def statuses(client: ElastiCacheClient, name: str) -> dict[str, str]:
    entries = group_of(client, name)["LogDeliveryConfigurations"]
    return {entry["LogType"]: entry["Status"] for entry in entries}


def becomes(client: ElastiCacheClient, name: str, **wanted: str) -> dict[str, str]:
    names = {log_type.replace("_", "-"): status for log_type, status in wanted.items()}
    return wait_until(
        lambda: statuses(client, name), lambda seen: seen == names, what=f"{name} is {names}"
    )


def test_both_logs_of_every_node_arrive(delivering: Server, aws: AwsEndpoint) -> None:
    account = own_account()
    client = delivering.client(account)
    logs = aws.client("logs", account=account, region=REGION)
    logs.create_log_group(logGroupName=GROUP)
    create(client, "both", to_logs("slow-log"), to_logs("engine-log", log_format="text"))
    becomes(client, "both", slow_log="active", engine_log="active")
    assert cluster_of(client, "both-001")["ReplicationGroupLogDeliveryEnabled"] is True
    with connected(primary_address(client, "both")) as own:
        own.client_setname("tester")
        own.set("a-key", "a-value")
        own.mget(["k1", "k2", "k3"])

    def records(member: str, log_type: str) -> list[str]:
        answer = logs.get_log_events(
            logGroupName=GROUP,
            logStreamName=f"elasticache/valkey/{member}/0001/{log_type}",
            startFromHead=True,
        )
        return [event["message"] for event in answer["events"]]

    gone = logs.exceptions.ResourceNotFoundException
    told = wait_until(
        lambda: [json.loads(text) for text in records("both-001", "slow-log")],
        lambda rows: any(row["Command"] == "MGET ... (3 more arguments)" for row in rows),
        what="the slow log has MGET",
        passing=(gone,),
    )
    (written,) = [row for row in told if row["Command"] == "SET ... (2 more arguments)"]
    assert (written["CacheClusterId"], written["CacheNodeId"]) == ("both-001", "0001")
    assert written["ClientName"] == "tester"
    assert written["ClientAddress"].startswith("127.")
    assert abs(written["Timestamp"] - time.time()) < 60
    assert "a-key" not in str(told)
    ids = [row["Id"] for row in told]
    assert ids == sorted(set(ids)), "each once, in order"
    for member in ("both-001", "both-002"):
        read = functools.partial(records, member, "engine-log")
        lines = wait_until(read, what="lines", passing=(gone,))
        assert all(line.startswith(f"{member}/0001:") for line in lines)
        assert any(" UTC * Ready to accept connections" in line for line in lines)


def test_changes_are_seen_and_what_is_turned_off_ends(delivering: Server, aws: AwsEndpoint) -> None:
    account = own_account()
    client = delivering.client(account)
    firehose = aws.client("firehose", account=account, region=REGION)
    storage = aws.client("s3", account=account, region=REGION)
    storage.create_bucket(Bucket="delivered")
    firehose.create_delivery_stream(
        DeliveryStreamName=STREAM,
        S3DestinationConfiguration={
            "RoleARN": f"arn:aws:iam::{account}:role/r",
            "BucketARN": "arn:aws:s3:::delivered",
        },
    )
    create(client, "turned")
    assert statuses(client, "turned") == {}
    answer = client.modify_replication_group(
        ReplicationGroupId="turned",
        LogDeliveryConfigurations=[to_firehose("slow-log")],  # type: ignore[list-item]
        ApplyImmediately=True,
    )
    group: Any = answer["ReplicationGroup"]
    assert group["Status"] == "modifying"
    assert group["LogDeliveryConfigurations"][0]["Status"] == "enabling"
    assert group["PendingModifiedValues"]["LogDeliveryConfigurations"] == [to_firehose("slow-log")]
    available_group(client, "turned")
    becomes(client, "turned", slow_log="active")
    assert "LogDeliveryConfigurations" not in group_of(client, "turned")["PendingModifiedValues"]
    with connected(primary_address(client, "turned")) as own:
        own.set("k", "v")

    def delivered() -> str:
        keys = storage.list_objects_v2(Bucket="delivered").get("Contents", [])
        return "".join(
            storage.get_object(Bucket="delivered", Key=row["Key"])["Body"].read().decode()
            for row in keys
        )

    def told() -> list[list[str]]:
        # The replica runs what it is sent, and logs it too.
        lines = [line.split(",") for line in delivered().splitlines()]
        return [row for row in lines if row[0] == "turned-001" and row[4].startswith("SET ")]

    (row,) = wait_until(told, what="SET is delivered")
    _, node, at, duration, command, *_ = row
    assert (node, command) == ("0001", "SET ... (2 more arguments)")
    assert at.isdigit()
    assert duration.isdigit()
    client.modify_replication_group(
        ReplicationGroupId="turned",
        LogDeliveryConfigurations=[{"LogType": "slow-log", "Enabled": False}],
        ApplyImmediately=True,
    )
    available_group(client, "turned")
    assert statuses(client, "turned") == {}
    with connected(primary_address(client, "turned")) as own:
        own.get("not-to-be-told")
    before = delivered()
    assert "GET ... (1 more" not in before


def test_without_an_endpoint_logs_are_files(
    server: Server, client: ElastiCacheClient, account: str
) -> None:
    name = f"files{account[-4:]}"
    client.create_cache_cluster(
        CacheClusterId=name,
        Engine="redis",
        CacheNodeType="cache.t3.micro",
        LogDeliveryConfigurations=[to_logs("engine-log")],  # type: ignore[list-item]
    )
    available_cluster(client, name)
    folder = server.data_dir / "logs" / account / REGION / quote(GROUP, safe="")
    file: Path = folder / quote(f"elasticache/redis/{name}/0001/engine-log", safe="")
    text = wait_until(file.read_text, what="a file is there", passing=(FileNotFoundError,))
    first = json.loads(text.splitlines()[0])
    assert first.keys() == {
        "CacheClusterId",
        "CacheNodeId",
        "LogLevel",
        "Role",
        "Time",
        "Message",
    }
    (entry,) = cluster_of(client, name)["LogDeliveryConfigurations"]
    assert entry == {**to_logs("engine-log"), "Status": "active"}


def test_a_dead_destination_is_told_and_slows_nobody(delivering: Server, aws: AwsEndpoint) -> None:
    account, place = own_account(), "/another/group"
    client = delivering.client(account)
    logs = aws.client("logs", account=account, region=REGION)
    create(client, "dead", to_logs("slow-log", place))
    # The log group is not there: accepted, and told.
    becomes(client, "dead", slow_log="error")
    (entry,) = group_of(client, "dead")["LogDeliveryConfigurations"]
    assert "does not exist" in entry["Message"]
    logs.create_log_group(logGroupName=place)
    becomes(client, "dead", slow_log="active")
    aws.kill()
    with connected(primary_address(client, "dead")) as own:
        for number in range(1_000):
            own.set(f"k:{number}", number)  # each is answered within the client's patience
        becomes(client, "dead", slow_log="error")
        assert own.ping()
    aws.start()
    logs.create_log_group(logGroupName=place)
    becomes(client, "dead", slow_log="active")
    wait_until(
        lambda: logs.describe_log_streams(logGroupName=place)["logStreams"],
        what="what waited has come",
    )
