"""What DescribeEvents and an SNS topic tell of a cache's life: every event, in the service's order.

One server and one SNS (moto's, a process of its own) for all.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.faults.caches import kill_node, primary_of
from tests.support.aws_endpoint import AwsEndpoint
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    cluster_gone,
    cluster_of,
    group_gone,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

ACCOUNT = "123456789012"  # moto's own
REGION = "us-east-1"
NODE = "cache.m6g.large"
UNSUPPORTED = (
    "This cache cluster does not support persistence (ex: 'appendonly').  Please use a different "
    "instance type to enable persistence."
)


@pytest.fixture(scope="module")
def sns_url() -> Iterator[str]:
    """SNS and SQS, as moto serves them."""
    with AwsEndpoint() as endpoint:
        yield endpoint.url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sns_url: str) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("events") / "data"
    with Server(data, sns_endpoint_url=sns_url) as server:
        yield server


@pytest.fixture
def client(server: Server) -> ElastiCacheClient:
    return server.client(ACCOUNT, REGION)


class Topic:
    """A topic, and a queue that gets what is published there."""

    def __init__(self, url: str, name: str) -> None:
        keys = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": "x", "region_name": REGION}
        self._sns: Any = boto3.client("sns", endpoint_url=url, **keys)
        self._sqs: Any = boto3.client("sqs", endpoint_url=url, **keys)
        self.arn = self._sns.create_topic(Name=name)["TopicArn"]
        self._queue = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        self._sns.subscribe(
            TopicArn=self.arn, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        )
        self.told: list[tuple[str, str]] = []

    def until(self, *last: str) -> list[tuple[str, str]]:
        """Return what was published so far once *last* is the end of it."""
        wait_until(self._receive, lambda told: told[-1:] == [last], what=f"{last} is published")
        return self.told

    def delete(self) -> None:
        self._sns.delete_topic(TopicArn=self.arn)

    def _receive(self) -> list[tuple[str, str]]:
        answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10)
        for message in answer.get("Messages", ()):
            envelope = json.loads(message["Body"])
            assert envelope["Subject"] == "ElastiCache Notification Message"
            [(name, about)] = json.loads(envelope["Message"]).items()
            self.told.append((name.removeprefix("ElastiCache:"), about))
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return self.told


def events_of(client: ElastiCacheClient, source: str) -> list[str]:
    """Return what was told of *source*, oldest first."""
    found = client.describe_events(Duration=60, MaxRecords=100)["Events"]
    told = [event["Message"] for event in found if event["SourceIdentifier"] == source]
    return told[::-1]


def test_a_memcached_cluster(client: ElastiCacheClient, sns_url: str) -> None:
    topic = Topic(sns_url, "mem-topic")
    client.create_cache_parameter_group(
        CacheParameterGroupName="mem-pg", CacheParameterGroupFamily="memcached1.6", Description="d"
    )
    client.create_cache_cluster(
        CacheClusterId="mem",
        Engine="memcached",
        CacheNodeType=NODE,
        NumCacheNodes=1,
        NotificationTopicArn=topic.arn,
    )
    available_cluster(client, "mem")
    steps: list[dict[str, Any]] = [
        {"NumCacheNodes": 3},
        {"CacheParameterGroupName": "mem-pg"},
        {"NumCacheNodes": 1, "CacheNodeIdsToRemove": ["0001", "0003"]},
        {"CacheNodeType": "cache.m6g.xlarge"},
        {"SecurityGroupIds": ["sg-1"]},
    ]
    for step in steps:
        client.modify_cache_cluster(CacheClusterId="mem", ApplyImmediately=True, **step)
        available_cluster(client, "mem")
    client.reboot_cache_cluster(CacheClusterId="mem", CacheNodeIdsToReboot=["0002"])
    wait_until(
        lambda: cluster_of(client, "mem")["CacheClusterStatus"],
        lambda status: status == "available",
        what="it is rebooted",
    )
    client.delete_cache_cluster(CacheClusterId="mem")
    cluster_gone(client, "mem")
    zone = "us-east-1"
    told = [text.split(zone)[0] for text in events_of(client, "mem")]
    assert told == [
        "Cache cluster created",
        "Added cache node 0001 in availability zone ",
        "Increasing number of requested nodes",
        "Added cache node 0002 in availability zone ",
        "Added cache node 0003 in availability zone ",
        "Finished modifying number of nodes from 1 to 3",
        "Updated to use a CacheParameterGroup mem-pg",
        "Removed cache nodes 0001, 0003",
        "Succeeded applying modification to cache node type to cache.m6g.xlarge.",
        "Applied change to security group",
        "Cache node 0002 shutdown",
        "Cache node 0002 restarted",
        "Cache cluster deleted",
    ]
    assert topic.until("DeleteCacheClusterComplete", "mem") == [
        (name, "mem")
        for name in (
            "CacheClusterProvisioningComplete",
            "AddCacheNodeComplete",
            "CacheClusterParametersChanged",
            "RemoveCacheNodeComplete",
            "CacheClusterScalingComplete",
            "CacheClusterSecurityGroupModified",
            "CacheNodesRebooted",
            "CacheNodesRebooted",
            "DeleteCacheClusterComplete",
        )
    ]


def test_a_replication_group(server: Server, client: ElastiCacheClient, sns_url: str) -> None:
    topic = Topic(sns_url, "rg-topic")
    client.create_replication_group(
        ReplicationGroupId="rg",
        ReplicationGroupDescription="told of",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        NotificationTopicArn=topic.arn,
    )
    available_group(client, "rg")
    shown = cluster_of(client, "rg-001")["NotificationConfiguration"]
    assert shown == {"TopicArn": topic.arn, "TopicStatus": "active"}
    client.increase_replica_count(ReplicationGroupId="rg", NewReplicaCount=2, ApplyImmediately=True)
    available_group(client, "rg")
    client.test_failover(ReplicationGroupId="rg", NodeGroupId="0001")
    wait_until(
        lambda: events_of(client, "rg-001"),
        lambda told: told[-1:] == ["Finished recovery for cache nodes 0001"],
        what="the failed node is back",
    )
    successor = primary_of(client, "rg")
    failed_over = f"Failover from primary node rg-001 to replica node {successor} completed"
    client.modify_replication_group(
        ReplicationGroupId="rg", AutomaticFailoverEnabled=False, ApplyImmediately=True
    )
    available_group(client, "rg")
    assert events_of(client, "rg") == [
        "Replication group rg created",
        "Increasing the number of replicas of replication group rg",
        "Finished increasing the number of replicas of replication group rg",
        "Test Failover API called for node group 0001",
        failed_over,
        "Automatic failover has been turned off for replication group rg",
    ]
    zone = "us-east-1"
    assert [text.split(zone)[0] for text in events_of(client, "rg-001")] == [
        "Cache cluster created",
        UNSUPPORTED,
        "Added cache node 0001 in availability zone ",
        failed_over,
        "Recovering cache nodes 0001",
        "Finished recovery for cache nodes 0001",
    ]
    told = topic.until("CacheNodeReplaceComplete", "rg-001")
    assert [one for one in told if one[1] in ("rg", "rg-001", "rg-003")] == [
        ("CacheClusterProvisioningComplete", "rg-001"),
        ("CreateReplicationGroupComplete", "rg"),
        ("ReplicationGroupIncreaseReplicaCountStarted", "rg-003"),
        ("CacheClusterProvisioningComplete", "rg-003"),
        ("ReplicationGroupIncreaseReplicaCountFinished", "rg-003"),
        ("FailoverComplete", "rg"),
        ("CacheNodeReplaceStarted", "rg-001"),
        ("CacheNodeReplaceComplete", "rg-001"),
    ]

    # Whoever wants to hear no more, does not; a topic that is gone is noticed.
    client.modify_replication_group(ReplicationGroupId="rg", NotificationTopicStatus="inactive")
    available_group(client, "rg")
    quiet = len(topic.told)
    client.modify_replication_group(
        ReplicationGroupId="rg", SecurityGroupIds=["sg-1"], ApplyImmediately=True
    )
    available_group(client, "rg")
    assert "Applied change to security group" in events_of(client, "rg-001")
    client.modify_replication_group(ReplicationGroupId="rg", NotificationTopicStatus="active")
    available_group(client, "rg")
    topic.delete()
    kill_node(server, primary_of(client, "rg"))
    wait_until(
        lambda: cluster_of(client, "rg-001")["NotificationConfiguration"]["TopicStatus"],
        lambda status: status == "inactive",
        what="the topic that is gone is inactive",
    )
    assert len(topic.told) == quiet
    client.delete_replication_group(ReplicationGroupId="rg")
    group_gone(client, "rg")


def test_an_endpoint_that_nobody_reaches_is_not_felt(tmp_path: Any) -> None:
    # A port that is bound and does not listen: connections are refused.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with Server(tmp_path / "data", sns_endpoint_url=url) as server:
            client = server.client()
            client.create_cache_cluster(
                CacheClusterId="one",
                Engine="memcached",
                CacheNodeType=NODE,
                NumCacheNodes=1,
                NotificationTopicArn="arn:aws:sns:us-east-1:000000000000:t",
            )
            available_cluster(client, "one")
            wait_until(
                lambda: server.log, lambda log: "notification_postponed" in log, what="it was tried"
            )
            shown = cluster_of(client, "one")["NotificationConfiguration"]["TopicStatus"]
            assert shown == "active", "not knowing is no reason to act"
