"""What cachefleets make of each other's copies: whoever leads is known in the end, by everybody."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from cachefleet.provisioner.planning.peers import is_deposed, merge, status_of
from cachefleet.provisioner.state.peer_records import (
    Asked,
    Card,
    PeeredMember,
    PeeredRecord,
    Told,
)

REGIONS = {"A": "us-east-1", "B": "eu-west-1", "C": "ap-south-1"}


def card(**changes: object) -> Card:
    known = {
        "status": "available",
        "role": "SECONDARY",
        "automatic_failover": "disabled",
        "node_type": "cache.r7g.large",
        "engine": "valkey",
        "engine_version": "8.0.1",
        "cluster_enabled": False,
        "auth_token_enabled": False,
        "transit_encryption_enabled": False,
        "at_rest_encryption_enabled": False,
        "node_groups": (),
        **changes,
    }
    return Card.model_validate(known)


def member(fleet: str, *, leads: bool = False, **columns: object) -> PeeredMember:
    return PeeredMember.model_validate(
        {
            "region": REGIONS[fleet],
            "group_name": f"in-{fleet.lower()}",
            "role": "PRIMARY" if leads else "SECONDARY",
            "status": "associated",
            "fleet": fleet,
            **columns,
        }
    )


def record(
    leader: str = "A", *, epoch: int = 0, fleets: str = "AB", **columns: object
) -> PeeredRecord:
    return PeeredRecord.model_validate(
        {
            "epoch": epoch,
            "description": "",
            "status": "available",
            "members": tuple(member(fleet, leads=fleet == leader) for fleet in fleets),
            **columns,
        }
    )


def leader(found: PeeredRecord) -> str:
    return found.leader.fleet


@pytest.mark.parametrize(
    ("own", "mine", "told_by", "told", "leads"),
    [
        pytest.param("B", record("A"), "A", record("A"), "A", id="nothing-new"),
        pytest.param("A", record("A"), "B", record("B", epoch=1), "B", id="we-are-deposed"),
        pytest.param("B", record("B", epoch=1), "A", record("A"), "B", id="they-are-behind"),
        pytest.param("B", record("A"), "A", record("B", epoch=1), "B", id="the-lead-is-given"),
        pytest.param(
            "B",
            record("A"),
            "A",
            record("B", epoch=1, handing=True),
            "A",
            id="the-lead-is-not-given-yet",
        ),
        pytest.param(
            "A",
            record("A", epoch=1, fleets="ABC"),
            "B",
            record("B", epoch=1, fleets="ABC"),
            "B",
            id="two-survivors-the-first-region-leads",
        ),
        pytest.param(
            "B",
            record("B", epoch=1, fleets="ABC"),
            "A",
            record("A", epoch=1, fleets="ABC"),
            "B",
            id="and-the-other-says-the-same",
        ),
    ],
)
def test_who_leads(
    own: str, mine: PeeredRecord, told_by: str, told: PeeredRecord, leads: str
) -> None:
    after = merge(own, mine, Told(fleet=told_by, record=told))
    assert leader(after) == leads
    assert is_deposed(own, mine, after) is (leader(mine) == own and leads != own)


def test_only_the_leader_writes_the_record() -> None:
    mine = record("A", description="old", fleets="ABC")
    news = record("A", description="new", fleets="ABC")
    assert merge("B", mine, Told(fleet="C", record=news)).description == "old"
    assert merge("B", mine, Told(fleet="A", record=news)).description == "new"
    assert merge("A", mine, Told(fleet="B", record=news)).description == "old"


def test_only_its_own_cachefleet_speaks_for_a_member() -> None:
    mine = record("A", fleets="ABC")
    told = Told(
        fleet="B",
        record=mine,
        cards={REGIONS["B"]: card(status="modifying"), REGIONS["C"]: card()},
    )
    cards = {one.fleet: one.card for one in merge("A", mine, told).members}
    assert cards == {"A": None, "B": card(status="modifying"), "C": None}
    assert merge("A", merge("A", mine, told), Told(fleet="B")).members[1].card is None


@pytest.mark.parametrize(
    ("told", "options", "status"),
    [
        pytest.param(member("B", card=card()), {}, "available", id="at-rest"),
        pytest.param(member("B", card=card(status="modifying")), {}, "modifying", id="busy"),
        pytest.param(member("B", card=card(role="PRIMARY")), {}, "modifying", id="roles-change"),
        pytest.param(member("B", card=card(), asked=Asked(token="t")), {}, "modifying", id="asked"),
        pytest.param(
            member("B", card=card(done="t"), asked=Asked(token="t")), {}, "available", id="done"
        ),
        pytest.param(member("B", card=None), {"is_expected": True}, "creating", id="expected"),
        pytest.param(member("B", card=None), {}, None, id="gone"),
        pytest.param(
            member("B", card=card(status="modifying")), {"is_away": True}, "available", id="away"
        ),
    ],
)
def test_how_a_member_stands(
    told: PeeredMember, options: dict[str, bool], status: str | None
) -> None:
    found = status_of(
        told, epoch_role="SECONDARY", **({"is_away": False, "is_expected": False} | options)
    )
    assert found == status


@dataclass
class Side:
    """A cachefleet whose copy is all that it has; ``fenced`` when its nodes take no writes."""

    fleet: str
    copy: PeeredRecord
    fenced: bool = True
    up: bool = True

    def hears(self, other: Side) -> None:
        told = Told(fleet=other.fleet, record=other.copy)
        self.copy = merge(self.fleet, self.copy, told)

    def obeys(self) -> None:
        self.fenced = leader(self.copy) != self.fleet
        if self.fenced and self.copy.handing:
            self.copy = self.copy.model_copy(update={"handing": False})

    def leads(self, fleet: str, *, handing: bool) -> None:
        members = tuple(
            one.model_copy(update={"role": "PRIMARY" if one.fleet == fleet else "SECONDARY"})
            for one in self.copy.members
        )
        self.copy = self.copy.model_copy(
            update={"epoch": self.copy.epoch + 1, "members": members, "handing": handing}
        )


@dataclass
class Play:
    """Cachefleets that hand over, die, come back and take over, as the dice say."""

    dice: random.Random
    sides: dict[str, Side] = field(default_factory=dict)
    taken_over: bool = False

    def move(self) -> None:
        one = self.sides[self.dice.choice(sorted(self.sides))]
        other = self.sides[self.dice.choice(sorted(self.sides.keys() - {one.fleet}))]
        match self.dice.randrange(7):
            case 0:
                one.up = not one.up  # its nodes stay as they are
            case 1 if one.up and leader(one.copy) == one.fleet and not one.copy.handing:
                one.leads(other.fleet, handing=True)
            case 2 if one.up and leader(one.copy) == other.fleet and not other.up:
                one.leads(one.fleet, handing=False)
                self.taken_over = True
            case 3 | 4 if one.up and other.up:
                one.hears(other)
            case _ if one.up:
                one.obeys()

    @property
    def writable(self) -> list[str]:
        return [side.fleet for side in self.sides.values() if not side.fenced]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("fleets", ["AB", "ABC"])
def test_they_come_to_the_same_end(seed: int, fleets: str) -> None:
    play = Play(random.Random(seed))
    play.sides = {name: Side(name, record("A", fleets=fleets)) for name in fleets}
    play.sides["A"].fenced = False
    for _ in range(play.dice.randrange(1, 120)):
        play.move()
        if not play.taken_over:  # by hand-overs alone two never write
            assert len(play.writable) <= 1
    for side in play.sides.values():
        side.up = True
    for _ in range(6):
        for one in play.sides.values():
            one.obeys()
            for other in play.sides.values():
                if other is not one:
                    one.hears(other)
    assert len({leader(side.copy) for side in play.sides.values()}) == 1
    assert len({side.copy.epoch for side in play.sides.values()}) == 1
    assert play.writable == [leader(play.sides["A"].copy)]


def test_a_record_that_makes_no_sense_is_refused() -> None:
    for members in ([member("A")], [member("A", leads=True), member("B", leads=True)]):
        with pytest.raises(ValueError, match="exactly one member leads"):
            record(members=tuple(members))
    with pytest.raises(ValueError, match="a region has one member"):
        record(members=(member("A", leads=True), member("B", region=REGIONS["A"])))
