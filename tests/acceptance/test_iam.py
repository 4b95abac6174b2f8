"""IAM authentication on the data path: real signers, unmodified clients, every refusal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis
from botocore.credentials import Credentials
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachefleet.iam import IamCredentials, connect_token
from tests.support.files import below
from tests.support.server import ACCOUNT, REGION, Server, available_group, command, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

PASSWORD = "correct-horse-battery"
WRONG = "invalid username-password pair or user is disabled"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("iam") / "data", "--log-level", "debug") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> ElastiCacheClient:
    return server.client()


def access_key(server: Server, *words: str) -> Credentials:
    done = command(*("credentials", "create", "--json", "--data-dir", str(server.data_dir)), *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return Credentials(told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"])


@pytest.fixture(scope="module")
def key(server: Server) -> Credentials:
    return access_key(server, "--scope", "connect", "--account", ACCOUNT)


@pytest.fixture(scope="module")
def strangers(server: Server) -> list[Credentials]:
    """Give keys that are good, and not for this."""
    return [
        access_key(server, "--scope", "read-only"),
        access_key(server, "--account", "999988887777"),
    ]


@pytest.fixture(scope="module", params=["valkey", "redis"])
def cache(request: pytest.FixtureRequest, client: ElastiCacheClient, key: Credentials) -> str:
    """Give a group with a user of IAM and one with a password, on each engine."""
    engine: str = request.param
    name = f"iam-{engine}"
    default = []
    if engine == "redis":
        default = ["closed-default"]
        client.create_user(
            UserId="closed-default",
            UserName="default",
            Engine="redis",
            AccessString="off -@all",
            NoPasswordRequired=True,
        )
    users = [f"someone-{engine}", f"app-{engine}"]
    common: dict[str, Any] = {"Engine": engine, "AccessString": "on ~* +@all"}
    client.create_user(
        UserId=users[0], UserName=users[0], AuthenticationMode={"Type": "iam"}, **common
    )
    client.create_user(UserId=users[1], UserName="app", Passwords=[PASSWORD], **common)
    client.create_user_group(UserGroupId=name, Engine=engine, UserIds=[*users, *default])
    wait_until(
        lambda: client.describe_user_groups(UserGroupId=name)["UserGroups"][0]["Status"],
        lambda status: status == "active",
        what="the user group is active",
    )
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="d",
        Engine=engine,
        CacheNodeType="cache.t3.micro",
        TransitEncryptionEnabled=True,
        UserGroupIds=[name],
    )
    available_group(client, name)
    return name


@contextlib.contextmanager
def connect(client: ElastiCacheClient, cache: str, **options: Any) -> Iterator[Any]:
    where = group_of(client, cache)["NodeGroups"][0]["PrimaryEndpoint"]
    link = redis.Redis(
        host=where["Address"],
        port=where["Port"],
        ssl=True,
        ssl_cert_reqs="none",
        ssl_check_hostname=False,
        decode_responses=True,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    try:
        yield link
    finally:
        link.close()


def user_of(cache: str) -> str:
    return cache.replace("iam", "someone")


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_token_opens_the_cache(
    client: ElastiCacheClient, cache: str, key: Credentials, protocol: int
) -> None:
    login = IamCredentials(cache, user_of(cache), REGION, credentials=key)
    with connect(client, cache, credential_provider=login, protocol=protocol) as link:
        assert link.acl_whoami() == user_of(cache)
        assert link.set("key", "v" * 200_000)
        assert len(link.get("key")) == 200_000
        # Anew, before the time is up; and by the other command.
        user, token = login.get_credentials()
        assert link.execute_command("AUTH", user, token)
        assert link.execute_command("HELLO", protocol, "AUTH", user, token)
        with pytest.raises(redis.AuthenticationError):
            link.execute_command("AUTH", user, "no token")


def test_valkey_glide_makes_its_own_tokens(
    client: ElastiCacheClient, cache: str, key: Credentials
) -> None:
    glide = pytest.importorskip("glide")
    where = group_of(client, cache)["NodeGroups"][0]["PrimaryEndpoint"]

    async def ask() -> Any:
        iam = glide.IamAuthConfig(
            cluster_name=cache,
            service=glide.ServiceType.ELASTICACHE,
            region=REGION,
            credential_provider=lambda: glide.AwsCredentials(key.access_key, key.secret_key),
        )
        link = await glide.GlideClient.create(
            glide.GlideClientConfiguration(
                [glide.NodeAddress(where["Address"], where["Port"])],
                use_tls=True,
                credentials=glide.ServerCredentials(username=user_of(cache), iam_config=iam),
                request_timeout=20_000,
                advanced_config=glide.AdvancedGlideClientConfiguration(
                    connection_timeout=20_000,
                    tls_config=glide.TlsAdvancedConfiguration(use_insecure_tls=True),
                ),
            )
        )
        try:
            return await link.custom_command(["ACL", "WHOAMI"])
        finally:
            await link.close()

    assert asyncio.run(ask()) == user_of(cache).encode()


def test_other_users_go_on_with_their_passwords(client: ElastiCacheClient, cache: str) -> None:
    with connect(client, cache, username="app", password=PASSWORD) as link:
        assert link.acl_whoami() == "app"
    with (
        pytest.raises(redis.AuthenticationError),
        connect(client, cache, username="app", password="wrong"),
    ):
        pass


def test_every_failure_is_the_same(
    server: Server,
    client: ElastiCacheClient,
    cache: str,
    key: Credentials,
    strangers: list[Credentials],
) -> None:
    user = user_of(cache)

    def token(*, of: Credentials = key, **changes: Any) -> str:
        wanted = {"cache_name": cache, "user_id": user, "region": REGION, **changes}
        return connect_token(**wanted, credentials=of)

    good = token()
    old = datetime.now(UTC) - timedelta(minutes=20)
    stamp = next(part for part in good.split("&") if part.startswith("X-Amz-Date="))
    tokens = {
        "none": "",
        "a password": PASSWORD,
        "another cache": token(cache_name="other"),
        "another user": token(user_id="app"),
        "another region": token(region="eu-west-1"),
        "serverless": token(serverless=True),
        "a wrong signature": good[:-4] + "0000",
        "an old one": good.replace(stamp, f"X-Amz-Date={old:%Y%m%dT%H%M%SZ}"),
        "half of one": good[: len(good) // 2],
        "an unknown key": token(of=Credentials("CFAKNOBODY", "x")),
        "a wrong secret": token(of=Credentials(key.access_key, "x")),
        "a session": token(of=Credentials(key.access_key, key.secret_key, "session")),
        "a reader's key": token(of=strangers[0]),
        "another account's key": token(of=strangers[1]),
    }
    said = {}
    with connect(client, cache, username="app", password=PASSWORD) as link:
        for name, wrong in tokens.items():
            try:
                said[name] = repr(link.execute_command("AUTH", user, wrong))
            except redis.AuthenticationError as refusal:
                said[name] = str(refusal)
        assert link.acl_whoami() == "app"
    assert all(WRONG in words for words in said.values()), said
    assert not any(wrong in server.log for wrong in tokens.values() if len(wrong) > 30)


@pytest.mark.parametrize("cache", ["valkey"], indirect=True)
def test_keys_count_from_the_moment_they_are_made_until_they_are_deleted(
    server: Server, client: ElastiCacheClient, cache: str
) -> None:
    fresh = access_key(server)
    login = IamCredentials(cache, user_of(cache), REGION, credentials=fresh)

    def is_let_in() -> bool:
        try:
            with connect(client, cache, credential_provider=login) as link:
                return bool(link.ping())
        except redis.AuthenticationError:
            return False

    wait_until(is_let_in, bool, what="the new key is known")
    done = command("credentials", "delete", fresh.access_key, "--data-dir", str(server.data_dir))
    assert done.returncode == 0, done.stderr
    wait_until(is_let_in, lambda answer: not answer, what="the deleted key is refused")
    with (
        pytest.raises(redis.AuthenticationError, match=WRONG),
        connect(client, cache, credential_provider=login) as link,
    ):
        link.ping()


def test_no_secret_is_told(server: Server, client: ElastiCacheClient, key: Credentials) -> None:
    routes = json.loads((server.data_dir / "nodes" / "gateway" / "routes.json").read_text())
    internal = {
        user["password"]
        for route in routes["routes"]
        for user in ((route["options"].get("auth") or {}).get("iam") or {}).get("users", ())
    }
    assert internal
    secrets = [*internal, key.secret_key, PASSWORD]
    secrets.append((server.data_dir / "master.key").read_text().strip())
    told = [
        repr(client.describe_users()),
        repr(client.describe_replication_groups()),
        repr(client.describe_events()),
        server.log,
        *(path.read_text(errors="replace") for path in server.data_dir.glob("nodes/*/log")),
        *(" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])),
        subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout,
    ]
    for secret in secrets:
        assert not any(secret in text for text in told)
    for file in below(server.data_dir):
        assert file.permissions & 0o077 == 0, file.path
        assert key.secret_key.encode() not in file.content, file.path


def test_tokens_are_checked_while_the_control_plane_is_away(
    server: Server, key: Credentials
) -> None:
    cache = "iam-valkey"
    where = group_of(server.client(), cache)["NodeGroups"][0]["PrimaryEndpoint"]
    user, token = IamCredentials(cache, user_of(cache), REGION, credentials=key).get_credentials()
    server.kill()
    try:
        with redis.Redis(
            host=where["Address"],
            port=where["Port"],
            ssl=True,
            ssl_cert_reqs="none",
            ssl_check_hostname=False,
            username=user,
            password=token,
        ) as link:
            assert link.ping()
    finally:
        server.start()


def test_a_serverless_cache_takes_tokens_of_its_own_kind(server: Server, key: Credentials) -> None:
    client = server.client()  # it was started anew meanwhile
    client.create_user(
        UserId="roamer", UserName="roamer", AuthenticationMode={"Type": "iam"}, Engine="valkey",
        AccessString="on ~* +@all",
    )  # fmt: skip
    client.create_user_group(UserGroupId="roamers", Engine="valkey", UserIds=["roamer"])
    client.create_serverless_cache(
        ServerlessCacheName="roaming", Engine="valkey", UserGroupId="roamers"
    )
    cache = wait_until(
        lambda: client.describe_serverless_caches(ServerlessCacheName="roaming")[
            "ServerlessCaches"
        ][0],
        lambda cache: cache["Status"] == "available",
        what="the cache is available",
    )

    def open_with(*, serverless: bool) -> Any:
        login: Any = IamCredentials(
            "roaming", "roamer", REGION, credentials=key, serverless=serverless
        )
        return redis.Redis(
            host=cache["Endpoint"]["Address"],
            ssl=True,
            ssl_cert_reqs="none",
            ssl_check_hostname=False,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            credential_provider=login,
        )

    with contextlib.closing(open_with(serverless=True)) as link:
        assert link.acl_whoami() == "roamer"
        assert [link.set(f"key{number}", number) for number in range(4)] == [True] * 4
    with (
        contextlib.closing(open_with(serverless=False)) as stranger,
        pytest.raises(redis.AuthenticationError, match=WRONG),
    ):
        stranger.ping()
