"""The adapter and the configuration against real engines: Valkey and Redis OSS alike."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Endpoint, Engine, EngineBinary, NodeRole, ReplicaLink
from cachefleet.engine.valkey.acl import closed_rules, default_line, user_line
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.config import (
    config_set_for,
    parameter_plan,
    reads_back,
)
from cachefleet.provisioner.state.parameters import is_allowed
from tests.conformance.clusters import is_role
from tests.conformance.engines import (
    ADMIN,
    NETWORK,
    PASSWORD,
    Node,
    endpoint,
    eventually,
    inventory,
    linked,
    need,
)

pytestmark = pytest.mark.engine

FAMILIES = [
    (Engine.VALKEY, "9.1", "valkey9"),
    (Engine.VALKEY, "8.2", "valkey8"),
    (Engine.VALKEY, "7.2", "valkey7"),
    (Engine.REDIS, "7.1", "redis7"),
    (Engine.REDIS, "6.2", "redis6.x"),
    (Engine.REDIS, "5.0.6", "redis5.0"),
    (Engine.REDIS, "4.0.10", "redis4.0"),
    (Engine.REDIS, "2.8.24", "redis2.8"),
]
RSS_KB_MAX = {Engine.VALKEY: 8 * 1024, Engine.REDIS: 16 * 1024}
# Another value of each kind of parameter; booleans, enumerations and numbers below.
OTHER_VALUES = {"maxmemory-policy": "allkeys-lfu", "notify-keyspace-events": "KEA"}
SYSTEM_LIMITED = {"maxclients"}  # the engine lowers it to the files it may open


@pytest.fixture
async def node(kind: tuple[EngineBinary, str]) -> AsyncIterator[Node]:
    binary, family = kind
    async with Node(binary, 1, family=family) as node:
        yield node


@pytest.mark.parametrize(
    ("engine", "version", "family"), FAMILIES, ids=[row[2] for row in FAMILIES]
)
async def test_every_parameter_with_a_directive_reads_back_after_start_and_after_set(
    engine: Engine, version: str, family: str
) -> None:
    # An older Redis is played by what stands in for it, so take whatever choose() gives.
    binary = inventory().choose(engine, version)
    changed = other_values(family)
    async with Node(binary, 1, family=family) as node:
        plan = parameter_plan(node.config)
        await assert_reads_back(node, {**plan.directives, **plan.at_start})
        later = config_set_for({**node.config.parameters, **changed}, binary)
        assert len(changes(plan.directives, later.directives)) > len(plan.directives) / 2
        await node.adapter.configure(later.directives)
        await assert_reads_back(node, later.directives)
    async with Node(binary, 1, family=family, parameters=changed) as node:
        await assert_reads_back(node, later.directives)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name for name, value in after.items() if before.get(name) != value}


async def assert_reads_back(node: Node, wanted: Mapping[str, str]) -> None:
    got = await node.adapter.config_get(*wanted)
    wrong = {
        name: (value, got.get(name))
        for name, value in wanted.items()
        if name not in SYSTEM_LIMITED and not reads_back(name, value, got.get(name, "(absent)"))
    }
    assert not wrong


def other_values(family: str) -> dict[str, str]:
    """Another allowed value for every parameter that customers may change at run time."""
    changed = {}
    for row in Catalog.load().family(family).parameters:
        if not row.is_modifiable or row.change_type != "immediate" or row.name == "rename-commands":
            continue
        candidates = [OTHER_VALUES.get(row.name, ""), *row.allowed_values.split(",")]
        if row.data_type == "integer" and row.value.lstrip("-").isdigit():
            candidates += [str(int(row.value) + step) for step in (1, -1, 20)]
        allowed = (value for value in candidates if value and row.allows(value))
        different = (value for value in allowed if value != row.value)
        changed[row.name] = next(different, row.value)
    return changed


async def test_no_value_that_the_service_allows_is_refused(node: Node) -> None:
    """The bounds of every parameter of every family: a node that refused one would not start."""
    refused = []
    for parameter, value in sorted(bounds_of_all_families()):
        plan = config_set_for({parameter: value}, node.config.binary)
        for name, text in plan.directives.items():
            try:
                await node.adapter.configure({name: text})
            except CommandRefused as error:
                refused.append((parameter, value, str(error)))
    assert refused == []


def bounds_of_all_families() -> set[tuple[str, str]]:
    """Return parameters with values at the edges of what may be set, and around them."""
    edges = {str(number + step) for number in (0, 2**31, 2**32, 2**62) for step in (-1, 0, 1)}
    edges |= {str(2**63 - 1), str(-(2**63))}
    found = set()
    for family in Catalog.load().families():
        for parameter in family.parameters:
            if family.engine is Engine.MEMCACHED or not parameter.is_modifiable:
                continue
            words = re.findall(r"[^,-]+|(?<=,)-[0-9]+", parameter.allowed_values)
            found |= {
                (parameter.name, value)
                for value in {*edges, *words, parameter.value}
                if is_allowed(parameter, value, family=family.name)
            }
    return found


async def test_what_a_binary_does_not_know_is_named_and_does_not_stop_it() -> None:
    binary = need(Engine.REDIS, "7.1")
    async with Node(binary, 1, family="valkey8") as node:
        assert "commandlog-reply-larger-than" in parameter_plan(node.config).unknown
        await node.adapter.ping()


async def test_memory_is_what_the_node_type_leaves_after_the_reserve(node: Node) -> None:
    assert (await node.adapter.info("memory"))["maxmemory"] == str(536870912 * 75 // 100)


async def test_an_idle_node_is_small(node: Node) -> None:
    rss_bytes = int((await node.adapter.info("memory"))["used_memory_rss"])
    assert rss_bytes / 1024 < RSS_KB_MAX[node.config.binary.kind]


async def test_the_command_line_keeps_the_path_of_the_file(node: Node) -> None:
    assert node.process is not None
    words = Path(f"/proc/{node.process.pid}/cmdline").read_bytes().split(b"\0")
    assert str(node.directory / "valkey.conf").encode() in words


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
async def test_customers_find_commands_of_the_service_unknown(
    kind: tuple[EngineBinary, str], guarded: bool
) -> None:
    binary, family = kind
    binary = replace(binary, guard=binary.guard if guarded else None)
    rules = ("~*", "&*", "+@all", *closed_rules(directives=binary.directives))
    async with Node(binary, 1, family=family, acl_lines=(default_line(rules=rules),)) as node:
        customer = redis.Redis(host=node.endpoint.host, port=node.endpoint.port)
        customer.set("key", "value")
        for hidden in ("CONFIG GET *", "SHUTDOWN", "REPLICAOF NO ONE", "SYNC"):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                customer.execute_command(*hidden.split())  # type: ignore[no-untyped-call]
        for rule in closed_rules(directives=binary.directives):
            words = rule.removeprefix("-").split("|")
            if words == ["sync"]:
                continue
            unknown, arguments = binary.guard is not None, ("x", "1")
            if not unknown and (words[0] == "cluster" or words[-1] in ("load", "save")):
                continue  # the engine counts arguments before it looks at rights
            with pytest.raises(redis.ResponseError) as refused:
                customer.execute_command(*words, *arguments)  # type: ignore[no-untyped-call]
            text = f"unknown command '{words[0]}'" if unknown else "no permissions"
            assert text in str(refused.value), words
        if binary.guard is not None:
            # Others may be in the middle of as many bytes: none of them is the control plane.
            where = (node.endpoint.host, node.endpoint.port)
            with socket.create_connection(where) as other:
                other.sendall(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1")
                batch = customer.pipeline().execute_command("PSYNC", "?", "-1")  # type: ignore[no-untyped-call]
                for say in (
                    lambda: customer.execute_command("PSYNC", "?", "-1"),  # type: ignore[no-untyped-call]
                    batch.execute,
                ):
                    with pytest.raises(redis.ResponseError, match="unknown command 'PSYNC'"):
                        say()
        # What customers may say of the same commands goes on, and so does all that is ours.
        assert customer.acl_whoami() == "default"
        with pytest.raises(redis.ResponseError, match="cluster support disabled"):
            customer.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
        await node.adapter.acl_setuser([user_line("ann", no_password=True)])
        assert "ann" in customer.acl_users()
        customer.close()


async def test_customers_renames_apply_and_leave_the_control_plane_its_commands(
    kind: tuple[EngineBinary, str],
) -> None:
    binary, family = kind
    renames = {"rename-commands": "FLUSHALL wipeall INFO blocked KEYS blocked"}
    async with Node(binary, 1, family=family, parameters=renames) as node:
        customer = ValkeyAdapter(endpoint=node.endpoint)
        assert await customer.command("wipeall") == "OK"
        for renamed in ("FLUSHALL", "INFO", "KEYS *"):
            with pytest.raises(CommandRefused, match="unknown command"):
                await customer.command(*renamed.split())
        assert (await node.adapter.replication()).role is NodeRole.PRIMARY
        await customer.aclose()


async def test_binds_move_while_clients_stay_until_they_are_cut(node: Node) -> None:
    extra = Endpoint(f"{NETWORK}.200", node.endpoint.port)
    await node.adapter.set_binds([node.endpoint.host, extra.host])
    assert await node.adapter.binds() == (node.endpoint.host, extra.host)
    client = ValkeyAdapter(endpoint=extra)
    await client.ping()
    await node.adapter.set_binds([node.endpoint.host])
    await client.ping()
    assert await node.adapter.kill_clients(extra) == 1
    with pytest.raises(NodeUnreachable):
        await client.ping()
    with pytest.raises(NodeUnreachable):
        await client.ping()  # a new connection this time: nobody listens there


async def test_refusals_carry_the_first_word_of_the_reply(node: Node) -> None:
    adapter = node.adapter
    await adapter.command("SET", "text", "x")
    for words, code in (
        (("INCR", "text"), "ERR"),
        (("LPUSH", "text", "x"), "WRONGTYPE"),
        (("EVALSHA", "0" * 40, "0"), "NOSCRIPT"),
        (("NOSUCH",), "ERR"),
    ):
        with pytest.raises(CommandRefused) as refused:
            await adapter.command(*words)
        assert refused.value.code == code
    stranger = ValkeyAdapter(unix_socket=node.config.unix_socket, username=ADMIN, password="no")
    with pytest.raises(CommandRefused) as refused:
        await stranger.ping()
    assert refused.value.code == "NOAUTH"
    assert "no" not in str(refused.value).split()


async def test_a_call_cut_short_does_not_leave_its_reply_to_the_next(node: Node) -> None:
    adapter = ValkeyAdapter(
        unix_socket=node.config.unix_socket, username=ADMIN, password=PASSWORD, timeout_s=0.1
    )
    with pytest.raises(NodeUnreachable):
        await adapter.command("BLPOP", "nothing", 0)
    assert await adapter.command("ECHO", "mine", timeout_s=30) == "mine"
    blocked = asyncio.create_task(adapter.command("BLPOP", "nothing", 0, timeout_s=30))
    await eventually(lambda: blocked_clients(node))
    blocked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await blocked
    assert await adapter.command("ECHO", "mine", timeout_s=30) == "mine"
    await adapter.aclose()


async def blocked_clients(node: Node) -> bool:
    return (await node.adapter.info("clients"))["blocked_clients"] != "0"


async def test_concurrent_calls_get_their_own_replies(node: Node) -> None:
    words = [f"word-{number}" for number in range(50)]
    echoes = await asyncio.gather(*(node.adapter.command("ECHO", word) for word in words))
    assert echoes == words


async def test_configure_sets_all_or_nothing(node: Node) -> None:
    before = await node.adapter.config_get("timeout", "maxmemory-samples")
    with pytest.raises(CommandRefused):
        await node.adapter.configure({"timeout": "77", "maxmemory-samples": "none"})
    assert await node.adapter.config_get("timeout", "maxmemory-samples") == before


async def test_users_become_exactly_what_their_line_says(node: Node) -> None:
    line = user_line("app", password_sha256s=["a" * 64], rules=("~app:*", "&*", "+get", "+set"))
    await node.adapter.acl_setuser([line])
    first = await node.adapter.acl_list()
    await node.adapter.acl_setuser([line])
    assert await node.adapter.acl_list() == first
    mine = next(text for text in first if text.startswith("user app "))
    assert "~app:*" in mine
    assert "a" * 64 in mine
    narrower = user_line("app", no_password=True, rules=("~app:*", "(~other:* +get)", "+get"))
    await node.adapter.acl_setuser([narrower])
    mine = next(text for text in await node.adapter.acl_list() if text.startswith("user app "))
    assert "+set" not in mine
    assert "nopass" in mine
    assert "(~other:*" in mine
    assert await node.adapter.acl_deluser(["app"]) == 1


async def test_saves_where_it_is_told_and_ends_when_told(node: Node) -> None:
    await node.adapter.command("SET", "key", "value")
    await node.adapter.save()
    assert (node.directory / "dump.rdb").stat().st_size > 0
    (node.directory / "dump.rdb").unlink()
    await node.adapter.shutdown(save=True)
    assert node.process is not None
    assert await asyncio.to_thread(node.process.wait, 30) == 0
    assert (node.directory / "dump.rdb").exists()


async def test_a_replica_follows_and_takes_over_without_losing_a_write(
    kind: tuple[EngineBinary, str],
) -> None:
    binary, family = kind
    async with (
        Node(binary, 1, family=family) as old,
        Node(binary, 2, family=family) as new,
        Node(binary, 3, family=family, replica_of=endpoint(1)) as other,
    ):
        await new.adapter.follow(old.endpoint)
        await linked([new, other])
        await old.adapter.command("SET", "key", "value")
        view = await eventually(lambda: both_online(old))
        assert {link.endpoint for link in view} == {new.endpoint, other.endpoint}
        assert not (old.directory / "dump.rdb").exists()
        assert not (new.directory / "dump.rdb").exists()

        await old.adapter.failover_to(new.endpoint, timeout_ms=5000)
        await eventually(lambda: is_role(new, NodeRole.PRIMARY))
        await eventually(lambda: is_role(old, NodeRole.REPLICA))
        assert await new.adapter.command("GET", "key") == "value"
        view_of_old = await old.adapter.replication()
        assert view_of_old.primary == new.endpoint

        await other.adapter.promote()
        assert (await other.adapter.replication()).role is NodeRole.PRIMARY


async def both_online(node: Node) -> tuple[ReplicaLink, ...]:
    links = (await node.adapter.replication()).replicas
    return links if [link.state for link in links] == ["online", "online"] else ()


async def test_a_stopped_node_is_unreachable_not_refusing(node: Node) -> None:
    assert node.process is not None
    await node.adapter.ping()
    node.process.kill()
    node.process.wait()
    with pytest.raises(NodeUnreachable):
        await node.adapter.ping()
    with pytest.raises(NodeUnreachable):
        await node.adapter.replication()
