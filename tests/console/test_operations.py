"""Pages of what is more than one cache: serverless caches, global datastores, service updates."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import valkey
from playwright.sync_api import Locator, Page, expect
from pymemcache.client.base import Client as Memcached

from cachefleet.engine.types import Engine
from tests.console.browser import Console, choose, field, fill, violations
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    group_gone,
    group_of,
)
from tests.support.upgrades import UpgradableBinary
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NODE_TYPE = "cache.t4g.micro"
ELSEWHERE = "eu-west-1"
CREATES_MS = 60_000
AT_LENGTH = pytest.mark.skipif(
    "CONSOLE_AT_LENGTH" not in os.environ, reason="takes long; set CONSOLE_AT_LENGTH=1"
)


def row_of(page: Page, text: str) -> Locator:
    return page.get_by_role("row").filter(has_text=text)


def act(page: Page, name: str) -> None:
    page.get_by_role("button", name="Actions", exact=True).first.click()
    page.get_by_role("menuitem", name=name, exact=True).click()


def test_a_serverless_cache_from_its_creation_to_its_end(
    console: Console, client: ElastiCacheClient, server: Server
) -> None:
    page = console.open("/serverless")
    page.get_by_role("button", name="Create serverless cache").first.click()
    fill(page, "Name", "grows")
    fill(page, "Storage in GB, at most - optional", "2")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    expect(row_of(page, "grows").get_by_text("Available")).to_be_visible(timeout=CREATES_MS)
    row_of(page, "grows").get_by_role("link", name="grows").click()

    snippet = page.get_by_role("region", name="valkey-cli snippet").inner_text()
    host, port = re.search(r"-h (\S+) -p (\d+) -c --tls", snippet).groups()  # type: ignore[union-attr]
    authority = server.data_dir / "tls" / "ca.crt"
    with valkey.Valkey(host, int(port), ssl=True, ssl_ca_certs=str(authority)) as cache:
        cache.set("kept", "for ever")
        assert cache.get("kept") == b"for ever"
    assert violations(page) == []

    # One thing at a time, as the API has it.
    page.get_by_role("button", name="Modify").click()
    choose(page, "What to change", "Usage limits")
    expect(field(page, "Storage in GB, at most - optional")).to_have_value("2")
    fill(page, "Storage in GB, at most - optional", "9999")
    page.get_by_role("dialog").get_by_role("button", name="Modify").click()
    expect(page.get_by_role("dialog").get_by_text(re.compile("between 1 and 5000"))).to_be_visible()
    fill(page, "Storage in GB, at most - optional", "3")
    page.get_by_role("dialog").get_by_role("button", name="Modify").click()
    expect(page.get_by_text("at most 3 GB")).to_be_visible()

    page.get_by_role("tab", name="Backups").click()
    page.get_by_role("button", name="Backup", exact=True).click()
    fill(page, "Backup name", "of-grows")
    page.get_by_role("button", name="Create backup").click()
    expect(row_of(page, "of-grows").get_by_text("Available")).to_be_visible()

    page.get_by_role("button", name="Delete", exact=True).click()
    fill(page, "To confirm, type grows", "grows")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("grows is gone")).to_be_visible()
    assert client.describe_serverless_caches()["ServerlessCaches"] == []


@AT_LENGTH
def test_a_global_datastore_gets_a_region_and_fails_over(
    console: Console, client: ElastiCacheClient, server: Server
) -> None:
    far = server.client(region=ELSEWHERE)
    client.create_replication_group(
        ReplicationGroupId="near",
        ReplicationGroupDescription="the first",
        Engine="valkey",
        CacheNodeType="cache.m5.large",
        NumCacheClusters=1,
    )
    available_group(client, "near")
    page = console.open("/global-datastores")
    page.get_by_role("button", name="Create global datastore").first.click()
    fill(page, "Name", "world")
    choose(page, "Primary cache", "near")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    row = row_of(page, "ldgnf-world")
    expect(row.get_by_text("Primary-only")).to_be_visible()

    row.get_by_role("radio").check()
    act(page, "Add a region")
    page.get_by_role("dialog").get_by_role("button", name="Region").first.click()
    page.get_by_role("option", name=ELSEWHERE).click()
    fill(page, "Name of the secondary cache", "far")
    fill(page, "Replicas of each shard", "0")
    page.get_by_role("button", name="Add region").click()
    expect(row.get_by_text("Available")).to_be_visible(timeout=CREATES_MS)
    expect(row.get_by_text(f"far ({ELSEWHERE}, secondary)")).to_be_visible()

    act(page, "Promote to primary")
    page.get_by_role("dialog").get_by_role("button", name="Member").first.click()
    page.get_by_role("option", name=f"far {ELSEWHERE}").click()
    page.get_by_role("button", name="Promote").click()
    expect(row.get_by_text(f"far ({ELSEWHERE}, primary)")).to_be_visible(timeout=CREATES_MS)
    expect(row.get_by_text("Available")).to_be_visible()
    assert violations(page) == []

    act(page, "Remove a region")
    page.get_by_role("dialog").get_by_role("button", name="Member").first.click()
    page.get_by_role("option", name="near us-east-1").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(row.get_by_text("near")).to_have_count(0)
    expect(row.get_by_text("Primary-only")).to_be_visible()
    act(page, "Delete")
    fill(page, "To confirm, type ldgnf-world", "ldgnf-world")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert group_of(far, "far")["Status"] == "available"
    for one, name in ((client, "near"), (far, "far")):
        one.delete_replication_group(ReplicationGroupId=name)
        group_gone(one, name)


def test_keys_and_commands_of_a_memcached_node(console: Console, client: ElastiCacheClient) -> None:
    client.create_cache_cluster(
        CacheClusterId="items", Engine="memcached", CacheNodeType=NODE_TYPE, NumCacheNodes=1
    )
    available_cluster(client, "items")
    nodes = client.describe_cache_clusters(CacheClusterId="items", ShowCacheNodeInfo=True)
    endpoint = nodes["CacheClusters"][0]["CacheNodes"][0]["Endpoint"]
    with closing(Memcached((endpoint["Address"], endpoint["Port"]))) as cache:
        cache.set("<i>page</i>", "one\ntwo", noreply=False)
    page = console.open("/memcached/cluster/items/keys")
    page.get_by_role("radio", name="Select <i>page</i>").check()
    expect(page.get_by_role("region", name="Value of <i>page</i>")).to_have_text("one\ntwo")
    command = page.get_by_label("Command for 0001")
    for typed, told in [
        ("stats", "STAT curr_items 1"),
        ("set a 0 0 'b c'", "read-only"),
        ("flush_all", "not run from here"),
    ]:
        command.fill(typed)
        command.press("Enter")
        expect(page.get_by_role("region", name="Replies")).to_contain_text(told)
    page.get_by_text("Allow writes").click()
    command.fill("set a 0 0 'b c'")
    command.press("Enter")
    expect(page.get_by_role("region", name="Replies")).to_contain_text("STORED")
    with closing(Memcached((endpoint["Address"], endpoint["Port"]))) as cache:
        assert cache.get("a") == b"b c"
    assert violations(page) == []
    client.delete_cache_cluster(CacheClusterId="items")


@pytest.fixture
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Give a server whose engine was upgraded under a pair, and the update's name."""
    folder = tmp_path_factory.mktemp("console-updates")
    binary = UpgradableBinary(Engine.REDIS, folder)
    with Server(folder / "data", redis_server=str(binary.path)) as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="old",
            ReplicationGroupDescription="to be updated",
            Engine="redis",
            EngineVersion="7.0",
            CacheNodeType=NODE_TYPE,
            NumCacheClusters=2,
            AutomaticFailoverEnabled=True,
            TransitEncryptionEnabled=False,
        )
        available_group(client, "old")
        binary.upgrade()
        found = wait_until(
            lambda: client.describe_update_actions()["UpdateActions"],
            bool,
            what="an update is offered",
        )
        yield server, found[0]["ServiceUpdateName"]


@AT_LENGTH
def test_a_service_update_is_applied_node_by_node(
    console: Console, upgraded: tuple[Server, str]
) -> None:
    server, update = upgraded
    page = console.page
    console.strangers, console.url = [], server.url
    page.goto(f"{server.url}/console/#/service-updates")
    expect(page.get_by_role("table", name="Service updates").get_by_text(update)).to_be_visible()
    page.goto(f"{server.url}/console/#/redis/group/old/updates")
    row = row_of(page, update)
    expect(row.get_by_text("old-001")).to_be_visible()
    row.get_by_role("radio").check()
    page.get_by_role("button", name="Actions", exact=True).last.click()
    page.get_by_role("menuitem", name="Apply now").click()
    page.get_by_role("dialog").get_by_role("button", name="Apply now").click()
    expect(row.get_by_text("2/2")).to_be_visible(timeout=CREATES_MS)
    expect(row.get_by_text("Complete")).to_have_count(3)  # the action's and the nodes'
    assert violations(page) == []
    assert group_of(server.client(), "old")["Status"] == "available"
