"""The parts of an endpoint that decide: slots, the picture of the cluster, the budget."""

from __future__ import annotations

import pytest

from cachefleet.engine.gateway.routes import Address, ShardOptions
from cachefleet.engine.gateway.serverless.budget import Budget
from cachefleet.engine.gateway.serverless.memcached import ServerlessMemcached
from cachefleet.engine.gateway.serverless.picture import Picture, cluster_info, merged_info
from cachefleet.engine.gateway.serverless.slots import SlotMap

ONE, TWO, COPY = Address("127.0.0.1", 1), Address("127.0.0.1", 2), Address("127.0.0.1", 3)
PICTURE = Picture(host="h", port=6379, reads_port=6380, node_ids=("a" * 40, "b" * 40))


def shards() -> list[ShardOptions]:
    return [
        ShardOptions(slots=((0, 99), (200, 16383)), primary=ONE, replicas=(COPY,)),
        ShardOptions(slots=((100, 199),), primary=TWO),
    ]


def test_slots_have_the_owners_they_were_given() -> None:
    slots = SlotMap(shards())
    assert [slots.owner(slot) for slot in (0, 99, 100, 199, 200, 16383)] == [
        ONE, ONE, TWO, TWO, ONE, ONE,
    ]  # fmt: skip
    assert slots.reader(0, salt=640) == COPY
    assert slots.reader(100, salt=640) == TWO, "without a replica, its primary"


def test_a_shard_that_says_who_has_a_slot_is_believed_until_the_next_version() -> None:
    slots = SlotMap(shards())
    slots.learn(5, TWO)
    assert slots.owner(5) == TWO
    slots.learn(99_999, TWO)
    slots.change(shards())
    assert slots.owner(5) == ONE


def test_clients_see_one_primary_with_all_slots() -> None:
    assert PICTURE.slots() == [[0, 16383, ["h", 6379, "a" * 40], ["h", 6380, "b" * 40]]]
    first, second = PICTURE.nodes(myself=1).splitlines()
    assert first == f"{'a' * 40} h:6379@16379,h master - 0 0 1 connected 0-16383"
    assert second == f"{'b' * 40} h:6380@16380,h myself,slave {'a' * 40} 0 0 1 connected"
    assert PICTURE.replicas("a" * 40, myself=0) == [second.replace("myself,", "")]
    assert PICTURE.replicas("c" * 40, myself=0) is None
    told = cluster_info(b"cluster_state:ok\r\ncluster_known_nodes:6\r\ncluster_size:3\r\n")
    assert told == b"cluster_state:ok\r\ncluster_known_nodes:2\r\ncluster_size:1\r\n"


def test_info_of_shards_is_that_of_one_server() -> None:
    one = b"# Server\r\nrun_id:x\r\nrole:slave\r\nused_memory:5\r\n# Keyspace\r\n"
    one += b"db0:keys=2,expires=1\r\n"
    two = b"# Server\r\nused_memory:7\r\n# Keyspace\r\ndb0:keys=3,expires=0\r\n"
    told = merged_info([one, two]).decode().splitlines()
    assert told == [
        "# Server", "role:master", "used_memory:12", "# Keyspace", "db0:keys=5,expires=1,avg_ttl=0",
    ]  # fmt: skip


def test_the_budget_is_spent_and_earned() -> None:
    now = 0.0
    budget = Budget(1000, clock=lambda: now)
    assert all(budget.take() for _ in range(1000))
    assert not budget.take()
    assert budget.wait_s() == pytest.approx(0.001)
    now = 0.5
    assert sum(budget.take() for _ in range(1000)) == 500
    budget.charge(3 * 1024)  # two beyond the first kilobyte
    assert budget.wait_s() == pytest.approx(0.003)
    budget.change(None)
    assert all(budget.take() for _ in range(5000))


@pytest.mark.parametrize(
    ("sent", "passed", "answered"),
    [
        (b"set a 0 0 1\r\nx\r\n", b"set a 0 0 1\r\nx\r\n", b""),
        (b"set a 0 0 5\r\nlru x\r\n", b"set a 0 0 5\r\nlru x\r\n", b""),
        (b"lru mode flat\r\n", b"version\r\n", b"ERROR\r\n"),
        (b"stats settings\r\n", b"version\r\n", b"ERROR\r\n"),
        (b"stats reset\r\n", b"stats reset\r\n", b""),
        (b"flush_all 0\r\n", b"flush_all 0\r\n", b""),
        (
            b"flush_all 5\r\n",
            b"version\r\n",
            b"CLIENT_ERROR delayed flush_all is not supported\r\n",
        ),
        (b"config get cluster\r\n", b"version\r\n", b"ERROR\r\n"),
        (b"get AmazonElastiCache:cluster\r\n", b"version\r\n", b"ERROR\r\n"),
        (b"get " + b"k " * 9000 + b"\r\n", b"version\r\n", b"CLIENT_ERROR line too long\r\n"),
    ],
)
def test_memcached_is_refused_what_it_does_not_have(
    sent: bytes, passed: bytes, answered: bytes
) -> None:
    whole, dripped = ServerlessMemcached(), ServerlessMemcached()
    assert whole.client_sent(sent) == passed
    assert b"".join(dripped.client_sent(sent[at : at + 1]) for at in range(len(sent))) == passed
    if answered:
        assert whole.backend_sent(b"VERSION 1.6.22\r\n") == answered
