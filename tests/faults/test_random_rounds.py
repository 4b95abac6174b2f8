"""Random faults, one after another, on groups that are written to all the time.

In each wave every group has a fault of its own, and now and then the control plane is killed in the
middle of them. Then everything heals, and no write that a replica had confirmed is gone.

The seed and the round are the whole bug report: ``FAULTS_SEED=<seed> FAULTS_ROUNDS=<rounds>``.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.faults.caches import connected, inject, pid_of, primary_of, rest, roles
from tests.support.audit import require_agreement
from tests.support.durable import DurableValues
from tests.support.length import AT_LENGTH
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

SEED = int(os.environ.get("FAULTS_SEED", "20"))
ROUNDS = int(os.environ.get("FAULTS_ROUNDS", "1000" if AT_LENGTH else "100"))
# Side by side: most of a round is waiting.
GROUPS = {**dict.fromkeys(("one", "two", "three", "five", "six"), "plain"), "four": "sharded"}
TIMEOUT_S = "0.6"
SHORT_S = 0.2  # is over before anybody is taken for hung
HEALED_TIMEOUT_S = 60.0
CONTROL_PLANE_SHARE = 0.08
REPLICAS = 2

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(600 + 6 * ROUNDS),
]


def kill(server: Server, member: str, dice: random.Random) -> None:
    """End the process, as a crash does."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid_of(server, member), signal.SIGKILL)


def hang(server: Server, member: str, dice: random.Random) -> None:
    """Freeze it for good: it is fenced."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid_of(server, member), signal.SIGSTOP)


def hiccup(server: Server, member: str, dice: random.Random) -> None:
    """Freeze it for less than would be taken for a hang."""
    inject(server, "stop", CacheClusterId=member, DurationSeconds=SHORT_S)


def slow(server: Server, member: str, dice: random.Random) -> None:
    """Let it run for a part of the time."""
    share = round(dice.uniform(0.1, 0.5), 2)
    inject(server, "slow", CacheClusterId=member, RunShare=share, DurationSeconds=2 * SHORT_S)


def cut_from_nodes(server: Server, member: str, dice: random.Random) -> None:
    """Cut it off from the rest of its group."""
    inject(server, "partition", CacheClusterId=member, Cut="nodes", DurationSeconds=SHORT_S)


def cut_off(server: Server, member: str, dice: random.Random) -> None:
    """Cut it off from everybody, for long enough to be fenced, or not."""
    lasts_s = dice.choice((SHORT_S, 1.2))
    inject(server, "partition", CacheClusterId=member, DurationSeconds=lasts_s)


def lose_zone(server: Server, member: str, dice: random.Random) -> None:
    """Kill the zone of the member for a while."""
    group = member.rsplit("-", 2)[0] if member.count("-") > 1 else member.rsplit("-", 1)[0]
    zone = server.node(member).availability_zone
    inject(
        server,
        "kill",
        AvailabilityZone=zone,
        ReplicationGroupId=group,
        DurationSeconds=dice.choice((0, SHORT_S)),
    )


FAULTS = (kill, kill, kill, hang, hiccup, slow, cut_from_nodes, cut_off, lose_zone)


class Fleet:
    """The groups, their clients, and what was done to them."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.dice = random.Random(seed)
        self.journal: list[str] = []
        self.values: dict[str, DurableValues] = {}
        for name, kind in GROUPS.items():
            self._create(name, kind)

    def _create(self, name: str, kind: str) -> None:
        client = self.server.client()
        shape = (
            {"NumCacheClusters": 1 + REPLICAS}
            if kind == "plain"
            else {"NumNodeGroups": 3, "ReplicasPerNodeGroup": 1}
        )
        client.create_replication_group(
            ReplicationGroupId=name,
            ReplicationGroupDescription="random faults",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            AutomaticFailoverEnabled=True,
            MultiAZEnabled=True,
            **shape,  # type: ignore[arg-type]
        )
        group = available_group(client, name)
        endpoint = group.get("ConfigurationEndpoint") or group["NodeGroups"][0]["PrimaryEndpoint"]
        self.values[name] = DurableValues((endpoint["Address"], endpoint["Port"]))

    def wave(self, number: int) -> None:
        """Break something in every group, and perhaps the control plane."""
        chosen = []
        client = self.server.client()
        for name in GROUPS:
            fault, dice = self.dice.choice(FAULTS), random.Random(self.dice.random())
            members = sorted(group_of(client, name)["MemberClusters"])
            member = dice.choice(members)
            if GROUPS[name] == "plain" and dice.random() < 0.6:
                member = primary_of(client, name)
            self.journal.append(f"{number}: {fault.__name__} {member}")
            chosen.append((fault, member, dice))
        ends = self.dice.random() < CONTROL_PLANE_SHARE
        with ThreadPoolExecutor(len(chosen)) as pool:
            injected = [pool.submit(fault, self.server, member, d) for fault, member, d in chosen]
            if ends:
                self.journal.append(f"{number}: the control plane is killed")
                self.server.kill()
                self.server.start()
            nobody = (URLError, HTTPException, OSError, AssertionError) if ends else ()
            for one in injected:
                # A fault that was asked for while nobody was there is none.
                with contextlib.suppress(*nobody):
                    one.result()
        self.heal()

    def heal(self) -> None:
        """Wait until all that is open is over, and every replica has all."""
        wait_until(
            lambda: [
                fault["FaultId"]
                for fault in rest(self.server, "GET", "/v1/faults")["Faults"]
                if fault["State"] in ("requested", "active")
            ],
            lambda those: not those,
            what="faults are over",
        )
        for name, values in self.values.items():
            replicas = REPLICAS if GROUPS[name] == "plain" else 1
            wait_until(
                lambda v=values, r=replicas: v.confirmed_by(r, timeout_ms=200),  # type: ignore[misc]
                what=f"all replicas of {name} are in sync",
                timeout_s=HEALED_TIMEOUT_S,
            )


def test_nothing_that_a_replica_confirmed_is_lost(tmp_path: Path) -> None:
    settings = {"failover_timeout_s": TIMEOUT_S}
    with Server(tmp_path / "data", "--allow-faults", **settings) as server:
        fleet = Fleet(server, SEED)
        try:
            for number in range(-(-ROUNDS // len(GROUPS))):
                with contextlib.ExitStack() as stack:
                    for values in fleet.values.values():
                        stack.enter_context(values.under_load())
                    fleet.wave(number)
                for name, values in fleet.values.items():
                    assert values.audit() == [], f"{name} after wave {number}"
            require_agreement(server)
            for name in (name for name, kind in GROUPS.items() if kind == "plain"):
                assert sorted(roles(server.client(), name).values()) == [
                    "primary",
                    *["replica"] * REPLICAS,
                ]
        except BaseException:
            print(f"FAULTS_SEED={SEED} FAULTS_ROUNDS={ROUNDS}", *fleet.journal[-60:], sep="\n")
            print(server.log[-8000:])
            raise
        written = sum(values.acknowledged for values in fleet.values.values())
        print(f"seed {SEED}: {ROUNDS} rounds, {written} acknowledged writes")
        assert written > ROUNDS
        with connected((server.node("one-001").host or "", 6379)) as client:
            assert client.ping()
