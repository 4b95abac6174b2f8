"""Requests that meet: whoever comes second is told what the service would have told it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cachefleet.api.app import create_app
from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state.store import Store
from tests.support.api import Api, Refused
from tests.unit.api.driver import SteppedClock, quiet_settings

RACERS = 6
NAMED: list[tuple[str, dict[str, Any], str]] = [
    (
        "CreateReplicationGroup",
        {
            "ReplicationGroupId": "one",
            "ReplicationGroupDescription": "d",
            "CacheNodeType": "cache.t3.micro",
            "NumCacheClusters": 2,
            "Tags": [{"Key": "k", "Value": "v"}],
        },
        "ReplicationGroupAlreadyExists",
    ),
    (
        "CreateCacheCluster",
        {
            "CacheClusterId": "one",
            "CacheNodeType": "cache.t3.micro",
            "Engine": "memcached",
            "NumCacheNodes": 1,
        },
        "CacheClusterAlreadyExists",
    ),
    (
        "CreateCacheParameterGroup",
        {
            "CacheParameterGroupName": "one",
            "CacheParameterGroupFamily": "redis7",
            "Description": "d",
        },
        "CacheParameterGroupAlreadyExists",
    ),
    (
        "CreateCacheSubnetGroup",
        {
            "CacheSubnetGroupName": "one",
            "CacheSubnetGroupDescription": "d",
            "SubnetIds": ["subnet-1"],
        },
        "CacheSubnetGroupAlreadyExists",
    ),
]


@pytest.mark.parametrize(
    ("operation", "params", "code"), [pytest.param(*one, id=one[0]) for one in NAMED]
)
async def test_of_several_creations_under_one_name_one_succeeds(
    store: Store, clock: SteppedClock, operation: str, params: dict[str, Any], code: str
) -> None:
    catalog = Catalog.load()
    app = create_app(store=store, settings=quiet_settings(), catalog=catalog, clock=clock)
    api = Api(app, store, clock, catalog)
    outcomes = await asyncio.gather(
        *(api(operation, **params) for _ in range(RACERS)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) == RACERS - 1, outcomes
    for error in refused:
        assert isinstance(error, Refused), repr(error)
        assert error.code == code, error
