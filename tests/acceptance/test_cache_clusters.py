"""Clusters of one Redis OSS node: the port, the defaults, the boundaries between customers."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    cluster_gone,
    delete_everything,
)

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient
    from mypy_boto3_elasticache.type_defs import TagTypeDef

pytestmark = pytest.mark.engine

# What the service gives a cache.t3.micro: 0.5 GiB, a quarter of which is reserved.
T3_MICRO_BYTES = 536_870_912
RESERVED_PERCENT = 25

# What the engine cannot have as the parameter has it: memory comes from the node type, the
# endpoint type is the service's own word, and clients are limited by the files that we may open.
NOT_AS_WRITTEN = {"maxmemory", "cluster-preferred-endpoint-type", "maxclients"}


def create(client: ElastiCacheClient, name: str, **more: Any) -> dict[str, Any]:
    client.create_cache_cluster(
        CacheClusterId=name,
        Engine="redis",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=1,
        **more,
    )
    return available_cluster(client, name)


def connect(cluster: dict[str, Any]) -> redis.Redis:
    (node,) = cluster["CacheNodes"]
    endpoint = node["Endpoint"]
    return redis.Redis(host=endpoint["Address"], port=endpoint["Port"], decode_responses=True)


def test_the_requested_port_is_the_port(client: ElastiCacheClient) -> None:
    cluster = create(client, "odd-port", Port=7777)
    assert cluster["CacheNodes"][0]["Endpoint"]["Port"] == 7777
    with connect(cluster) as node:
        assert node.ping()
        assert node.info("server")["tcp_port"] == 7777


def test_an_engine_is_configured_as_its_parameter_group_says(
    client: ElastiCacheClient, server: Server
) -> None:
    client.create_cache_parameter_group(
        CacheParameterGroupName="own", CacheParameterGroupFamily="redis7", Description="own"
    )
    client.modify_cache_parameter_group(
        CacheParameterGroupName="own",
        ParameterNameValues=[
            {"ParameterName": "maxmemory-policy", "ParameterValue": "allkeys-lfu"},
            {"ParameterName": "databases", "ParameterValue": "4"},
        ],
    )
    create(client, "own-values", CacheParameterGroupName="own")
    config = server.engine_config("own-values")
    assert config["maxmemory-policy"] == "allkeys-lfu"
    assert config["databases"] == "4"
    assert config["maxmemory"] == str(T3_MICRO_BYTES * (100 - RESERVED_PERCENT) // 100)


def test_an_engine_has_the_defaults_of_its_family(
    client: ElastiCacheClient, server: Server
) -> None:
    cluster = create(client, "family-defaults")
    name = cluster["CacheParameterGroup"]["CacheParameterGroupName"]
    assert name == "default.redis7"
    defaults = {
        parameter["ParameterName"]: parameter["ParameterValue"]
        for page in client.get_paginator("describe_cache_parameters").paginate(
            CacheParameterGroupName=name
        )
        for parameter in page["Parameters"]
        if "ParameterValue" in parameter
    }
    config = server.engine_config("family-defaults")
    assert config["maxmemory"] == str(T3_MICRO_BYTES * (100 - RESERVED_PERCENT) // 100)
    assert config["maxmemory-policy"] == "volatile-lru"
    assert config["databases"] == "16"
    common = (defaults.keys() & config.keys()) - NOT_AS_WRITTEN
    assert len(common) > 30
    different = {
        name: (defaults[name], config[name])
        for name in sorted(common)
        if not same(defaults[name], config[name])
    }
    assert not different
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert 0 <= min(65_000, files_max) - int(config["maxclients"]) < 64


def same(wanted: str, configured: str) -> bool:
    """Tell whether two spellings mean the same: the engine orders the letters of a flag set."""
    return wanted == configured or sorted(wanted) == sorted(configured)


def test_two_accounts_and_two_regions_never_meet(server: Server) -> None:
    scopes = [
        ("900000000001", "us-east-1"),
        ("900000000002", "us-east-1"),
        ("900000000001", "eu-west-1"),
    ]
    clients = [server.client(account, region) for account, region in scopes]
    try:
        clusters = [create(client, "mine") for client in clients]
        for number, cluster in enumerate(clusters):
            with connect(cluster) as node:
                node.set("whose", number)
        for number, (client, (account, region)) in enumerate(zip(clients, scopes, strict=True)):
            (shown,) = client.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
            assert shown["ARN"] == f"arn:aws:elasticache:{region}:{account}:cluster:mine"
            assert shown["CacheNodes"][0]["CustomerAvailabilityZone"].startswith(region)
            with connect(dict(shown)) as node:
                assert node.get("whose") == str(number)
                assert node.dbsize() == 1
            events = client.describe_events(Duration=60)["Events"]
            assert [event["SourceIdentifier"] for event in events].count("mine") >= 1
        with pytest.raises(clients[1].exceptions.ClientError):
            clients[1].list_tags_for_resource(ResourceName=clusters[0]["ARN"])
        clients[0].delete_cache_cluster(CacheClusterId="mine")
        cluster_gone(clients[0], "mine")
        for client in clients[1:]:
            assert client.describe_cache_clusters()["CacheClusters"]
    finally:
        for client in clients:
            delete_everything(client)


def test_every_taggable_resource_keeps_its_tags(client: ElastiCacheClient, account: str) -> None:
    tags: list[TagTypeDef] = [{"Key": "team", "Value": "cache"}]
    subnet_group = client.create_cache_subnet_group(
        CacheSubnetGroupName="sg",
        CacheSubnetGroupDescription="sg",
        SubnetIds=["subnet-1a2b3c4d"],
        Tags=tags,
    )["CacheSubnetGroup"]
    parameter_group = client.create_cache_parameter_group(
        CacheParameterGroupName="pg",
        CacheParameterGroupFamily="valkey8",
        Description="pg",
        Tags=tags,
    )["CacheParameterGroup"]
    cluster = client.create_cache_cluster(
        CacheClusterId="cc",
        Engine="redis",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=1,
        Tags=tags,
    )["CacheCluster"]
    group = client.create_replication_group(
        ReplicationGroupId="rg",
        ReplicationGroupDescription="rg",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        Tags=tags,
    )["ReplicationGroup"]
    available_cluster(client, "cc")
    available_group(client, "rg")
    for tagged in (subnet_group, parameter_group, cluster, group):
        arn = tagged["ARN"]
        assert account in arn
        assert client.list_tags_for_resource(ResourceName=arn)["TagList"] == tags
        more = client.add_tags_to_resource(
            ResourceName=arn, Tags=[{"Key": "stage", "Value": "test"}]
        )
        assert {tag["Key"] for tag in more["TagList"]} == {"team", "stage"}
        available_group(client, "rg")  # a group whose tags change is modified for a moment
        client.remove_tags_from_resource(ResourceName=arn, TagKeys=["team"])
        available_group(client, "rg")
        left = client.list_tags_for_resource(ResourceName=arn)["TagList"]
        assert left == [{"Key": "stage", "Value": "test"}]
