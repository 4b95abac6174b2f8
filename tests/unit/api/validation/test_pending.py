"""What a request does to what is pending."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.api.faults import Fault
from cachefleet.api.validation import pending


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        pytest.param({}, {"CacheNodeType": "a"}, {"CacheNodeType": "a"}, id="new"),
        pytest.param(
            {"CacheNodeType": "a"}, {"CacheNodeType": "b"}, {"CacheNodeType": "b"}, id="2"
        ),
        pytest.param({"CacheNodeType": "a"}, {"CacheNodeType": None}, {}, id="cancelled"),
        pytest.param({"Engine": "a"}, {"CacheNodeType": None}, {"Engine": "a"}, id="others-stay"),
        pytest.param({}, {"CacheNodeType": None}, {}, id="nothing-to-cancel"),
    ],
)
def test_merges(before: dict[str, Any], changes: dict[str, Any], after: dict[str, Any]) -> None:
    assert pending.merged(before, changes) == after


@pytest.mark.parametrize(
    ("waiting", "immediately", "due"),
    [
        pytest.param({"Engine": "valkey"}, True, True, id="now"),
        pytest.param({"Engine": "valkey"}, False, False, id="in-the-window"),
        pytest.param({}, True, False, id="nothing"),
        pytest.param({"Resharding": {}}, True, False, id="what-resharding-does"),
    ],
)
def test_is_due(waiting: dict[str, Any], immediately: bool, due: bool) -> None:
    assert pending.is_due(waiting, immediately=immediately) is due


TYPE, VERSION = {"CacheNodeType": "a"}, {"EngineVersion": "8.0.1"}


@pytest.mark.parametrize(
    ("waiting", "changes", "immediately", "refused"),
    [
        pytest.param({}, TYPE | VERSION, True, False, id="both-now"),
        pytest.param({}, TYPE | VERSION, False, True, id="both-later"),
        pytest.param(TYPE, VERSION, True, True, id="type-waits-upgrade-now"),
        pytest.param(VERSION, TYPE, True, True, id="upgrade-waits-type-now"),
        pytest.param(TYPE, TYPE | VERSION, True, False, id="the-type-again-with-it"),
        pytest.param(TYPE, VERSION | {"CacheNodeType": None}, True, False, id="type-cancelled"),
        pytest.param(TYPE, VERSION, False, False, id="both-wait"),
    ],
)
def test_a_new_type_and_a_new_version_do_not_overtake_each_other(
    waiting: dict[str, Any], changes: dict[str, Any], immediately: bool, refused: bool
) -> None:
    if not refused:
        pending.check_separate_upgrade(waiting, changes, immediately=immediately)
        return
    with pytest.raises(Fault) as raised:
        pending.check_separate_upgrade(waiting, changes, immediately=immediately)
    assert raised.value.code == "InvalidParameterCombination"


def test_new_nodes_add_to_those_that_wait() -> None:
    waiting = {"NumCacheNodes": 4, "NewAvailabilityZones": ["a", "b"]}
    assert pending.zones_waiting(waiting, present=2, count=5) == ["a", "b"]
    assert pending.zones_waiting(waiting, present=2, count=4) == ["a", "b"]
    with pytest.raises(Fault, match="setting NumCacheNodes to 2"):
        pending.zones_waiting(waiting, present=2, count=3)


def test_nodes_to_add_and_to_remove_take_each_others_place() -> None:
    adding = pending.merged({}, pending.more_nodes(3, ["a"]))
    assert adding == {"NumCacheNodes": 3, "NewAvailabilityZones": ["a"]}
    removing = pending.merged(adding, pending.fewer_nodes(1, ["0002"]))
    assert removing == {"NumCacheNodes": 1, "CacheNodeIdsToRemove": ["0002"]}
    assert pending.merged(removing, pending.more_nodes(3, ["a"])) == adding
    assert pending.merged(removing, pending.NO_NODES) == {}


@pytest.mark.parametrize("share", [1, 100])
def test_takes_the_ends_of_the_scale(share: int) -> None:
    config = {"ScalePercentage": share, "ScaleIntervalMinutes": 0}
    assert pending.check_scale_config(config) == config


@pytest.mark.parametrize(
    "config",
    [
        {"ScalePercentage": 0},
        {"ScalePercentage": 101},
        {"ScaleIntervalMinutes": -1},
        {"ScaleIntervalMinutes": pending.SCALE_INTERVAL_MINUTES_MAX + 1},
    ],
    ids=str,
)
def test_refuses_what_is_off_the_scale(config: dict[str, int]) -> None:
    with pytest.raises(Fault):
        pending.check_scale_config(config)
