"""What is accepted as an access string every engine accepts: no node ever refuses a user."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.access_strings import IllegalAccessString, names, parse_access_string
from cachefleet.engine.valkey.acl import closed_rules
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.provisioner.planning.access import (
    AccessUser,
    EngineNames,
    access_lines,
    internal_password,
)
from tests.conformance.engines import Node, find_binary

pytestmark = pytest.mark.engine

SECRET = "of the cache"
USERS_COUNT = 300
RULES = (
    *("on", "off", "~*", "~a:*", "%R~b", "%RW~*", "allkeys", "resetkeys", "&*", "&news"),
    *("allchannels", "resetchannels", "allcommands", "nocommands", "clearselectors"),
    *("+select|0", "+get|x", "-config|get", "+json.get", "+@json", "~x)", "%wr~q", "+@ALL"),
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((Engine.VALKEY, "9.1", "valkey9"), id="valkey"),
        pytest.param((Engine.REDIS, "7.1", "redis7"), id="redis"),
    ],
)
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    engine, version, family = request.param
    binary = find_binary(engine, version)
    if binary is None:
        pytest.skip(f"there is no {engine} here")
    async with Node(binary, 90, family=family) as started:
        yield started


def engine_names(node: Node, channels_default: str = "resetchannels") -> EngineNames:
    binary = node.config.binary
    return EngineNames(
        closed=closed_rules(directives=binary.directives),
        channels_default=channels_default,
        known_commands=binary.commands,
    )


def drawn(dice: random.Random) -> str:
    """Return rules as a customer might write them, sensible or not."""
    commands = sorted(names().commands)

    def rule() -> str:
        kind = dice.random()
        if kind < 0.4:
            return dice.choice("+-") + dice.choice(commands)
        if kind < 0.6:
            return dice.choice("+-") + "@" + dice.choice(sorted(names().categories))
        return dice.choice(RULES)

    words = [rule() for _ in range(dice.randrange(8))]
    selectors = [[rule() for _ in range(dice.randrange(1, 5))] for _ in range(dice.randrange(3))]
    return " ".join([*words, *(f"({' '.join(inner)})" for inner in selectors)])


@pytest.mark.parametrize("seed", range(4))
async def test_every_accepted_string_is_a_user_of_every_engine(node: Node, seed: int) -> None:
    dice = random.Random(seed)
    users: list[AccessUser] = []
    while len(users) < USERS_COUNT:
        try:
            accepted = parse_access_string(drawn(dice)).text
        except IllegalAccessString:
            continue
        name = f"u{len(users)}"
        users.append(
            AccessUser(user_id=name, user_name=name, access_string=accepted, no_password=True)
        )
    channels = dice.choice(["allchannels", "resetchannels"])
    lines = access_lines(users, names=engine_names(node, channels), secret=SECRET)
    await node.adapter.acl_setuser(lines)
    listed = await node.adapter.acl_list()
    enabled = {line.split()[1]: line.split()[2] == "on" for line in listed}
    for user in users:
        switches = [w for w in user.access_string.lower().split() if w in ("on", "off")]
        assert enabled[user.user_name] is (switches[-1] == "on"), user.access_string
    assert await node.adapter.acl_deluser([user.user_name for user in users]) == USERS_COUNT


async def test_a_node_starts_with_its_users_in_its_file(node: Node) -> None:
    texts = ("on ~* +@all (%R~a +get)", "off -@all", "on ~x +json.get +@json -config|get +get")
    users = [
        AccessUser(
            user_id=f"u{number}",
            user_name=f"u{number}:grüße",
            access_string=parse_access_string(text).text,
            no_password=True,
        )
        for number, text in enumerate(texts)
    ]
    lines = access_lines(users, names=engine_names(node), secret=SECRET)
    binary = node.config.binary
    family = "valkey9" if binary.kind is Engine.VALKEY else "redis7"
    async with Node(binary, 91, family=family, acl_lines=lines) as started:
        listed = await started.adapter.acl_list()
        await node.adapter.acl_setuser(lines)
        same = await node.adapter.acl_list()
        await node.adapter.acl_deluser([user.user_name for user in users])
    # Engines list the same rules in another order when they come from a file.
    assert [sorted(line.split()) for line in listed if ":grüße" in line] == [
        sorted(line.split()) for line in same if ":grüße" in line
    ]
    (default,) = [line for line in listed if line.split()[1] == "default"]
    assert default.split()[2] == "off"


async def test_only_the_internal_password_opens_an_iam_user(node: Node) -> None:
    user = AccessUser(user_id="someone", user_name="someone", access_string="on +@all", iam=True)
    lines = access_lines([user], names=engine_names(node), secret=SECRET)
    await node.adapter.acl_setuser(lines)
    good = ValkeyAdapter(
        endpoint=node.endpoint, username="someone", password=internal_password(SECRET, "someone")
    )
    bad = ValkeyAdapter(endpoint=node.endpoint, username="someone", password=SECRET)
    try:
        assert await good.command("ACL", "WHOAMI") == "someone"
        with pytest.raises(CommandRefused):
            await bad.ping()
    finally:
        await good.aclose()
        await bad.aclose()
        await node.adapter.acl_deluser(["someone"])
