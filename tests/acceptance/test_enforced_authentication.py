"""A server with ``--auth enforce`` admits the keys that were made for it, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.server import Server, command
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine


def credentials(data_dir: Path, *words: str) -> dict[str, Any]:
    """Run ``cachefleet credentials`` and return what it printed as JSON."""
    done = command("credentials", *words, "--json", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("enforced") / "data", "--auth", "enforce") as started:
        yield started


def client_of(server: Server, key: dict[str, Any], *, secret: str | None = None) -> Any:
    return boto3.client(
        "elasticache",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=key["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or key["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def code_of(call: Any, **params: Any) -> str:
    try:
        call(**params)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "accepted"


def test_keys_are_admitted_as_far_as_they_go(server: Server) -> None:
    full = credentials(server.data_dir, "create", "--account", "111122223333")
    reader = credentials(
        server.data_dir, "create", "--account", "111122223333", "--scope", "read-only"
    )
    connect = credentials(server.data_dir, "create", "--scope", "connect")
    subnets = {"CacheSubnetGroupDescription": "d", "SubnetIds": ["subnet-1"]}
    own = client_of(server, full)
    made = own.create_cache_subnet_group(CacheSubnetGroupName="mine", **subnets)
    assert made["CacheSubnetGroup"]["ARN"].split(":")[4] == "111122223333"
    reading = client_of(server, reader)
    shown = reading.describe_cache_subnet_groups(CacheSubnetGroupName="mine")
    assert shown["CacheSubnetGroups"] == [made["CacheSubnetGroup"]]
    create = reading.create_cache_subnet_group
    assert code_of(create, CacheSubnetGroupName="no", **subnets) == "AccessDenied"
    assert code_of(client_of(server, connect).describe_users) == "AccessDenied"


def test_others_are_turned_away(server: Server) -> None:
    key = credentials(server.data_dir, "create")
    wrong = client_of(server, key, secret="wrong")
    assert code_of(wrong.describe_cache_clusters) == "SignatureDoesNotMatch"
    stranger = client_of(server, {**key, "AWS_ACCESS_KEY_ID": "000000000000"})
    assert code_of(stranger.describe_cache_clusters) == "InvalidClientTokenId"


def test_a_rotated_key_goes_on_and_a_deleted_one_does_not(server: Server) -> None:
    old = credentials(server.data_dir, "create")
    new = credentials(server.data_dir, "rotate", old["AWS_ACCESS_KEY_ID"])
    for key in (old, new):
        assert code_of(client_of(server, key).describe_cache_clusters) == "accepted"
    done = command(
        "credentials", "delete", old["AWS_ACCESS_KEY_ID"], "--data-dir", str(server.data_dir)
    )
    assert done.returncode == 0
    gone = client_of(server, old)
    wait_until(
        lambda: code_of(gone.describe_cache_clusters),
        lambda code: code == "InvalidClientTokenId",
        what="the deleted key is refused",
    )
    assert code_of(client_of(server, new).describe_cache_clusters) == "accepted"
    secrets = [key["AWS_SECRET_ACCESS_KEY"] for key in (old, new)]
    listed = command("credentials", "list", "--data-dir", str(server.data_dir))
    stored = b"".join(p.read_bytes() for p in server.data_dir.glob("cachefleet.db*"))
    for secret in secrets:
        assert secret not in server.log + listed.stdout
        assert secret.encode() not in stored
    assert new["AWS_ACCESS_KEY_ID"] in listed.stdout


def test_mistakes_are_said_in_one_line(tmp_path: Path) -> None:
    for words in (
        ("delete", "NOBODY"),
        ("rotate", "NOBODY"),
        ("create", "--scope", "everything"),
        ("create", "--account", "12"),
        ("rotate", "X", "--overlap-s", "-1"),
    ):
        done = command("credentials", *words, "--data-dir", str(tmp_path / "data"))
        assert done.returncode == 2, words
        assert len(done.stderr.splitlines()) == 1, done.stderr
