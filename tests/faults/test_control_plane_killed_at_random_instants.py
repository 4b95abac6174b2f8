"""``kill -9`` of the control plane at any instant: nothing is lost, nothing is left over.

A customer creates and deletes caches of every kind; at a random instant of that, or of the next
start, the control plane is gone. The next one has to find what is there. Whatever was acknowledged
comes true, whatever was not is there whole or not at all, and nodes that served go on untouched.

The failing seed and round are the whole bug report.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from tests.faults.caches import NODE
from tests.support.audit import Audit, require_agreement
from tests.support.server import Server

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# The latter: it ended between the head and the body of its answer.
NO_ANSWER = (BotoCoreError, ResponseParserError)
KILLS = 50
SEEDS = (1, 2)
CACHES_MAX = 4  # then the customer only deletes: rounds stay short
CALLS_PER_ROUND_MAX = 3
INSTANT_S_MAX = 0.25  # a small group is created within this, so any instant of it is met
START_INSTANT_S_MAX = 1.0
START_KILLS_SHARE = 0.2
# How often each is created. A cluster takes two seconds of its own: one is enough at a time.
KINDS = ("single", "single", "memcached", "memcached", "plain", "plain", "sharded")

_making_clients = threading.Lock()


class Customer:
    """Creates and deletes at random, and knows what it was told."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._count = 0
        self.present: dict[str, str] = {}  # name -> kind, as acknowledged
        self.doubtful: set[str] = set()  # calls that were not answered
        self.journal: list[str] = []

    def act(self, client: ElastiCacheClient) -> None:
        """Make one call; a connection that breaks leaves its outcome in doubt."""
        sure = sorted(set(self.present) - self.doubtful)
        crowded = len(self.present) >= CACHES_MAX
        if sure and (crowded or self._dice.random() < 0.4):
            self._delete(client, self._dice.choice(sure))
        elif not crowded:
            self._count += 1
            kinds = [k for k in KINDS if k != "sharded" or "sharded" not in self.present.values()]
            self._create(client, f"c{self._count}", self._dice.choice(kinds))

    def _create(self, client: ElastiCacheClient, name: str, kind: str) -> None:
        self.journal.append(f"create {kind} {name}")
        self.present[name] = kind
        with self._in_doubt(name):
            if kind in ("single", "memcached"):
                client.create_cache_cluster(
                    CacheClusterId=name,
                    Engine="redis" if kind == "single" else "memcached",
                    CacheNodeType=NODE,
                    NumCacheNodes=1 if kind == "single" else 2,
                )
            elif kind == "plain":
                client.create_replication_group(
                    ReplicationGroupId=name,
                    ReplicationGroupDescription="chaos",
                    Engine="valkey",
                    CacheNodeType=NODE,
                    NumCacheClusters=2,
                    AutomaticFailoverEnabled=True,
                )
            else:
                client.create_replication_group(
                    ReplicationGroupId=name,
                    ReplicationGroupDescription="chaos",
                    Engine="valkey",
                    CacheNodeType=NODE,
                    NumNodeGroups=2,
                    ReplicasPerNodeGroup=0,
                    AutomaticFailoverEnabled=True,
                    CacheParameterGroupName="default.valkey9.cluster.on",
                )

    def _delete(self, client: ElastiCacheClient, name: str) -> None:
        self.journal.append(f"delete {name}")
        try:
            with self._in_doubt(name):
                if self.present[name] in ("single", "memcached"):
                    client.delete_cache_cluster(CacheClusterId=name)
                else:
                    client.delete_replication_group(ReplicationGroupId=name)
                del self.present[name]
        except ClientError as error:
            # Deleting what is still being created is refused; anything else is a mistake.
            if "State" not in error.response["Error"]["Code"]:
                raise

    @contextlib.contextmanager
    def _in_doubt(self, name: str) -> Iterator[None]:
        try:
            yield
        except NO_ANSWER:
            self.journal.append(f"no answer about {name}")
            self.doubtful.add(name)
            raise

    def learn(self, client: ElastiCacheClient) -> None:
        """Compare what is there with what was acknowledged; what was in doubt is known now."""
        there = names(client)
        sure = set(self.present) - self.doubtful
        assert sure <= there, f"acknowledged and not there: {sorted(sure - there)}"
        surplus = there - set(self.present) - self.doubtful
        assert not surplus, f"deleted and still there: {sorted(surplus)}"
        self.present = {name: kind for name, kind in self.present.items() if name in there}
        self.doubtful.clear()


def names(client: ElastiCacheClient) -> set[str]:
    """Return the caches of the account: groups, and clusters that stand alone."""
    groups = client.describe_replication_groups()["ReplicationGroups"]
    clusters = client.describe_cache_clusters(ShowCacheClustersNotInReplicationGroups=True)
    return {group["ReplicationGroupId"] for group in groups} | {
        cluster["CacheClusterId"] for cluster in clusters["CacheClusters"]
    }


def new_client(server: Server) -> ElastiCacheClient:
    """Return a client; making them is not safe in several threads at once."""
    with _making_clients:
        return server.client()


def kill_amid_calls(server: Server, customer: Customer, dice: random.Random) -> None:
    """Let the customer call, and kill the control plane at a random instant of it."""
    client = new_client(server)
    killer = threading.Timer(dice.uniform(0, INSTANT_S_MAX), server.kill)
    killer.start()
    with contextlib.suppress(*NO_ANSWER):
        for _ in range(dice.randint(1, CALLS_PER_ROUND_MAX)):
            customer.act(client)
    killer.join()


def kill_amid_start(server: Server, dice: random.Random) -> None:
    """Start the next control plane, and kill it somewhere on its way, or just after."""
    killer = threading.Timer(dice.uniform(0, START_INSTANT_S_MAX), server.kill)
    server.spawn()
    killer.start()
    killer.join()


def require_untouched(before: Audit, after: Audit) -> None:
    """Make sure that nodes which served and still do are the same processes."""
    for uid in before.processes.keys() & after.processes.keys():
        assert before.processes[uid] == after.processes[uid], f"node {uid} was started again"


def test_nothing_is_lost_and_nothing_is_left_over(tmp_path: Path) -> None:
    # Side by side: most of the time goes into starts, and each start into one core.
    with ThreadPoolExecutor(len(SEEDS)) as pool:
        fleets = [pool.submit(run_fleet, tmp_path / f"seed-{seed}", seed) for seed in SEEDS]
        for fleet in fleets:
            fleet.result()


def run_fleet(folder: Path, seed: int) -> None:
    """Kill one fleet's control plane again and again."""
    dice = random.Random(seed)
    customer = Customer(dice)
    folder.mkdir()
    with Server(folder / "data") as server:
        seen = require_agreement(server)
        for round_ in range(KILLS // len(SEEDS)):
            customer.journal.append(f"-- round {round_}")
            try:
                kill_amid_calls(server, customer, dice)
                if dice.random() < START_KILLS_SHARE:
                    customer.journal.append("killed amid the start")
                    kill_amid_start(server, dice)
                server.start()
                before, seen = seen, require_agreement(server)
                customer.learn(new_client(server))
                require_untouched(before, seen)
            except Exception:
                print(f"seed {seed}", *customer.journal, server.log[-8000:], sep="\n")
                raise
