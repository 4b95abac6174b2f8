"""Subnets without EC2: stable zones, one VPC, a default group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.provisioner.state import subnets
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.zones import zones_of

SCOPE = Scope("000000000000", "us-west-2")
ZONES = zones_of("us-west-2")

ids = st.lists(st.from_regex(r"subnet-[0-9a-f]{1,17}", fullmatch=True), min_size=1, max_size=20)


@given(ids)
def test_each_subnet_comes_once_in_order_in_a_zone_of_the_region(given_ids: list[str]) -> None:
    placed = subnets.place(given_ids, known={}, zones=ZONES)
    assert [one["id"] for one in placed] == list(dict.fromkeys(given_ids))
    assert {one["az"] for one in placed} <= set(ZONES)


@given(ids)
def test_a_group_spreads_over_as_many_zones_as_it_can(given_ids: list[str]) -> None:
    placed = subnets.place(given_ids, known={}, zones=ZONES)
    assert len({one["az"] for one in placed}) == min(len(set(given_ids)), len(ZONES))


@given(ids, ids)
def test_a_subnet_that_is_known_stays_where_it_is(first: list[str], second: list[str]) -> None:
    known = {one["id"]: one["az"] for one in subnets.place(first, known={}, zones=ZONES)}
    again = subnets.place([*second, *first], known=known, zones=ZONES)
    assert known.items() <= {one["id"]: one["az"] for one in again}.items()


def test_the_zone_is_drawn_from_the_id() -> None:
    drawn = {subnets.place([f"subnet-{n}"], known={}, zones=ZONES)[0]["az"] for n in range(40)}
    assert drawn == set(ZONES)


@pytest.mark.parametrize(
    "bad", ["", "subnet-", "vpc-1", "subnet-a b", "subnet-ä", "subnet-a\n", "subnet-" + "1" * 58]
)
def test_refuses_what_is_no_subnet_id(bad: str) -> None:
    assert subnets.invalid_ids(["subnet-0a", bad, "subnet-a-b"]) == [bad]


def test_the_default_group_has_a_subnet_in_every_zone_of_the_one_vpc() -> None:
    group = subnets.default_group(SCOPE)
    assert (group.name, group.description) == ("default", "Default CacheSubnetGroup")
    assert [one["az"] for one in group.subnets] == list(ZONES)
    assert subnets.invalid_ids(one["id"] for one in group.subnets) == []
    assert group.vpc_id == subnets.vpc_of(SCOPE)
    assert group.arn == "arn:aws:elasticache:us-west-2:000000000000:subnetgroup:default"


def test_scopes_have_different_vpcs_and_subnets() -> None:
    other = subnets.default_group(Scope("111111111111", "us-west-2"))
    ours = subnets.default_group(SCOPE)
    assert other.vpc_id != ours.vpc_id
    assert {s["id"] for s in other.subnets}.isdisjoint(s["id"] for s in ours.subnets)
