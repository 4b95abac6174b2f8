"""Users and user groups on real nodes over TLS: rights, changes of them, and those who leave."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from botocore.exceptions import ClientError
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from cachefleet.engine.valkey.guard import guard_module
from tests.support.files import below
from tests.support.server import Server, available_group, group_gone, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

PASSWORD = "correct-horse-battery"
NEW_PASSWORD = "staple-horse-battery-2"
GONE = (redis.ConnectionError, OSError)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("users") / "data", "--log-level", "debug") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> ElastiCacheClient:
    return server.client()


def user(client: ElastiCacheClient, user_id: str, access: str, **options: Any) -> dict[str, Any]:
    wanted = {"Passwords": [PASSWORD], "UserName": user_id, "Engine": "valkey", **options}
    return dict(client.create_user(UserId=user_id, AccessString=access, **wanted))


def at_rest(client: ElastiCacheClient, group_id: str) -> dict[str, Any]:
    """Wait until a user group and its users are active."""

    def look() -> list[dict[str, Any]]:
        (group,) = client.describe_user_groups(UserGroupId=group_id)["UserGroups"]
        mine = [u for u in client.describe_users()["Users"] if group_id in u["UserGroupIds"]]
        return [dict(group), *map(dict, mine)]

    found = wait_until(
        look, lambda rows: all(row["Status"] == "active" for row in rows), what="all is at rest"
    )
    return found[0]


@contextlib.contextmanager
def connect(address: Any, name: str, password: str = PASSWORD) -> Iterator[Any]:
    """Give one connection: it never connects again by itself."""
    link = redis.Redis(
        host=address["Address"],
        port=address["Port"],
        username=name,
        password=password,
        ssl=True,
        ssl_cert_reqs="none",
        ssl_check_hostname=False,
        decode_responses=True,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield link
    finally:
        link.close()


def refused(address: Any, name: str, password: str = PASSWORD) -> str:
    """Return what the engine says to who may not come in."""
    with pytest.raises(redis.AuthenticationError) as refusal, connect(address, name, password):
        pass
    return str(refusal.value)


def primary_of(client: ElastiCacheClient, name: str) -> Any:
    return group_of(client, name)["NodeGroups"][0]["PrimaryEndpoint"]


def nodes_of(client: ElastiCacheClient, name: str) -> list[Any]:
    shards = group_of(client, name)["NodeGroups"]
    return [member["ReadEndpoint"] for shard in shards for member in shard["NodeGroupMembers"]]


@pytest.fixture(scope="module")
def cache(client: ElastiCacheClient) -> Iterator[str]:
    """Give a group of two nodes with a reader and an application as its users."""
    user(client, "app", "on ~app:* +@all")
    user(client, "reader", "on ~* +@read")
    client.create_user_group(UserGroupId="team", Engine="valkey", UserIds=["app", "reader"])
    at_rest(client, "team")
    client.create_replication_group(
        ReplicationGroupId="guarded",
        ReplicationGroupDescription="d",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        TransitEncryptionEnabled=True,
        UserGroupIds=["team"],
    )
    available_group(client, "guarded")
    yield "guarded"
    client.delete_replication_group(ReplicationGroupId="guarded")
    group_gone(client, "guarded")


def test_users_have_their_rights_and_no_others(client: ElastiCacheClient, cache: str) -> None:
    assert group_of(client, cache)["UserGroupIds"] == ["team"]
    (group,) = client.describe_user_groups(UserGroupId="team")["UserGroups"]
    assert group["ReplicationGroups"] == [cache]
    where = primary_of(client, cache)
    with connect(where, "app") as app, connect(where, "reader") as reader:
        app.set("app:1", "x")
        assert reader.get("app:1") == "x"
        forbidden: list[Callable[[], Any]] = [
            lambda: app.set("other", "x"),
            lambda: reader.set("app:1", "y"),
            lambda: app.acl_list(),
        ]
        for call in forbidden:
            with pytest.raises(NoPermissionError):
                call()
        unknown: list[Callable[[], Any]] = [
            lambda: app.config_get("*"),
            lambda: app.execute_command("PSYNC", "?", "-1"),
            lambda: app.acl_setuser("app", enabled=True, nopass=True),
        ]
        # Without a C compiler there is no module that hides the last two; ACL refuses them then.
        built = guard_module() is not None
        for call, hidden in zip(unknown, (True, built, built), strict=True):
            with pytest.raises(redis.ResponseError) as told:
                call()
            assert ("unknown command" if hidden else "no permissions") in str(told.value)
    assert "invalid username-password pair or user is disabled" in refused(
        where, "app", "wrong" * 4
    )
    assert "invalid username-password" in refused(where, "default", "")


def test_a_change_reaches_every_node_and_connections_that_are_open(
    client: ElastiCacheClient, cache: str
) -> None:
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(connect(where, "reader")) for where in nodes_of(client, cache)]
        answer = client.modify_user(UserId="reader", AccessString="on ~* +ping")
        assert (answer["Status"], answer["AccessString"]) == ("modifying", "on ~* +ping")
        at_rest(client, "team")
        for link in links:
            assert link.ping()
            with pytest.raises(NoPermissionError):
                link.get("app:1")
        client.modify_user(UserId="reader", Passwords=[NEW_PASSWORD, PASSWORD + "!"])
        at_rest(client, "team")
        assert all(link.ping() for link in links)
    for where in nodes_of(client, cache):
        refused(where, "reader", PASSWORD)
        for password in (NEW_PASSWORD, PASSWORD + "!"):
            with connect(where, "reader", password) as link:
                assert link.ping()


def test_who_leaves_is_disconnected_and_others_stay(client: ElastiCacheClient, cache: str) -> None:
    user(client, "guest", "on ~* +@all")
    user(client, "visitor", "on ~* +@all")
    changed = client.modify_user_group(UserGroupId="team", UserIdsToAdd=["guest", "visitor"])
    assert changed["Status"] == "modifying"
    assert sorted(changed["UserIds"]) == ["app", "reader"]
    assert changed["PendingChanges"] == {"UserIdsToAdd": ["guest", "visitor"]}
    assert sorted(at_rest(client, "team")["UserIds"]) == ["app", "guest", "reader", "visitor"]
    available_group(client, cache)
    where = primary_of(client, cache)
    with (
        connect(where, "guest") as guest,
        connect(where, "visitor") as visitor,
        connect(where, "app") as app,
    ):
        assert guest.ping() and visitor.ping() and app.ping()  # noqa: PT018
        client.modify_user_group(UserGroupId="team", UserIdsToRemove=["guest"])
        at_rest(client, "team")
        with pytest.raises(GONE):
            guest.ping()
        assert visitor.ping()
        available_group(client, cache)
        client.delete_user(UserId="visitor")
        wait_until(
            lambda: [one["UserId"] for one in client.describe_users()["Users"]],
            lambda ids: "visitor" not in ids,
            what="the user is gone",
        )
        with pytest.raises(GONE):
            visitor.ping()
        assert app.ping()
    for name in ("guest", "visitor"):
        refused(where, name)


def test_new_nodes_and_new_primaries_know_the_users(client: ElastiCacheClient, cache: str) -> None:
    available_group(client, cache)
    client.increase_replica_count(
        ReplicationGroupId=cache, NewReplicaCount=2, ApplyImmediately=True
    )
    available_group(client, cache)
    assert len(nodes_of(client, cache)) == 3
    client.test_failover(ReplicationGroupId=cache, NodeGroupId="0001")

    said: list[str] = []

    def works(where: Any) -> bool:
        try:
            with connect(where, "app") as link:
                return bool(link.acl_whoami() == "app" and link.role()[0])
        except (redis.RedisError, OSError) as error:
            said.append(str(error))
            return False

    def writes() -> bool:
        try:
            with connect(primary_of(client, cache), "app") as link:
                return bool(link.set("app:2", "y"))
        except (redis.RedisError, OSError):
            return False

    wait_until(writes, bool, what="the new primary takes writes of the user")
    for where in nodes_of(client, cache):
        wait_until(functools.partial(works, where), bool, what="the node knows the user")
        refused(where, "default", "")
    assert not any("WRONGPASS" in one for one in said), "a node ran without its users"


def test_a_default_user_is_swapped_and_groups_are_detached(client: ElastiCacheClient) -> None:
    redis_users = {"Engine": "redis", "UserName": "default"}
    user(client, "first-default", "on ~* +@all", **redis_users)
    user(client, "second-default", "on ~* +@all", **{**redis_users, "Passwords": [NEW_PASSWORD]})
    client.create_user_group(UserGroupId="classic", Engine="redis", UserIds=["first-default"])
    at_rest(client, "classic")
    client.create_replication_group(
        ReplicationGroupId="swapped",
        ReplicationGroupDescription="d",
        Engine="redis",
        CacheNodeType="cache.t3.micro",
        TransitEncryptionEnabled=True,
    )
    available_group(client, "swapped")
    where = primary_of(client, "swapped")
    with connect(where, "", "") as anybody:
        assert anybody.ping()
        changed = client.modify_replication_group(
            ReplicationGroupId="swapped", UserGroupIdsToAdd=["classic"], ApplyImmediately=True
        )["ReplicationGroup"]
        assert changed["Status"] == "modifying"
        pending = changed["PendingModifiedValues"]["UserGroups"]
        assert pending == {"UserGroupIdsToAdd": ["classic"]}
        with pytest.raises(ClientError, match="attached"):
            client.delete_user_group(UserGroupId="classic")
        shown = available_group(client, "swapped")
        assert shown["UserGroupIds"] == ["classic"]
        assert "UserGroups" not in shown["PendingModifiedValues"]
        with pytest.raises(GONE):
            anybody.ping()
    with connect(where, "default") as first:
        assert first.ping()
        client.modify_user_group(
            UserGroupId="classic",
            UserIdsToAdd=["second-default"],
            UserIdsToRemove=["first-default"],
        )
        at_rest(client, "classic")
        with pytest.raises(GONE):
            first.ping()
    refused(where, "default", PASSWORD)
    available_group(client, "swapped")
    with connect(where, "default", NEW_PASSWORD) as second:
        assert second.ping()
        client.modify_replication_group(
            ReplicationGroupId="swapped", RemoveUserGroups=True, ApplyImmediately=True
        )
        assert "UserGroupIds" not in available_group(client, "swapped")
        with pytest.raises(GONE):
            second.ping()
    with connect(where, "", "") as anybody:
        assert anybody.ping()
    client.delete_user_group(UserGroupId="classic")
    client.delete_replication_group(ReplicationGroupId="swapped")
    group_gone(client, "swapped")


def test_secrets_are_nowhere_in_clear(server: Server, client: ElastiCacheClient) -> None:
    planted = [PASSWORD.encode(), NEW_PASSWORD.encode()]
    told = repr([client.describe_users(), client.describe_user_groups(), client.describe_events()])
    assert not any(secret.decode() in told + server.log for secret in planted)
    for file in below(server.data_dir):
        assert not any(secret in file.content for secret in planted), file.path
