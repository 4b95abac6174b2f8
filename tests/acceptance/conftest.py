"""One server for the session; an account of its own for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.aws import Cloud, credentials, serving_cloud
from tests.support.server import Server, delete_everything, own_account
from tests.support.terraform import BackgroundRun

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that all tests share."""
    with Server(tmp_path_factory.mktemp("acceptance") / "data", "--log-level", "info") as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def terraform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackgroundRun | None]:
    """Start the run of Terraform with the session, where any test is going to ask for it."""
    if not any(item.path.name == "test_terraform.py" for item in request.session.items):
        yield None
        return
    with contextlib.ExitStack() as stack:

        def start() -> tuple[Server, Cloud]:
            cloud = stack.enter_context(serving_cloud())
            folder = tmp_path_factory.mktemp("of-terraform")
            with credentials():
                server = Server(folder / "data", s3_endpoint_url=cloud.url)
                return stack.enter_context(server), cloud

        run = BackgroundRun(start, tmp_path_factory.mktemp("terraform"))
        stack.callback(run.close)
        yield run


@pytest.fixture
def account() -> str:
    """Give an account that nobody else uses."""
    return own_account()


@pytest.fixture
def client(server: Server, account: str) -> Iterator[ElastiCacheClient]:
    """Give a boto3 client of an empty account, and delete what the test leaves in it."""
    client = server.client(account)
    yield client
    delete_everything(client)
